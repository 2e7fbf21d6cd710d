"""The check of versions with known faults."""

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ganglion.data import identity
from ganglion.doctor.configuration import synapse_version
from ganglion.doctor.finding import Check, Finding, bad, good, notice
from ganglion.doctor.place import Place
from ganglion.doctor.unavailable import Unavailable
from ganglion.errors import ConfigError

Version = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault of the versions from `since`, inclusive, up to `fixed`, exclusive."""

    program: str
    since: Version
    fixed: Version
    fault: str
    reference: str


FAULTS: tuple[Fault, ...] = (
    Fault(
        program="Synapse",
        since=(0,),
        fixed=(1, 127, 1),
        fault="a server can stop this one's federation with a malicious event",
        reference="CVE-2025-30355",
    ),
    Fault(
        program="Synapse",
        since=(1, 127, 1),
        fixed=(1, 138, 3),
        fault="a user can stop federation with invalid device keys",
        reference="CVE-2025-61672",
    ),
    Fault(
        program="Synapse",
        since=(1, 138, 3),
        fixed=(1, 138, 4),
        fault="the release has a regression and was replaced within days",
        reference="PYSEC-2026-1612",
    ),
    Fault(
        program="Synapse",
        since=(1, 139),
        fixed=(1, 139, 2),
        fault="a user can stop federation with invalid device keys, or there is a regression",
        reference="CVE-2025-61672",
    ),
    Fault(
        program="Synapse",
        since=(1, 127, 1),
        fixed=(1, 157, 2),
        fault="several vulnerabilities of high severity are open",
        reference="Synapse 1.157.2, ELEMENTSEC-2026-1071 and others",
    ),
    Fault(
        program="PostgreSQL",
        since=(14,),
        fixed=(14, 4),
        fault="CREATE INDEX CONCURRENTLY and REINDEX CONCURRENTLY corrupt indexes",
        reference="PostgreSQL 14.4; Synapse makes indexes that way",
    ),
    *(
        Fault(
            program="PostgreSQL",
            since=(major, minor),
            fixed=(major, minor + 1),
            fault="ALTER ROLE … SET ROLE has no effect, and extensions may crash",
            reference="PostgreSQL 17.2, 16.6, 15.10, 14.15",
        )
        for major, minor in ((17, 1), (16, 5), (15, 9), (14, 14))
    ),
)
# https://www.postgresql.org/support/versioning/
NO_FIXES_AFTER: Mapping[int, dt.date] = {
    13: dt.date(2025, 11, 13),
    14: dt.date(2026, 11, 12),
    15: dt.date(2027, 11, 11),
    16: dt.date(2028, 11, 9),
    17: dt.date(2029, 11, 8),
    18: dt.date(2030, 11, 14),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """The versions in use, and those of the last start in server.json.

    `cluster` is the major version of the embedded database's files, 0 without any; `programs` says
    whether there are PostgreSQL programs for it.
    """

    found: Mapping[str, str]
    last: Mapping[str, str]
    today: dt.date
    cluster: int = 0
    programs: bool = True
    embedded: bool = True


def observe(place: Place) -> Versions:
    """Read the versions."""
    settings = place.settings
    found = {"Synapse": synapse_version()}
    try:
        ((version,),) = place.database.rows("SELECT current_setting('server_version')")
        found["PostgreSQL"] = str(version).split(" ")[0]
    except Unavailable:
        pass
    try:
        record = identity.read(settings.paths)
    except ConfigError:
        record = None
    cluster = 0
    if settings.embedded_postgres:
        try:
            cluster = int(Path(settings.paths.postgres_version).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            cluster = 0
    return Versions(
        found=found,
        last=record.versions if record else {},
        today=place.now.date(),
        cluster=cluster,
        programs=place.postgres_bin is not None,
        embedded=settings.embedded_postgres,
    )


def numbers(text: str) -> Version:
    """Return the numbers of a version, without a suffix such as rc1."""
    leading = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in leading[0].split(".")) if leading else ()


def judge(found: Versions) -> Iterator[Finding]:
    """Judge the versions."""
    faults = [
        item
        for item in FAULTS
        if item.since <= numbers(found.found.get(item.program, "")) < item.fixed
        and item.program in found.found
    ]
    for fault in faults:
        yield bad(
            f"{fault.program} {found.found[fault.program]}: {fault.fault}",
            f"{fault.reference}; fixed in {'.'.join(map(str, fault.fixed))}",
            "upgrade Ganglion: docs/upgrade.md"
            if fault.program == "Synapse" or found.embedded
            else f"upgrade {fault.program} to {'.'.join(map(str, fault.fixed))} or later",
        )
    others = [*_too_old(found), *_downgrade(found)]
    yield from others
    if not faults and not others:
        listed = ", ".join(f"{name} {version}" for name, version in found.found.items())
        yield good(f"no fault is known of {listed}")


def _too_old(found: Versions) -> Iterator[Finding]:
    major = (numbers(found.found.get("PostgreSQL", "")) or (found.cluster,))[0]
    end = NO_FIXES_AFTER.get(major)
    if end is not None and end < found.today:
        yield notice(
            f"PostgreSQL {major} has had no fixes since {end}",
            "its faults stay, and a later Synapse does not start with it",
            "move to a later major version: docs/upgrade.md",
        )
    if found.cluster and not found.programs:
        yield bad(
            f"the database is of PostgreSQL {found.cluster}, whose programs are not installed",
            "the server does not start",
            f"apt-get install postgresql-{found.cluster}    # or see docs/upgrade.md",
        )


def _downgrade(found: Versions) -> Iterator[Finding]:
    last, now = found.last.get("synapse", ""), found.found["Synapse"]
    if numbers(last) > numbers(now):
        yield notice(
            f"the data were last used by Synapse {last}, and {now} is installed",
            "an older Synapse may refuse a newer database, or run with half of its updates",
            "return to the newer image, or restore the backup from before the upgrade:"
            " docs/upgrade.md",
        )


CHECKS = (
    Check(
        name="versions",
        about="versions of Synapse and PostgreSQL with known faults or without support, and data of"
        " a newer version",
        observe=observe,
        judge=judge,
    ),
)
