"""What all tests share: the option that rewrites golden files, and hypothesis's ways."""

import hypothesis
import pytest

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
