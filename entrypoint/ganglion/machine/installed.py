"""Find the installed programs, the accounts to run them as, and other facts about the machine."""

import contextlib
import hashlib
import os
import pwd
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from ganglion.errors import ConfigError, Problem
from ganglion.machine import (
    capabilities,
    interpreter,
    jemalloc,
    limits,
    nss_wrapper,
    postgres_versions,
)
from ganglion.machine.limits import Limits
from ganglion.machine.unix_accounts import numbers

# Only in the image, next to the program.
IMAGE = Path(__file__).resolve().parents[3]
PREPARED = IMAGE / "database"
# The SHA-256 of Debian's file of certificate authorities when the image was built.
AUTHORITIES_DIGEST = IMAGE / "authorities.sha256"
AUTHORITIES = Path("/etc/ssl/certs")
SBIN = "/usr/sbin:/sbin"
# The UID and GID of Synapse's account in the image, and in Synapse's own image.
DEFAULT_NUMBER = 991

# nginx's version in Debian 13, the base of the image.
IMAGE_NGINX = (1, 26, 3)

MOST_OPEN_FILES = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """A binary that a service needs, and the Debian package that contains it."""

    service: str
    binary: str
    package: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Facts about this machine, found once at start.

    `binaries` maps each service to the path of its program. `accounts` maps each service to its
    account; it is empty unless Ganglion starts as root: then every program keeps Ganglion's own
    account, `ourselves`. `open_files` is how many files nginx may open. `immortal`: see
    machine/interpreter.py. `authorities` is a directory of certificate authorities by their hashes,
    if it is known to hold the same as the file of all of them. `http2_directive`: nginx has
    `http2 on` (1.25.1 and later) instead of an argument of `listen`. `keeps_connections`: it has
    `keepalive_min_timeout` (1.27.4 and later). `nss_wrapper` is the path of that library if our
    account has no name and gets one for PostgreSQL: machine/nss_wrapper.py. `postgres_bin` and
    `postgres_version` are those of the cluster, `newest_postgres` the newest version that is
    installed, with its programs.
    """

    python: str
    binaries: tuple[tuple[str, str], ...]
    postgres_bin: str
    postgres_version: int
    jemalloc: str | None
    ipv6: bool
    open_files: int
    limits: Limits
    accounts: tuple[tuple[str, str], ...]
    ourselves: str
    newest_postgres: tuple[int, str] = (0, "")
    immortal: bool = True
    prepared: str | None = None
    authorities: str | None = None
    nss_wrapper: str | None = None
    http2_directive: bool = True
    keeps_connections: bool = False

    def account(self, service: str) -> str | None:
        """The account that a service's programs run as, or None for Ganglion's own."""
        return dict(self.accounts).get(service)

    def binary(self, service: str) -> str:
        """The path of a service's program."""
        return dict(self.binaries)[service]


# A machine like the image's, without accounts: programs/registry.py adds these.
TYPICAL = Machine(
    python="/opt/ganglion/venv/bin/python",
    binaries=(("nginx", "/usr/sbin/nginx"), ("redis", "/usr/bin/redis-server")),
    postgres_bin="/usr/lib/postgresql/17/bin",
    postgres_version=17,
    jemalloc="/usr/lib/x86_64-linux-gnu/libjemalloc.so.2",
    ipv6=True,
    open_files=MOST_OPEN_FILES,
    limits=Limits(
        memory=4 * 1024**3, memory_from="a typical machine", cpus=2.0, cpus_from="a typical machine"
    ),
    accounts=(),
    ourselves="root",
)


def program(binary: str) -> str | None:
    """Return the path of an installed program, whatever PATH is. None if it is not installed."""
    return shutil.which(binary, path=f"{os.defpath}:{SBIN}:/usr/local/sbin:/usr/local/bin")


def discover(
    cluster: Path,
    requirements: Iterable[Requirement],
    service_accounts: Mapping[str, str],
    *,
    postgres: bool,
    user: int | None = None,
    group: int | None = None,
    ports: Mapping[str, int] = MappingProxyType({}),
) -> Machine:
    """Inspect the machine.

    `requirements` and `service_accounts` are those of the services that run, `postgres` whether
    the PostgreSQL server is embedded. `user` and `group` replace the numbers of Synapse's account.
    `ports` are those that nginx opens, by the names of their variables.
    An existing `cluster` decides which of several installed versions of PostgreSQL it begins with.

    Raises ConfigError with everything that is missing.
    """
    problems: list[Problem] = []
    found: dict[str, str] = {}
    for item in requirements:
        path = program(item.binary)
        if path is None:
            problems.append(_not_installed(item.binary, item.package))
        else:
            found[item.service] = path
    binaries, version = postgres_versions.programs_of(cluster)
    if postgres:
        refused = list(postgres_versions.problems(cluster, postgres_versions.installed()))
        if not binaries and not refused:
            refused.append(_not_installed("PostgreSQL", "postgresql"))
        problems.extend(refused)
    own = accounts(service_accounts, user, group) if os.geteuid() == 0 else ()
    if not own and user not in (None, os.geteuid()):
        problems.append(
            Problem(
                variable="UID",
                value=str(user),
                message=f"is not the UID of this process, {os.geteuid()}; only root can change it",
                hint="unset UID, or start as root",
            )
        )
    problems.extend(_missing_accounts(own))
    problems.extend(shared_numbers(own, user, group))
    problems.extend(capabilities.lacking(ports, root=os.geteuid() == 0))
    wrapper = None
    try:
        ourselves = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        ourselves = nss_wrapper.NAME
        wrapper = nss_wrapper.library() if postgres else None
        if postgres and wrapper is None:
            problems.append(
                Problem(
                    variable="uid",
                    value=str(os.geteuid()),
                    message="has no account on this machine, and the embedded PostgreSQL needs one",
                    hint="apt-get install libnss-wrapper, or start as root, which drops to accounts"
                    " of its own, or as an account in /etc/passwd, or set POSTGRES_HOST to use an"
                    " external server",
                )
            )
    if problems:
        raise ConfigError(problems)
    version_of_nginx = nginx_version(found.get("nginx"))
    return Machine(
        python=sys.executable,
        binaries=tuple(found.items()),
        postgres_bin=binaries or "",
        postgres_version=version,
        newest_postgres=max(postgres_versions.installed().items(), default=(0, "")),
        jemalloc=jemalloc.library(),
        ipv6=Path("/proc/net/if_inet6").exists(),
        open_files=open_files(),
        limits=here(),
        accounts=own,
        ourselves=ourselves,
        immortal=interpreter.can_share_objects(),
        prepared=_prepared(version) if own or ourselves == nss_wrapper.NAME else None,
        authorities=_authorities(),
        nss_wrapper=wrapper,
        http2_directive=version_of_nginx >= (1, 25, 1),
        keeps_connections=version_of_nginx >= (1, 27, 4),
    )


def _not_installed(program: str, package: str) -> Problem:
    return Problem(
        variable=program,
        value=None,
        message="is not installed",
        hint=f"apt-get install {package}, or run ./scripts/setup",
    )


def accounts(
    service_accounts: Mapping[str, str], user: int | None, group: int | None
) -> tuple[tuple[str, str], ...]:
    """Return the account of each service, with `user` and `group` for that of Synapse."""
    if (user is None and group is None) or "synapse" not in service_accounts:
        return tuple(service_accounts.items())
    try:
        own = pwd.getpwnam(service_accounts["synapse"]).pw_uid
    except KeyError:
        own = DEFAULT_NUMBER
    synapse = f"{own if user is None else user}:{DEFAULT_NUMBER if group is None else group}"
    return tuple({**service_accounts, "synapse": synapse}.items())


def here() -> Limits:
    """Return the limits of memory and processor time for this process."""
    return limits.discover(_read_text, len(os.sched_getaffinity(0)))


def _read_text(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


def _prepared(version: int) -> str | None:
    """Return the cluster in the image, if its PostgreSQL version is the installed one."""
    try:
        made_by = int((PREPARED / "PG_VERSION").read_text())
    except (OSError, ValueError):
        return None
    return str(PREPARED) if made_by == version else None


def nginx_version(binary: str | None) -> tuple[int, ...]:
    """Return nginx's version, such as (1, 26, 3). That of the image if it does not say."""
    try:
        # Not resolved by a shell, and nginx reads nothing for -v.
        said = subprocess.run([binary or "nginx", "-v"], capture_output=True, check=False).stderr
    except OSError:
        said = b""
    number = re.search(rb"nginx/(\d+)\.(\d+)\.(\d+)", said)
    return tuple(int(part) for part in number.groups()) if number else IMAGE_NGINX


def _authorities() -> str | None:
    """Return the directory of certificate authorities, if the file of all of them is unchanged.

    An operator can mount another file over it. The directory does not match that file.
    """
    try:
        built_with = AUTHORITIES_DIGEST.read_text().split()[0]
        digest = hashlib.sha256((AUTHORITIES / "ca-certificates.crt").read_bytes()).hexdigest()
    except (OSError, IndexError):
        return None
    return str(AUTHORITIES) if digest == built_with else None


def open_files() -> int:
    """Return how many files an nginx worker can open: the hard limit, at most MOST_OPEN_FILES."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_OPEN_FILES)


def postgres_programs(cluster: Path) -> str | None:
    """Return the directory of PostgreSQL's programs that fit a cluster; None without any."""
    return postgres_versions.programs_of(cluster)[0]


def shared_numbers(
    found: tuple[tuple[str, str], ...], user: int | None, group: int | None
) -> Iterator[Problem]:
    """UID and GID that belong to root or to another program's account.

    Synapse's processes would then have the rights of that program, such as the database's files.
    """
    taken = {(0, 0): "root"}
    for service, account in found:
        if service != "synapse":
            with contextlib.suppress(KeyError):
                taken[numbers(account)] = f"the account of {service}"
    for variable, number, index in (("UID", user, 0), ("GID", group, 1)):
        owner = next((name for ids, name in taken.items() if ids[index] == number), None)
        if number is not None and owner is not None:
            yield Problem(
                variable=variable,
                value=str(number),
                message=f"is the number of {owner}, whose rights Synapse must not have",
                hint=f"unset {variable}, or give the number of an account of your own, such as 991",
            )


def _missing_accounts(found: tuple[tuple[str, str], ...]) -> Iterator[Problem]:
    for service, account in found:
        try:
            numbers(account)
        except KeyError:
            yield Problem(
                variable=service,
                value=None,
                message=f"runs as the account {account}, which does not exist",
                hint=f"adduser --system --group --no-create-home {account}, or run ./scripts/setup",
            )
