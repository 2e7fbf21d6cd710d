"""Notice that the operator's certificate files were replaced, as by an ACME client."""

import contextlib
import datetime as dt
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ganglion.data import certificate
from ganglion.errors import ConfigError
from ganglion.files.file import SECRET
from ganglion.files.write import write_file
from ganglion.settings import test_mode
from ganglion.settings.part_problems import REPLICATION
from ganglion.settings.reading import LARGEST_SECRET, read_text
from ganglion.settings.variables import Settings, variables
from ganglion.topology.topology import Topology

# In seconds. A second look after a change tells whether the files are still being written.
EVERY, SETTLED = 5.0, 2.0
DAY = 24 * 3600.0

State = tuple[tuple[int, ...] | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Files of a certificate, and how replaced ones are taken up.

    `what` names it, and `certificate` is the path of its own file, if that is among `paths`.
    `taken` returns lines for the supervisor. Files that do not fit together, or are invalid in
    another way, are reported in such a line, and not taken. It raises OSError if it has to be tried
    again.
    """

    what: str
    paths: tuple[str, ...]
    taken: Callable[[], Iterable[str]]
    certificate: str | None = None

    @property
    def state(self) -> State:
        """Identify the content of the files, by None for one that is missing."""
        return tuple(map(_identity, self.paths))

    def watch(self, tell: Callable[[str], None], before: State) -> None:
        """Tell of each change, for ever. It blocks, so it has a process of its own.

        `before` is the state of the files that are in use.
        """
        said, reminded = "", -DAY
        while True:
            if time.monotonic() - reminded >= DAY:
                reminded = time.monotonic()
                for line in self.reminder(dt.datetime.now(dt.UTC)):
                    tell(line)
            time.sleep(EVERY)
            now = self.state
            if now == before:
                continue
            time.sleep(SETTLED)
            if self.state != now:
                continue
            try:
                lines = tuple(self.taken())
            except OSError as error:
                line = f"log the new {self.what} is not used yet: {error}"
                if line != said:
                    tell(line)
                said = line
                continue
            before, said = now, ""
            for line in lines:
                tell(line)

    def reminder(self, now: dt.datetime) -> Iterator[str]:
        """Yield a line if the certificate ends soon, so its renewal does not work."""
        if self.certificate is None:
            return
        # Imported in the process that watches, which lives long.
        from cryptography import x509  # noqa: PLC0415

        with contextlib.suppress(OSError, ValueError):
            content = Path(self.certificate).read_bytes()
            until = x509.load_pem_x509_certificates(content)[0].not_valid_after_utc
            days = (until - now).days
            if days < certificate.DAYS_TO_RENEW:
                yield f"log the {self.what} ends in {days} days, on {until:%Y-%m-%d}: renew it"


def _identity(path: str) -> tuple[int, ...] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


# The name of a process that watches, its files, and their state before they were used.
Watches = tuple[tuple[str, Watched, State], ...]


def watched_by(settings: Settings, topology: Topology, account: str | None) -> Watches:
    """Return all certificates that are taken up when they are replaced, from now on.

    `account` is Synapse's.
    """
    found = {
        "certificate's watch": of_nginx(settings),
        "watch of replication's certificate": of_replication(settings, topology, account),
    }
    return tuple((name, each, each.state) for name, each in found.items() if each is not None)


def of_nginx(settings: Settings) -> Watched | None:
    """Return the operator's certificate and key, which nginx reads itself; None without one."""
    if not settings.tls or test_mode.makes_certificate(settings):
        return None

    def taken() -> Iterator[str]:
        try:
            certificate.check(settings, dt.datetime.now(dt.UTC))
        except ConfigError as error:
            yield _refusal(what, error)
        else:
            yield f"reload nginx the {what} was replaced"

    what, paths = "TLS certificate", (settings.tls_cert or "", settings.tls_key or "")
    return Watched(what=what, paths=paths, taken=taken, certificate=settings.tls_cert)


def of_replication(settings: Settings, topology: Topology, account: str | None) -> Watched | None:
    """Return the files of what encrypts replication; None if variables give all of it.

    They are copied for Synapse's account.
    """
    given = dict(settings.secret_files)
    paths = {field: given[variable] for variable, field in REPLICATION.items() if variable in given}
    parse = {field: variable.parse for field, variable in variables()}
    if not paths or not settings.encrypts_replication:
        return None

    def taken() -> Iterator[str]:
        try:
            texts: dict[str, Any] = {
                field: parse[field](read_text(path, LARGEST_SECRET))
                for field, path in paths.items()
            }
            now = replace(settings, **texts)
            certificate.check_replication(now, topology, dt.datetime.now(dt.UTC))
            for field, text in texts.items():
                path = Path(settings.paths.secret(field))
                write_file(path, f"{text}\n", SECRET, account, lasting=False)
        except ConfigError as error:
            yield _refusal(what, error)
        except ValueError as error:
            yield f"log the new {what} is not used: {error}"
        else:
            for process in topology.here:
                yield f"reload {process.name} the {what} was replaced"

    what = "certificate of replication"
    own = paths.get("replication_cert")
    return Watched(what=what, paths=tuple(paths.values()), taken=taken, certificate=own)


def _refusal(what: str, error: ConfigError) -> str:
    problems = "; ".join(f"{item.variable}: {item.message}" for item in error.problems)
    return f"log the new {what} is not used: {problems}"
