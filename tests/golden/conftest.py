"""What the golden tests share: a case, its files, and a place where they can be made real."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.golden.cases import HERE, Case


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """The case that the parameter names, with its files at their place."""
    found = Case(directory=HERE / request.param, place=tmp_path / "case")
    found.place.mkdir()
    found.prepare()
    return found


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A new directory, short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="g", dir="/tmp") as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))
