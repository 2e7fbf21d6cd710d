"""Packages import in one direction: only from packages above them in ORDER."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "entrypoint" / "ganglion"
ORDER = (
    "settings",
    "machine",
    "topology",
    "routing",
    "budget",
    "files",
    "logs",
    "programs",
    "changes",
    "data",
    "in_synapse",
    "supervisor",
    "control",
    "doctor",
    "importing",
    "export",
    "cli",
)
# These put the packages together, so they may import all of them, and no package may import them.
ABOVE_ALL = ("__main__", "boot", "plan")
# Every package may import these. `ganglion` itself holds the version.
FOR_ALL = ("ganglion", "ganglion.errors", "ganglion.data.paths")


def imports(path: Path) -> Iterator[str]:
    """Yield each of Ganglion's modules that a file imports, in functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: write the whole name of the module"
            assert node.module
            names = [_module(node.module, alias.name) for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.partition(".")[0] == "ganglion")


def _module(package: str, name: str) -> str:
    """Return the module that `from package import name` reads."""
    place = ROOT.parent.joinpath(*package.split("."))
    is_module = (place / f"{name}.py").is_file() or (place / name / "__init__.py").is_file()
    return f"{package}.{name}" if is_module else package


def is_allowed(importer: str, module: str) -> bool:
    """Return whether a top-level package or module may import `module`."""
    package = "" if module == "ganglion" else module.split(".")[1]
    if module in FOR_ALL or importer == package:
        return True
    if importer in ABOVE_ALL:
        return True
    if importer == "cli":
        return package != "__main__"
    return importer in ORDER and package in ORDER and ORDER.index(package) < ORDER.index(importer)


def violations() -> set[tuple[str, str]]:
    """Return each import that breaks the rule, as the file and the imported module."""
    return {
        (str(path.relative_to(ROOT)), module)
        for path in ROOT.rglob("*.py")
        for module in imports(path)
        if not is_allowed(path.relative_to(ROOT).parts[0].removesuffix(".py"), module)
    }


@pytest.mark.parametrize(
    ("importer", "module", "expected"),
    [
        ("topology", "ganglion.machine.limits", True),
        ("topology", "ganglion.topology.roles", True),
        ("topology", "ganglion.budget.share_out", False),
        ("topology", "ganglion.data.paths", True),
        ("topology", "ganglion.data.secrets", False),
        ("topology", "ganglion.plan", False),
        ("errors", "ganglion.settings.variables", False),
        ("cli", "ganglion.boot", True),
        ("plan", "ganglion.supervisor.daemon", True),
    ],
)
def test_the_rule(importer: str, module: str, *, expected: bool) -> None:
    assert is_allowed(importer, module) is expected


def test_every_package_has_its_place_in_the_order() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages == set(ORDER)


@pytest.mark.parametrize("package", ORDER)
def test_every_package_says_what_goes_in(package: str) -> None:
    tree = ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))
    assert len((ast.get_docstring(tree) or "").split()) > 10


def test_no_package_imports_from_below_itself() -> None:
    wrong = [
        f"{file} imports {module}: a package imports only from those above it in ORDER"
        for file, module in sorted(violations())
    ]
    assert not wrong, "\n".join(wrong)
