"""Every golden case of an import gives the expected report or the expected errors.

    imports/NAME/files/      the old installation; a file calls its directory /CASE
    imports/NAME/arguments   what to import, if it is not the whole directory
    imports/NAME/expected    the output, the notes and errors, the exit status

`pytest tests/golden --update-golden` writes the present results. Read the diff.
"""

import json
import shutil
from pathlib import Path

import pytest

from ganglion.cli.main import main
from ganglion.importing.findings import Fate
from ganglion.importing.sources import find
from ganglion.topology.workers_syntax import parse_workers

HERE = Path(__file__).parent / "imports"
CASES = sorted(path.name for path in HERE.iterdir())
BAD = [name for name in CASES if name.startswith("error-")]
GOOD = [name for name in CASES if name not in BAD]


class Old:
    """A copy of the files of a case, and the program run on it."""

    def __init__(self, name: str, place: Path) -> None:
        self.place = place / "old"
        shutil.copytree(HERE / name / "files", self.place, symlinks=True)
        for path in self.place.rglob("*.service"):
            path.write_text(path.read_text().replace("/CASE", str(self.place)))
        listed = HERE / name / "arguments"
        words = listed.read_text().split() if listed.exists() else ["."]
        self.arguments = [str(self.place / word) for word in words]

    def state(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.place.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", CASES)
def test_report(
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    old = Old(name, tmp_path)
    before = old.state()
    status = main(["import", *old.arguments], {})
    out, err = capsys.readouterr()
    shown = f"{out}{'-' * 8}\n{err}exit status {status}\n".replace(str(old.place), "/CASE")
    expected = HERE / name / "expected"
    if request.config.getoption("--update-golden"):
        expected.write_text(shown, encoding="utf-8")
    assert shown == expected.read_text(encoding="utf-8")
    assert status == (2 if name in BAD else 0)
    assert old.state() == before


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 40
    assert len(BAD) >= 15


@pytest.mark.parametrize("name", GOOD)
def test_every_option_has_one_fate_and_workers_can_be_parsed(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = Old(name, tmp_path)
    assert main(["import", "--json", *old.arguments], {}) == 0
    found = json.loads(capsys.readouterr().out)
    server = find([Path(path) for path in old.arguments])
    wanted = [
        (file.path, key) for file in (*server.shared, *server.workers) for key in file.options
    ]
    listed = [(item["file"], item["key"]) for item in found["options"]]
    assert sorted(listed) == sorted([*wanted, *((i.source, i.key) for i in server.findings)])
    assert {item["fate"] for item in found["options"]} <= {fate.value for fate in Fate}
    assert all(item["text"] for item in found["options"])
    parsed = parse_workers(found["workers"], repeats_add_up=True)
    assert parsed.problems == ()
    # No worker gets the name that another one had.
    names = found["names"]
    assert all(new == old_name or new not in names for old_name, new in names.items())
    assert len(set(names.values())) == len(names)


@pytest.mark.parametrize("name", GOOD)
def test_no_secret_is_printed(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = Old(name, tmp_path)
    main(["import", *old.arguments], {})
    main(["import", "--json", *old.arguments], {})
    out, err = capsys.readouterr()
    assert "a-password" not in out + err
    assert "a-secret" not in out + err
