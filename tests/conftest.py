"""Options and fixtures that all tests share, and the settings of hypothesis."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.certificates import Authority
from tests.golden.cases import HERE, Case
from tests.harness import Server

# A test suite of its own: tests/live and tests/image run it as a user does.
collect_ignore = ["example"]

# No deadline: how long an example takes says only how busy the machine is. A failure prints a blob
# that repeats it, so no database in the checkout is needed, which may be read-only.
hypothesis.settings.register_profile("ganglion", deadline=None, print_blob=True, database=None)
hypothesis.settings.load_profile("ganglion")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write the present results of the golden cases into tests/golden; review the diff",
    )
    parser.addoption(
        "--prefork",
        choices=("yes", "no"),
        default="yes",
        help="GANGLION_PREFORK of the servers of live tests, where a test does not set it (yes)",
    )


def pytest_configure(config: pytest.Config) -> None:
    Server.prefork = config.getoption("--prefork")


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    """The golden case that the parameter names, with a copy of its files."""
    found = Case(directory=HERE / request.param, place=tmp_path / "case")
    found.place.mkdir()
    found.prepare()
    return found


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A new directory whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="g", dir="/tmp") as directory:
        yield Path(directory)
