"""Every golden case gives the expected files or the expected error."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.golden.cases import HERE, LIST, Case, bad, good, names

ROOT = Path(__file__).resolve().parents[2]


def ganglion(case: Case, *arguments: str) -> tuple[int, str, str]:
    """Run the program as a process. Returns its exit status, output and errors."""
    own = {"PYTHONPATH": str(ROOT / "entrypoint")}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "ganglion", *arguments],
        env={**case.environ, **own},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, case.shown(done.stdout), case.shown(done.stderr)


def updating(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))


def test_there_are_cases_of_both_kinds() -> None:
    assert len(good()) >= 12
    assert len(bad()) >= 3
    for name in names():
        kinds = [(HERE / name / kind).exists() for kind in ("expected", "error")]
        assert sorted(kinds) == [False, True], f"{name} has both an error and files, or neither"


def update(case: Case, kept: dict[str, str]) -> None:
    """Write today's results into a case's directory, but only the files that exist there."""
    known = {
        str(path.relative_to(case.expected)) for path in case.expected.rglob("*") if path.is_file()
    }
    for path in known - kept.keys():
        (case.expected / path).unlink()
    for path in (known & kept.keys()) or kept.keys():
        (case.expected / path).parent.mkdir(parents=True, exist_ok=True)
        (case.expected / path).write_text(kept[path], encoding="utf-8")


@pytest.mark.parametrize("case", [name for name in names() if name not in bad()], indirect=True)
def test_files(case: Case, request: pytest.FixtureRequest) -> None:
    kept = case.kept(case.rendered())
    if updating(request):
        update(case, kept)
    expected = {
        str(path.relative_to(case.expected)): path.read_text(encoding="utf-8")
        for path in case.expected.rglob("*")
        if path.is_file()
    }
    assert LIST in expected
    assert {path: kept.get(path) for path in expected} == expected


@pytest.mark.parametrize("case", bad(), indirect=True)
def test_errors(case: Case, request: pytest.FixtureRequest) -> None:
    before = sorted(case.place.rglob("*"))
    status, out, err = ganglion(case, "run")
    if updating(request):
        case.error.write_text(err, encoding="utf-8")
    assert (status, out, err) == (2, "", case.error.read_text(encoding="utf-8"))
    assert sorted(case.place.rglob("*")) == before


ON_TYPICAL_MACHINES = [name for name in good() if not (HERE / name / "machine").is_file()]


# Renders every case of a list in one process: 150 processes took a minute.
RENDER = """
import json, sys
from ganglion.cli.main import main
for environ, out in json.load(sys.stdin):
    assert main(["render", "--output", out], environ) == 0, out
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_the_hash_seed_does_not_change_a_byte(tmp_path: Path, seed: int) -> None:
    """The order of sets depends on the seed."""
    cases = {
        name: Case(directory=HERE / name, place=tmp_path / name) for name in ON_TYPICAL_MACHINES
    }
    for case in cases.values():
        case.place.mkdir()
        case.prepare()
    work = [(case.environ, str(tmp_path / f"{name}.out")) for name, case in cases.items()]
    done = subprocess.run(
        [sys.executable, "-P", "-c", RENDER],
        input=json.dumps(work),
        env={"PYTHONPATH": str(ROOT / "entrypoint"), "PYTHONHASHSEED": str(seed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for name, case in cases.items():
        out = tmp_path / f"{name}.out"
        from_here = {path: file.content for path, file in case.rendered().items()}
        written = {
            str(path.relative_to(out)): path.read_text(encoding="utf-8")
            for path in out.rglob("*")
            if path.is_file() and path.name != ".rendered"
        }
        assert written.keys() == from_here.keys(), name
        # render writes placeholders instead of secrets.
        secret = {path for path in written if path.startswith("secrets/") or path == "redis.conf"}
        assert secret, name
        different = {path for path in written.keys() - secret if written[path] != from_here[path]}
        assert different == set(), name
