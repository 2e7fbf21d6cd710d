"""What the machine has: the programs to run and the accounts to run them as."""

import hashlib
import os
import pwd
import resource
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ganglion.errors import ConfigError, Problem
from ganglion.machine import interpreter, jemalloc, limits
from ganglion.machine.limits import Limits
from ganglion.machine.unix_accounts import numbers

# Beside the program in the image; nowhere else.
IMAGE = Path(__file__).resolve().parents[3]
PREPARED = IMAGE / "database"
# What sha256sum said of Debian's file of certificate authorities when the image was built.
AUTHORITIES_DIGEST = IMAGE / "authorities.sha256"
AUTHORITIES = Path("/etc/ssl/certs")
POSTGRES = Path("/usr/lib/postgresql")
SBIN = "/usr/sbin:/sbin"
# The account that each program runs as, where we are root.
ACCOUNTS = {"synapse": "synapse", "postgres": "postgres", "redis": "redis", "nginx": "www-data"}
# The number of that account and its group in the image, and in Synapse's own.
DEFAULT_NUMBER = 991

MOST_OPEN_FILES = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Facts about this machine, found out once at start.

    `accounts` maps each program to its account, and is empty where we are not root: then all
    run as who we are. `open_files` is how many nginx may have open, `ourselves` is who we are.
    `immortal` says that this Python need not write to what processes share: sharing.py.
    `authorities` is a directory of certificate authorities by their hashes, where it is known to
    hold what the file of all of them does.
    """

    python: str
    nginx: str
    redis_server: str
    postgres_bin: str
    postgres_version: int
    jemalloc: str | None
    ipv6: bool
    open_files: int
    limits: Limits
    accounts: tuple[tuple[str, str], ...]
    ourselves: str
    immortal: bool = True
    prepared: str | None = None
    authorities: str | None = None

    def account(self, program: str) -> str | None:
        """The account that a program is to run as, or None for our own."""
        return dict(self.accounts).get(program)


# What the pure stages are shown with where no machine is asked: `check`, `render`, tests.
TYPICAL = Machine(
    python="/opt/ganglion/venv/bin/python",
    nginx="/usr/sbin/nginx",
    redis_server="/usr/bin/redis-server",
    postgres_bin="/usr/lib/postgresql/17/bin",
    postgres_version=17,
    jemalloc="/usr/lib/x86_64-linux-gnu/libjemalloc.so.2",
    ipv6=True,
    open_files=MOST_OPEN_FILES,
    limits=Limits(
        memory=4 * 1024**3, memory_from="a typical machine", cpus=2.0, cpus_from="a typical machine"
    ),
    accounts=tuple(ACCOUNTS.items()),
    ourselves="root",
)


def discover(
    cluster: Path, *, postgres: bool, redis: bool, user: int | None = None, group: int | None = None
) -> Machine:
    """Look the machine over. `postgres` and `redis` say which servers are to be embedded, `user`
    and `group` the numbers that Synapse is to run as, in place of its account.

    An existing `cluster` decides which of several installed versions of PostgreSQL runs.

    Raises ConfigError with everything that is missing.
    """
    problems: list[Problem] = []
    search = f"{os.defpath}:{SBIN}:/usr/local/sbin:/usr/local/bin"
    nginx = shutil.which("nginx", path=search)
    redis_server = shutil.which("redis-server", path=search)
    binaries, version = _postgres(cluster)
    needed = (
        (True, nginx, "nginx", "nginx"),
        (redis, redis_server, "redis-server", "redis-server"),
        (postgres, binaries, f"PostgreSQL{f' {version}' if version else ''}", "postgresql"),
    )
    for wanted, found, program, package in needed:
        if wanted and not found:
            problems.append(
                Problem(
                    variable=program,
                    value=None,
                    message="is not installed",
                    hint=f"apt-get install {package}, or run ./scripts/setup",
                )
            )
    own = accounts(user, group) if os.geteuid() == 0 else ()
    if not own and user not in (None, os.geteuid()):
        problems.append(
            Problem(
                variable="UID",
                value=str(user),
                message=f"is not who we are, {os.geteuid()}, and only root can run as another",
                hint="unset UID, or start as root",
            )
        )
    problems.extend(_missing_accounts(own, postgres=postgres, redis=redis))
    try:
        ourselves = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        ourselves = ""
        problems.append(
            Problem(
                variable="uid",
                value=str(os.geteuid()),
                message="is of no account of this machine, and PostgreSQL runs only as one",
                hint="start as root, which drops to accounts of its own, or as an account in"
                " /etc/passwd",
            )
        )
    if problems:
        raise ConfigError(problems)
    return Machine(
        python=sys.executable,
        nginx=nginx or "",
        redis_server=redis_server or "",
        postgres_bin=binaries or "",
        postgres_version=version,
        jemalloc=jemalloc.library(),
        ipv6=Path("/proc/net/if_inet6").exists(),
        open_files=open_files(),
        limits=here(),
        accounts=own,
        ourselves=ourselves,
        immortal=interpreter.can_share_objects(),
        prepared=_prepared(version) if own else None,
        authorities=_authorities(),
    )


def accounts(user: int | None, group: int | None) -> tuple[tuple[str, str], ...]:
    """The account of each program, with the numbers asked for in place of Synapse's."""
    if user is None and group is None:
        return tuple(ACCOUNTS.items())
    try:
        own = pwd.getpwnam(ACCOUNTS["synapse"]).pw_uid
    except KeyError:
        own = DEFAULT_NUMBER
    synapse = f"{own if user is None else user}:{DEFAULT_NUMBER if group is None else group}"
    return tuple((ACCOUNTS | {"synapse": synapse}).items())


def here() -> Limits:
    """The limits of memory and processor time that hold for us."""
    return limits.discover(
        lambda path: Path(path).read_text(encoding="utf-8"), len(os.sched_getaffinity(0))
    )


def _prepared(version: int) -> str | None:
    """The cluster that an image brings, if it is of the version that runs."""
    try:
        made_by = int((PREPARED / "PG_VERSION").read_text())
    except (OSError, ValueError):
        return None
    return str(PREPARED) if made_by == version else None


def _authorities() -> str | None:
    """The directory of certificate authorities, if nobody changed the file beside since the image
    was built: who mounts another file over it means that, and has no directory to match.
    """
    try:
        built_with = AUTHORITIES_DIGEST.read_text().split()[0]
        digest = hashlib.sha256((AUTHORITIES / "ca-certificates.crt").read_bytes()).hexdigest()
    except (OSError, IndexError):
        return None
    return str(AUTHORITIES) if digest == built_with else None


def open_files() -> int:
    """How many files an nginx worker may open: what we may be given at the most, within reason."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_OPEN_FILES)


def _postgres(cluster: Path) -> tuple[str | None, int]:
    """The directory of PostgreSQL's programs and their major version."""
    installed = {
        int(path.parent.name): str(path)
        for path in POSTGRES.glob("*/bin")
        if path.parent.name.isdigit() and (path / "postgres").exists()
    }
    try:
        wanted = int((cluster / "PG_VERSION").read_text())
    except (OSError, ValueError):
        wanted = max(installed, default=0)
    return installed.get(wanted), wanted


def _missing_accounts(
    found: tuple[tuple[str, str], ...], *, postgres: bool, redis: bool
) -> Iterator[Problem]:
    wanted = {"synapse": True, "nginx": True, "postgres": postgres, "redis": redis}
    for program, account in found:
        try:
            numbers(account)
        except KeyError:
            if wanted[program]:
                yield Problem(
                    variable=program,
                    value=None,
                    message=f"is to run as the account {account}, which does not exist",
                    hint=f"adduser --system --group --no-create-home {account}, or run"
                    " ./scripts/setup",
                )
