"""Checks of the machine: ports, certificate, clock, time zone."""

import contextlib
import ctypes
import datetime as dt
import errno
import socket
import ssl
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ganglion.data.certificate import DAYS_TO_RENEW
from ganglion.data.certificate_check import faults
from ganglion.doctor.finding import Check, Finding, bad, good, notice
from ganglion.doctor.place import RESTART, Place
from ganglion.doctor.unavailable import Unavailable
from ganglion.errors import reason
from ganglion.settings import test_mode
from ganglion.settings.reading import LARGEST_FILE, read_bytes

# adjtimex(2): the kernel's clock is not synchronised with another.
STA_UNSYNC = 0x40
# Other servers reject signed keys and requests with a clock that is further off.
MOST_CLOCK_ERROR = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A public port. `problem` says why it does not answer or cannot be opened."""

    variable: str
    host: str
    port: int
    running: bool
    problem: str | None


def observe_ports(place: Place) -> tuple[Port, ...]:
    """Connect to the ports of a running server; see whether a stopped one could open them."""
    settings = place.settings
    found = []
    for variable, port in settings.public_ports.items():
        host = settings.reachable_at
        if variable == "CONTROL_PORT":
            address = settings.control_bind_address
            host = {"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104
        look = _answers if place.running else _can_open
        problem = look(host, port, place.network.timeout)
        found.append(
            Port(variable=variable, host=host, port=port, running=place.running, problem=problem)
        )
    return tuple(found)


def _answers(host: str, port: int, timeout: float) -> str | None:
    try:
        with socket.create_connection((host, port), timeout):
            return None
    except OSError as error:
        return reason(error)


def _can_open(host: str, port: int, _timeout: float) -> str | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as trying:
        trying.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trying.bind((host, port))
            trying.listen(1)
        except OSError as error:
            return (
                "another program listens there"
                if error.errno == errno.EADDRINUSE
                else reason(error)
            )
    return None


def judge_ports(found: tuple[Port, ...]) -> Iterator[Finding]:
    """Judge the ports."""
    for item in found:
        if item.problem is None:
            continue
        if item.running:
            yield bad(
                f"nothing answers at {item.host}:{item.port} ({item.variable}): {item.problem}",
                "clients, proxies and other servers cannot connect",
                RESTART,
            )
        else:
            yield bad(
                f"{item.host}:{item.port} ({item.variable}) cannot be opened: {item.problem}",
                "the server does not start",
                f"ss -ltnp 'sport = :{item.port}'    # names the program; stop it, or set another"
                f" {item.variable}",
            )
    if not any(item.problem for item in found):
        ports = ", ".join(f"{item.port}" for item in found)
        yield good(f"{'answers' if found[0].running else 'free'}: {ports}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The certificate files: faults as message and fix, the end, and the end of the one served."""

    path: str
    faults: tuple[tuple[str, str, str], ...]
    now: dt.datetime
    until: dt.datetime | None = None
    served_until: dt.datetime | None = None
    nginx_pid: str = ""


def observe_certificate(place: Place) -> Certificate:
    """Read the certificate and key, and ask nginx for the certificate that it serves."""
    from cryptography import x509  # noqa: PLC0415

    settings = place.settings
    if settings.tls_cert is None or settings.tls_key is None:
        raise Unavailable("no certificate is set: HTTPS is up to the reverse proxy")
    if test_mode.makes_certificate(settings):
        raise Unavailable("Complement's authority signs it at each start")
    try:
        chain = read_bytes(settings.tls_cert, LARGEST_FILE)
        key = read_bytes(settings.tls_key, LARGEST_FILE)
    except OSError as error:
        unreadable = (
            str(error.filename),
            f"cannot be read: {reason(error)}",
            "give the path of a PEM file; in a container, mount it there",
        )
        return Certificate(path=settings.tls_cert, faults=(unreadable,), now=place.now)
    found = tuple(faults(chain, key, place.now))
    until = None
    with contextlib.suppress(ValueError):
        until = x509.load_pem_x509_certificates(chain)[0].not_valid_after_utc
    served = None
    if place.running:
        served = _served(settings.reachable_at, settings.federation_port, place.network.timeout)
    return Certificate(
        path=settings.tls_cert,
        faults=found,
        now=place.now,
        until=until,
        served_until=served,
        nginx_pid=settings.paths.nginx_pid,
    )


def _served(host: str, port: int, timeout: float) -> dt.datetime | None:
    """Return the end of the certificate that a port serves; None if it does not answer."""
    from cryptography import x509  # noqa: PLC0415

    # The certificate is read, not trusted.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout) as raw,
            context.wrap_socket(raw) as stream,
        ):
            content = stream.getpeercert(binary_form=True)
    except OSError:
        return None
    return x509.load_der_x509_certificate(content).not_valid_after_utc if content else None


def judge_certificate(found: Certificate) -> Iterator[Finding]:
    """Judge the days left, and whether nginx serves the certificate of the file."""
    means = "clients and other servers refuse to connect over HTTPS"
    for variable, message, fix in found.faults:
        yield bad(f"{variable} {message}", means, fix)
    if found.until is None or found.faults:
        return
    days = (found.until - found.now).days
    if days < DAYS_TO_RENEW:
        yield notice(
            f"the certificate ends in {days} day{'' if days == 1 else 's'}, on"
            f" {found.until:%Y-%m-%d}",
            f"its renewal does not work; after that day {means}",
            f"renew {found.path}, such as with `certbot renew`; the server takes it up by itself",
        )
    elif found.served_until is not None and found.served_until < found.until:
        yield bad(
            f"nginx serves a certificate until {found.served_until:%Y-%m-%d}, and the file has one"
            f" until {found.until:%Y-%m-%d}",
            "the renewed certificate is not in use; the old one ends first",
            f"kill -HUP $(cat {found.nginx_pid})    # nginx reads it again",
        )
    else:
        yield good(f"valid for {days} days, until {found.until:%Y-%m-%d}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """How far the clock may be off.

    `synchronised` is the kernel's word, None if it does not say. `ahead_of_database` is the
    difference to PostgreSQL's clock, `newest_event` the age of the newest event, and `newest_file`
    that of the file that was written last, all in seconds; None where there is none to ask.
    """

    synchronised: bool | None
    newest_file: float | None = None
    ahead_of_database: float | None = None
    newest_event: float | None = None


class _Timex(ctypes.Structure):
    """struct timex: only `status` is read. 208 bytes with 64-bit longs."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def synchronised() -> bool | None:
    """Return whether the kernel's clock is synchronised; None if it cannot be asked."""
    try:
        timex = _Timex()
        if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex)) < 0:
            return None
    except (AttributeError, OSError):
        return None
    return not timex.status & STA_UNSYNC


def observe_clock(place: Place) -> Clock:
    """Ask the kernel, and compare with the database."""
    kernel = synchronised()
    written = [age for path in _written(place) if (age := _age(path)) is not None]
    newest_file = min(written, default=None)
    try:
        ((database, newest),) = place.database.rows(
            "SELECT extract(epoch FROM clock_timestamp())::float8,"
            " (SELECT received_ts / 1000.0 FROM events"
            " ORDER BY stream_ordering DESC LIMIT 1)::float8"
        )
    except Unavailable:
        return Clock(synchronised=kernel, newest_file=newest_file)
    now = dt.datetime.now(dt.UTC).timestamp()
    return Clock(
        synchronised=kernel,
        newest_file=newest_file,
        ahead_of_database=now - database,
        newest_event=None if newest is None else now - newest,
    )


def _written(place: Place) -> tuple[str, ...]:
    """Return files that the server writes often, or at each start."""
    paths = place.settings.paths
    return paths.server_json, f"{paths.postgres}/global/pg_control"


def _age(path: str) -> float | None:
    try:
        return dt.datetime.now(dt.UTC).timestamp() - Path(path).stat().st_mtime
    except OSError:
        return None


def judge_clock(found: Clock) -> Iterator[Finding]:
    """Judge the clock."""
    means = "other servers reject this one's keys and requests, and tokens expire at wrong times"
    repair = "timedatectl set-ntp true    # on the host: a container has the host's clock"
    wrong = False
    for what, age in (
        ("the newest event came", found.newest_event),
        ("the data were written", found.newest_file),
    ):
        if age is not None and age < -MOST_CLOCK_ERROR:
            wrong = True
            yield bad(
                f"{what} {-age:.0f} s after the present time",
                f"the clock was set back since, or was wrong then: {means}",
                repair,
            )
    if found.ahead_of_database is not None and abs(found.ahead_of_database) > MOST_CLOCK_ERROR:
        wrong = True
        direction = "ahead of" if found.ahead_of_database > 0 else "behind"
        yield bad(
            f"the clock is {abs(found.ahead_of_database):.0f} s {direction} PostgreSQL's",
            means,
            repair,
        )
    if not wrong:
        says = "; the kernel does not call it synchronised" if found.synchronised is False else ""
        yield good(f"no other clock contradicts it{says}")


def observe_time_zone(place: Place) -> tuple[str, bool]:
    """Observe TZ, and whether this machine knows it."""
    zone = place.environ.get("TZ", "").removeprefix(":")
    if not zone:
        return "", True
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        # A rule of POSIX, such as CET-1CEST, needs no file.
        return zone, any(letter.isdecimal() for letter in zone)
    return zone, True


def judge_time_zone(found: tuple[str, bool]) -> Iterator[Finding]:
    """Judge TZ."""
    zone, known = found
    if known:
        yield good(f"TZ is {zone}" if zone else "UTC, as TZ is not set")
        return
    yield notice(
        f"TZ is {zone}, which this machine does not know",
        "the times in logs are UTC, under the wrong name",
        "TZ=Europe/Berlin    # a name in /usr/share/zoneinfo, or unset it for UTC",
    )


CHECKS = (
    Check(
        name="ports",
        about="the public ports: they answer, or another program does not hold them while the"
        " server is stopped",
        observe=observe_ports,
        judge=judge_ports,
    ),
    Check(
        name="certificate",
        about="the TLS certificate and key: readable, fitting, days left, and the one that nginx"
        " serves",
        observe=observe_certificate,
        judge=judge_certificate,
    ),
    Check(
        name="clock",
        about="the clock, against PostgreSQL's and the newest event; whether the kernel calls it"
        " synchronised",
        observe=observe_clock,
        judge=judge_clock,
    ),
    Check(
        name="time-zone",
        about="whether `TZ`, if set, names a known time zone",
        observe=observe_time_zone,
        judge=judge_time_zone,
    ),
)
