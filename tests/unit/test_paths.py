"""Paths below the data and run directories are spelled in data/paths.py and nowhere else."""

import re
from pathlib import Path

import ganglion
from ganglion.data.paths import Paths

PACKAGE = Path(ganglion.__file__ or "").parent
HOME = PACKAGE / "data" / "paths.py"
# An f-string or a Path that appends to one of the two directories.
SPELLED = re.compile(
    r"\{(?:\w+\.)*(?:data|run)\}/|Path\((?:\w+\.)*(?:data|run), [\"']"
    r"|\b(?:data|run) / [\"']"
)


def test_no_other_module_spells_a_path() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{number}: {line.strip()}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != HOME
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if SPELLED.search(line)
    ]
    assert not found, "use settings.paths instead:\n" + "\n".join(found)


def test_every_path_is_below_its_directory() -> None:
    paths = Paths(data="/d", run="/r")
    names = [name for name, item in vars(Paths).items() if isinstance(item, property)]
    assert names
    for name in names:
        assert str(getattr(paths, name)).startswith(("/d/", "/r/")), name
