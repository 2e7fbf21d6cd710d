"""Replaced certificate files: which are taken, and which are reported."""

import datetime as dt
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import trustme

from ganglion.data.certificate_watch import Watched, of_nginx, of_replication
from ganglion.plan import assemble
from ganglion.settings.environment import from_environ
from ganglion.settings.part_problems import REPLICATION
from ganglion.settings.variables import Settings
from tests.certificates import Authority
from tests.golden.cases import SIGNING_KEY


def of(settings: Settings) -> Watched:
    found = of_nginx(settings)
    assert found is not None
    return found


def change(watched: Watched) -> str:
    (line,) = watched.taken()
    return line


def test_files_that_fit_are_taken_and_others_are_reported(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    certificate, key = authority.issue(tmp_path)
    settings = from_environ(
        {"SYNAPSE_TLS_CERT": str(certificate), "SYNAPSE_TLS_KEY": str(key)}, str
    )
    watched = of(settings)
    first = watched.state
    assert watched.state == first

    authority.issue(tmp_path)
    second = watched.state
    assert second != first
    assert change(watched) == "reload nginx the TLS certificate was replaced"

    other = tmp_path / "other"
    other.mkdir()
    _, foreign = authority.issue(other)
    foreign.replace(key)
    assert watched.state != second
    assert "does not belong to the first certificate" in change(watched)
    assert change(watched).startswith("log the new TLS certificate is not used")

    key.unlink()
    assert watched.state[1] is None
    assert "SYNAPSE_TLS_KEY: cannot be read" in change(watched)


def test_a_link_that_is_turned_is_a_change(tmp_path: Path) -> None:
    """ACME clients and Kubernetes replace a link."""
    (tmp_path / "a").write_text("same")
    (tmp_path / "b").write_text("same")
    times = (tmp_path / "a").stat().st_mtime_ns
    os.utime(tmp_path / "b", ns=(times, times))
    link = tmp_path / "link"
    link.symlink_to("a")
    settings = from_environ({"SYNAPSE_TLS_CERT": str(link), "SYNAPSE_TLS_KEY": str(link)}, str)
    watched = of(settings)
    before = watched.state
    link.unlink()
    link.symlink_to("b")
    assert watched.state != before


PARTS = {
    "WORKERS": "event_persister",
    "GANGLION_ONLY": "main, event_persister",
    "GANGLION_HOSTS": "*=localhost",
    "POSTGRES_HOST": "db",
    "POSTGRES_PASSWORD": "x",
    "REDIS_HOST": "redis",
    "SYNAPSE_WORKER_REPLICATION_SECRET": "x",
    "SYNAPSE_MACAROON_SECRET_KEY": "x",
    "SYNAPSE_FORM_SECRET": "x",
    "SYNAPSE_SIGNING_KEY": SIGNING_KEY,
}


def test_a_renewed_certificate_of_replication_is_copied_and_read_again(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    certificate, key = authority.issue(tmp_path)
    files = dict(zip(REPLICATION, (certificate, key, authority.path), strict=True))
    run = tmp_path / "run"
    environ = PARTS | {f"{name}_FILE": str(path) for name, path in files.items()}
    plan = assemble(environ | {"GANGLION_RUN": str(run), "GANGLION_DATA": str(tmp_path / "data")})
    watched = of_replication(plan.settings, plan.topology, None)
    assert watched is not None
    copy = Path(plan.settings.paths.secret("replication_key"))
    copy.parent.mkdir(parents=True)
    before = watched.state

    authority.issue(tmp_path)
    assert watched.state != before
    assert list(watched.taken()) == [
        f"reload {name} the certificate of replication was replaced"
        for name in ("main", "event_persister1")
    ]
    assert copy.read_text() == key.read_text()
    assert copy.stat().st_mode & 0o777 == 0o600

    kept = copy.read_text()
    other = tmp_path / "other"
    other.mkdir()
    _, foreign = authority.issue(other)
    foreign.replace(key)
    (line,) = watched.taken()
    assert line.startswith("log the new certificate of replication is not used: ")
    assert "does not belong to the first certificate of GANGLION_REPLICATION_CERT" in line
    key.unlink()
    with pytest.raises(FileNotFoundError):
        tuple(watched.taken())
    assert copy.read_text() == kept


def test_nothing_is_watched_that_variables_give(tmp_path: Path) -> None:
    certificate, key = Authority.make(tmp_path).issue(tmp_path)
    texts = {
        "GANGLION_REPLICATION_CERT": certificate.read_text(),
        "GANGLION_REPLICATION_KEY": key.read_text(),
    }
    plan = assemble(PARTS | texts)
    assert plan.settings.encrypts_replication
    assert of_replication(plan.settings, plan.topology, None) is None


class Ended(BaseException):
    """The end of a watch, which has none."""


def watch(
    monkeypatch: pytest.MonkeyPatch, watched: Watched, turns: Sequence[Callable[[], object]]
) -> list[str]:
    """Watch, with something done at each pause. Returns the lines for the supervisor."""
    told: list[str] = []
    left = iter(turns)

    def sleep(_: float) -> None:
        turn = next(left, None)
        if turn is None:
            raise Ended
        turn()

    monkeypatch.setattr("ganglion.data.certificate_watch.time.sleep", sleep)
    with pytest.raises(Ended):
        watched.watch(told.append, watched.state)
    return told


def nothing() -> None:
    """Let time pass."""


def test_a_file_that_cannot_be_read_or_copied_is_tried_again_and_said_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    full = [True]

    def taken() -> list[str]:
        if full[0]:
            raise OSError(28, "No space left on device")
        return ["reload main it was replaced"]

    watched = Watched(what="certificate", paths=(str(path),), taken=taken)
    replace: list[Callable[[], object]] = [lambda: path.write_text("new content")]
    make_room: list[Callable[[], object]] = [lambda: full.__setitem__(0, False)]
    told = watch(monkeypatch, watched, [*replace, *[nothing] * 5, *make_room, *[nothing] * 6])
    assert told == [
        "log the new certificate is not used yet: [Errno 28] No space left on device",
        "reload main it was replaced",
    ]


def test_a_certificate_that_ends_soon_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = trustme.CA()
    path = tmp_path / "cert"
    now = dt.datetime.now(dt.UTC)
    for days, number in ((3, 1), (60, 0)):
        end = now + dt.timedelta(days=days, hours=1)
        authority.issue_cert("x", not_after=end).cert_chain_pems[0].write_to_path(path)
        watched = Watched(
            what="TLS certificate", paths=(str(path),), taken=list, certificate=str(path)
        )
        told = watch(monkeypatch, watched, [nothing] * 3)
        assert len(told) == number
        for line in told:
            assert line == f"log the TLS certificate ends in 3 days, on {end:%Y-%m-%d}: renew it"
