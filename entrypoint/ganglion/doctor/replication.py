"""The check of the certificate by which containers encrypt replication."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from ganglion.data.certificate import DAYS_TO_RENEW, faults_of_replication
from ganglion.doctor.finding import Check, Finding, bad, good, notice
from ganglion.doctor.place import Place
from ganglion.doctor.unavailable import Unavailable

MEANS = "processes of different containers cannot send each other requests: most writes fail"
RENEW = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj"
    " /CN=ganglion -addext subjectAltName=DNS:ganglion -keyout replication.key -out"
    " replication.crt    # then give every container the new files, and restart all at once"
)
SIGN = "sign new ones with your authority; each container takes its files up by itself"


@dataclass(frozen=True, slots=True, kw_only=True)
class Encryption:
    """The encryption of replication: faults as variable, message and fix, and the first end."""

    faults: tuple[tuple[str, str, str], ...]
    now: dt.datetime
    until: dt.datetime | None = None
    shared: bool = True


def observe(place: Place) -> Encryption:
    """Look at the certificate, the key and the authorities."""
    settings = place.settings
    if not settings.encrypts_replication:
        raise Unavailable("replication is not encrypted, or does not leave this container")
    if place.plan is None:
        raise Unavailable("the configuration does not work")
    from cryptography import x509  # noqa: PLC0415 - slow

    found = faults_of_replication(settings, place.plan.topology, place.now)
    until = None
    if not found:
        texts = filter(None, (settings.replication_cert, settings.replication_ca))
        until = min(
            x509.load_pem_x509_certificates(text.encode())[0].not_valid_after_utc for text in texts
        )
    return Encryption(
        faults=found, now=place.now, until=until, shared=settings.replication_ca is None
    )


def judge(found: Encryption) -> Iterator[Finding]:
    """Judge the faults, and the days that are left."""
    for variable, message, fix in found.faults:
        yield bad(f"{variable} {message}", MEANS, fix)
    if found.until is None:
        return
    days = (found.until - found.now).days
    text = f"{days} day{'' if days == 1 else 's'}, until {found.until:%Y-%m-%d}"
    if days < DAYS_TO_RENEW:
        renew = RENEW if found.shared else SIGN
        yield notice(f"the certificate of replication is valid for {text}", MEANS, renew)
    else:
        yield good(f"replication is encrypted; its certificate is valid for {text}")


CHECKS = (
    Check(
        name="replication-certificate",
        about="the certificate by which several containers encrypt replication: days left, key,"
        " hosts",
        observe=observe,
        judge=judge,
    ),
)
