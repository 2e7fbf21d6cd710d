"""Writes what the documentation takes from the code, or says what of it is out of date.

python generate.py [--check] ROOT
"""

import argparse
from pathlib import Path

from scripts.documents import picture, tables


def documents(root: Path) -> dict[Path, str]:
    """Every file that is made from the code, or has a part that is, with what it should hold."""
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8")
    text = tables.filled(text, "roles", tables.role_table())
    budget = root / "docs" / "budget.md"
    layouts = budget.read_text(encoding="utf-8") if budget.is_file() else ""
    drop_in = root / "docs" / "drop-in.md"
    page = drop_in.read_text(encoding="utf-8") if drop_in.is_file() else ""
    return {
        drop_in: tables.filled(page, "drop-in", tables.drop_in_table()),
        budget: tables.filled(layouts, "layouts", tables.layout_table()),
        root / "docs" / "variables.md": tables.variables_page(),
        root / "docs" / "roles.md": tables.roles_page(),
        root / "docs" / "routing.svg": picture.draw(),
        readme: tables.filled(text, "variables", tables.variable_table()),
    }


def outdated(root: Path) -> dict[Path, str]:
    """Those that are not what they should be."""
    return {
        path: text
        for path, text in documents(root).items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    }


def main() -> int:
    """Do as the command line says. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("root", type=Path)
    options = parser.parse_args()
    changed = outdated(options.root)
    for path, text in changed.items():
        if options.check:
            print(f"{path} is out of date; run scripts/docs")
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}")
    return 1 if options.check and changed else 0


if __name__ == "__main__":
    raise SystemExit(main())
