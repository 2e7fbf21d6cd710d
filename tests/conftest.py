"""Options and fixtures that all tests share, the settings of hypothesis, and logs of servers."""

import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.certificates import Authority
from tests.fuzzing import Cases
from tests.golden.cases import HERE, Case
from tests.harness import Server
from tests.prepared import Prepared, can_be_used

# A test suite of its own: tests/live and tests/image run it as a user does.
collect_ignore = ["example"]

# The directory of the database from which the servers of this run start.
PREPARED = pytest.StashKey[Path]()

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

    parser.addoption(
        "--fuzz",
        type=int,
        metavar="N",
        help="cases of each fuzzer, instead of the number that suits continuous integration",
    )


def pytest_configure(config: pytest.Config) -> None:
    Cases.wanted = config.getoption("--fuzz")
    Server.prefork = config.getoption("--prefork")
    given: dict[str, str] | None = getattr(config, "workerinput", None)
    if can_be_used():
        config.stash[PREPARED] = (
            Path(tempfile.mkdtemp(prefix="ganglion-prepared-", dir="/tmp"))
            if given is None
            else Path(given["prepared"])
        )
        Server.prepared = Prepared(config.stash[PREPARED]).command
    # A shell lets its background commands ignore Ctrl-C, and the programs that tests start would
    # ignore it too.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give each process of pytest-xdist the directory of the prepared database."""
    if PREPARED in node.config.stash:
        node.workerinput["prepared"] = str(node.config.stash[PREPARED])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the prepared database, which the processes of pytest-xdist have only been lent."""
    if PREPARED in config.stash and not hasattr(config, "workerinput"):
        shutil.rmtree(config.stash[PREPARED])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --prefork=no, keep only the tests that both ways of launching Synapse concern.

    All others would find the same again. Tests of one way set GANGLION_PREFORK themselves.
    """
    if config.getoption("--prefork") == "yes":
        return
    others = [item for item in items if item.get_closest_marker("both_modes") is None]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],  # noqa: ARG001
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the end of the log of each server that a failed test was given."""
    report = yield
    given: dict[str, object] = getattr(item, "funcargs", {})
    if report.failed:
        for server in Server.alive:
            if any(server in (value, *parts(value)) for value in given.values()):
                report.sections.append((f"log of {server.root}", server.log.tail()))
    return report


def parts(value: object) -> tuple[object, ...]:
    """The servers in the value of a fixture that is not a server itself."""
    if isinstance(value, tuple):
        return value
    return (getattr(value, "server", None),)


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
