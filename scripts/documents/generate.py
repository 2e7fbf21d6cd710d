"""Write the parts of the documentation that come from the code.

python generate.py [--check] ROOT
"""

import argparse
from pathlib import Path

from scripts.documents import commands, picture, processes, tables
from scripts.documents.markdown import fill

# Its parts come from measurements: python -m benchmarks report.
BY_BENCHMARKS = "docs/performance.md"


def documents(root: Path) -> dict[Path, str]:
    """Return each file that comes from the code, whole or in part, with its right content."""
    whole = {
        root / "docs" / "architecture.svg": processes.draw(),
        root / "docs" / "commands.md": commands.commands_page(),
        root / "docs" / "roles.md": tables.roles_page(),
        root / "docs" / "routing.svg": picture.draw(),
        root / "docs" / "variables.md": tables.variables_page(),
    }
    inside = {
        "checks": tables.check_table(),
        "drop-in": tables.drop_in_table(),
        "layouts": tables.layout_table(),
        "owned-options": tables.owned_option_table(),
        "roles": tables.role_table(),
        "variables": tables.variable_table(),
        "verbs": commands.verb_table(),
    }
    pages = {root / "README.md", *root.glob("docs/**/*.md")} - {*whole, root / BY_BENCHMARKS}
    filled = {path: fill(path.read_text(encoding="utf-8"), inside) for path in sorted(pages)}
    return whole | filled


def outdated(root: Path) -> dict[Path, str]:
    """Return the files that differ from their right content, with that content."""
    return {
        path: text
        for path, text in documents(root).items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    }


def main() -> int:
    """Write or check the files. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("root", type=Path)
    options = parser.parse_args()
    changed = outdated(options.root)
    for path, text in changed.items():
        if options.check:
            print(f"{path} is out of date: type scripts/docs")
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}")
    return 1 if options.check and changed else 0


if __name__ == "__main__":
    raise SystemExit(main())
