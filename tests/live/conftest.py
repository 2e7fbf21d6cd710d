"""Fixtures of the live tests, and the logs of servers when a test fails."""

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.harness import Server

# Two million bytes are quickly sent, and no limit of a program in between.
UPLOAD_LIMIT = 2_000_000
SINGLE_SIGN_ON = """\
cas_config: {enabled: true, server_url: "https://cas.invalid"}
"""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --prefork=no, keep only the tests that both ways of launching Synapse concern.

    All others would find the same again. Tests of one way set GANGLION_PREFORK themselves.
    """
    if config.getoption("--prefork") == "yes":
        return
    here = Path(__file__).parent
    others = [
        item
        for item in items
        if here in item.path.parents and item.get_closest_marker("both_modes") is None
    ]
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
def small(authority: Authority) -> Iterator[Server]:
    """A server of the preset `small` with TLS, for all tests that do not change it."""
    with Server("small", operator_file=SINGLE_SIGN_ON) as server:
        certificate, key = authority.issue(server.root)
        server.environment |= {
            "SYNAPSE_TLS_CERT": str(certificate),
            "SYNAPSE_TLS_KEY": str(key),
            "SYNAPSE_PUBLIC_BASEURL": server.tls_url,
            "SYNAPSE_MAX_UPLOAD_SIZE": str(UPLOAD_LIMIT),
        }
        server.start()
        yield server
