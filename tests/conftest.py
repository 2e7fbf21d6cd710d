"""What all tests share: the options, and hypothesis's ways."""

import hypothesis
import pytest

from tests.harness import Server

# Somebody else's tests, which tests/live and tests/image run as he would.
collect_ignore = ["example"]

# The machine may be busy: how long an example takes says nothing. A failure is told with what
# repeats it, so nothing is kept in the checkout, which may not be ours to write to.
hypothesis.settings.register_profile("ganglion", deadline=None, print_blob=True, database=None)
hypothesis.settings.load_profile("ganglion")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write what the golden cases come to today into tests/golden, to be read in the diff",
    )
    parser.addoption(
        "--prefork",
        choices=("yes", "no"),
        default="yes",
        help="GANGLION_PREFORK of the servers of live tests, where a test does not set it (yes)",
    )


def pytest_configure(config: pytest.Config) -> None:
    Server.prefork = config.getoption("--prefork")
