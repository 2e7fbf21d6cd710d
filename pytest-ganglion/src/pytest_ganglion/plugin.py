"""The plugin: the options, the marker, the fixture, and the log in the report of a failed test."""

import os
from collections.abc import Generator, Iterator

import pytest

from pytest_ganglion.api import Ganglion
from pytest_ganglion.configuration import OPTIONS, Option, Options, Wanted, read_options, wanted
from pytest_ganglion.errors import NoServer
from pytest_ganglion.server import Server, tail
from pytest_ganglion.servers import Servers, starter

MARKER = (
    "ganglion(workers=None, environment={}, files={}, reset=True): the server for the test:"
    " WORKERS, other variables of Ganglion, files in its data directory, and whether it must be"
    " clean"
)
SESSION = pytest.StashKey[Servers]()
GIVEN = pytest.StashKey[Ganglion]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the table of options to the command line and to the ini file."""
    group = parser.getgroup("ganglion", "a Matrix homeserver for tests")
    for option in OPTIONS:
        default = f" ({option.default})" if option.default else ""
        group.addoption(option.flag, dest=option.name, help=f"{option.doc}{default}")
        parser.addini(option.name, option.doc, default="")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and reject invalid options before any test runs."""
    config.addinivalue_line("markers", MARKER)
    options = _options(config)
    # The option of pytest-xdist, if it is installed.
    if options.remote and config.getoption("numprocesses", None):
        raise pytest.UsageError(
            "with -n each process needs its own servers: remove -n or --ganglion=URL"
        )


def _options(config: pytest.Config) -> Options:
    def look_up(option: Option) -> str:
        given = config.getoption(option.name)
        return str(
            given or os.environ.get(option.variable) or config.getini(option.name) or option.default
        )

    return read_options(look_up, config.rootpath, config.invocation_params.dir)


@pytest.fixture(scope="session")
def ganglion_servers(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    """The servers of the session. They end with it."""
    options = _options(pytestconfig)
    directory = options.logs or tmp_path_factory.mktemp("ganglion")
    directory.mkdir(parents=True, exist_ok=True)
    # Not of the environment, which a pytest that another one has started inherits.
    process = getattr(pytestconfig, "workerinput", {}).get("workerid", "")
    name = f"ganglion-{process}" if process else "ganglion"
    servers = Servers(starter(options, directory, name, os.environ), options.start_within)
    pytestconfig.stash[SESSION] = servers
    try:
        yield servers
    finally:
        servers.stop()


@pytest.fixture
def ganglion(request: pytest.FixtureRequest, ganglion_servers: Servers) -> Ganglion:
    """A running, clean Matrix homeserver. `pytest.mark.ganglion` chooses it."""
    want = wanted(request.node.iter_markers("ganglion"), _options(request.config))
    server = _given(ganglion_servers, want)
    if isinstance(server, NoServer):
        # The message is complete; a traceback of this plugin would add nothing.
        pytest.fail(str(server), pytrace=False)
    given = Ganglion.of(server)
    request.node.stash[GIVEN] = given
    return given


def _given(servers: Servers, want: Wanted) -> Server | NoServer:
    try:
        return servers.give(want)
    except NoServer as error:
        return error


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
    call: pytest.CallInfo[None],  # noqa: ARG001 - pytest's
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the server's log during the test to the report of its failure."""
    report = yield
    given = item.stash.get(GIVEN, None)
    if report.failed and given is not None:
        text = tail(given.settled_logs(), _options(item.config).log_lines)
        if how := given.ended():
            text = f"{text}\n{how}"
        if text:
            report.sections.append(("log of ganglion during the test", text))
    return report


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the number of servers, and how long they took."""
    servers = config.stash.get(SESSION, None)
    if servers is not None and (line := servers.summary()):
        terminalreporter.write_line(f"ganglion: {line}")
