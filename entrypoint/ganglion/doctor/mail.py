"""The check of the mail server, without sending a mail."""

import contextlib
import smtplib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ganglion.doctor.finding import Check, Finding, bad, good, notice
from ganglion.doctor.network import why
from ganglion.doctor.place import Place
from ganglion.doctor.unavailable import Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """The mail server: why it cannot be used, and the part of `email` that is about it."""

    where: str
    file: str
    failure: str | None = None
    option: str = ""
    # Whether a password goes over the network in the clear.
    clear: bool = False


class _Smtp(smtplib.SMTP):
    """SMTP over the network of the place."""

    def __init__(self, place: Place, host: str, *, tls: bool) -> None:
        self._place = place
        self._tls = tls
        super().__init__(timeout=place.network.timeout)
        self._host = host

    def _get_socket(self, host: str, port: int, timeout: Any) -> socket.socket:  # noqa: ANN401
        raw = self._place.network.connect(host, port, timeout)
        raw.settimeout(timeout)
        if not self._tls:
            return raw
        return self._place.network.context.wrap_socket(raw, server_hostname=host)


def observe(place: Place) -> Mail:
    """Connect as Synapse does: greet, encrypt, log in."""
    section = place.operator.section("email")
    if not section:
        raise Unavailable("no mail server is set (email)")
    host = str(section.get("smtp_host", "localhost"))
    tls = section.get("force_tls") is True
    port = int(section.get("smtp_port") or (465 if tls else 25))
    found = Mail(where=f"{host}:{port}", file=place.file_of("email"))
    smtp = _Smtp(place, host, tls=tls)
    try:
        return _talk(smtp, section, found, host, port)
    except smtplib.SMTPAuthenticationError as error:
        return _failed(found, f"it rejects the login ({error.smtp_code})", "smtp_user: …")
    except smtplib.SMTPException as error:
        return _failed(found, f"{type(error).__name__}", "smtp_port: 587")
    except (OSError, ValueError) as error:
        return _failed(found, why(error), "smtp_host: …")
    finally:
        with contextlib.suppress(OSError, smtplib.SMTPException):
            smtp.quit()


def _talk(smtp: smtplib.SMTP, section: Any, found: Mail, host: str, port: int) -> Mail:  # noqa: ANN401
    encrypted = section.get("force_tls") is True
    smtp.connect(host, port)
    smtp.ehlo()
    if not encrypted and section.get("enable_tls", True) is not False:
        if smtp.has_extn("starttls"):
            # With the place's own trust: Synapse verifies the name too.
            smtp.starttls(context=smtp._place.network.context)  # type: ignore[attr-defined]  # noqa: SLF001
            smtp.ehlo()
            encrypted = True
        elif section.get("require_transport_security") is True:
            return _failed(found, "it offers no STARTTLS, which is required", "force_tls: true")
    user, password = section.get("smtp_user"), section.get("smtp_pass")
    if user and password:
        if not smtp.has_extn("auth"):
            return _failed(found, "it offers no login", "smtp_port: 587")
        smtp.login(str(user), str(password))
    local = host in ("localhost", "127.0.0.1", "::1")
    return Mail(
        where=found.where, file=found.file, clear=bool(user and not encrypted and not local)
    )


def _failed(found: Mail, failure: str, option: str) -> Mail:
    return Mail(where=found.where, file=found.file, failure=failure, option=option)


def judge(found: Mail) -> Iterator[Finding]:
    """Judge the mail server."""
    if found.failure is not None:
        yield bad(
            f"the mail server {found.where} cannot be used: {found.failure}",
            "no mail of Synapse arrives: password resets, verifications, notifications",
            f"email:    # in {found.file}; then restart",
            f"  {found.option}",
        )
    elif found.clear:
        yield notice(
            f"the mail server {found.where} offers no encryption",
            "the password of smtp_user goes over the network in the clear",
            f"email:    # in {found.file}; then restart",
            "  force_tls: true",
        )
    else:
        yield good(f"{found.where} accepts mail from Synapse")


CHECKS = (
    Check(
        name="mail",
        about="the mail server: it answers, with encryption and the login that `email` asks for",
        observe=observe,
        judge=judge,
    ),
)
