"""Import Synapse once, for all tests of this directory.

Twisted and Synapse warn of their own deprecated ways on the way, which are errors in a test.
"""

import warnings
from pathlib import Path

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tests.oracle.generate  # noqa: F401


@pytest.fixture(autouse=True)
def _somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty directory: Synapse makes a media store in the current one."""
    monkeypatch.chdir(tmp_path)
