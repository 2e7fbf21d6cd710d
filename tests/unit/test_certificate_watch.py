"""Replaced certificate files: which are taken, and which are reported."""

import os
from pathlib import Path

from ganglion.data.certificate_watch import change, state
from ganglion.settings.environment import from_environ
from tests.certificates import Authority


def test_files_that_fit_are_taken_and_others_are_reported(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    certificate, key = authority.issue(tmp_path)
    settings = from_environ(
        {"SYNAPSE_TLS_CERT": str(certificate), "SYNAPSE_TLS_KEY": str(key)}, str
    )
    first = state(settings)
    assert state(settings) == first

    authority.issue(tmp_path)
    second = state(settings)
    assert second != first
    assert change(settings) == "reload nginx the TLS certificate was replaced"

    other = tmp_path / "other"
    other.mkdir()
    _, foreign = authority.issue(other)
    foreign.replace(key)
    assert state(settings) != second
    assert "does not belong to the first certificate" in change(settings)
    assert change(settings).startswith("log the new TLS certificate is not used")

    key.unlink()
    assert state(settings)[1] is None
    assert "SYNAPSE_TLS_KEY: cannot be read" in change(settings)


def test_a_link_that_is_turned_is_a_change(tmp_path: Path) -> None:
    """ACME clients and Kubernetes replace a link."""
    (tmp_path / "a").write_text("same")
    (tmp_path / "b").write_text("same")
    times = (tmp_path / "a").stat().st_mtime_ns
    os.utime(tmp_path / "b", ns=(times, times))
    link = tmp_path / "link"
    link.symlink_to("a")
    settings = from_environ({"SYNAPSE_TLS_CERT": str(link), "SYNAPSE_TLS_KEY": str(link)}, str)
    before = state(settings)
    link.unlink()
    link.symlink_to("b")
    assert state(settings) != before
