"""The embedded server's cluster: making it, and setting its role's password."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from ganglion.errors import ConfigError, Problem
from ganglion.files.write import make_directory
from ganglion.machine import children
from ganglion.machine.installed import Machine
from ganglion.machine.nss_wrapper import environment
from ganglion.settings.variables import Settings

# The clean database that a test server is reset to: control/test/databases.py.
CLEAN = "ganglion_clean"
# Databases of every cluster and of test mode.
NOT_OURS = ("postgres", "template0", "template1", CLEAN)
COLUMNS = ("datname", "owner")
# Marks a prepared cluster that is used in place: it must not be used or copied again.
CLAIM = ".claimed"


def make_cluster(cluster: Path, settings: Settings, machine: Machine, password: str) -> None:
    """Make the embedded server's cluster with Synapse's role and database, if there is none.

    It is made beside its place and renamed when whole, so a start that was cut off leaves nothing.
    An image brings one that is prepared, with Synapse's tables: it is copied or, in test mode, used
    where it is.
    """
    if (cluster / "PG_VERSION").exists():
        return
    account = machine.account("postgres")
    staged = cluster.with_name(".postgres.new")
    _remove(staged)
    role, database = name(settings.postgres_user), name(settings.postgres_db)
    administrator = account or machine.ourselves
    is_administrator = settings.postgres_user == administrator
    if not is_administrator and _take(machine.prepared, staged, in_place=settings.test_mode):
        renames = (("ROLE", role), ("DATABASE", database))
        prepared = name("synapse")
        statements = [
            *(
                f"ALTER {kind} {prepared} RENAME TO {new}"
                for kind, new in renames
                if new != prepared
            ),
            f"ALTER ROLE {role} PASSWORD {literal(password)}",
        ]
        if settings.test_mode and settings.authority is None:
            # While nobody has the other open. Complement starts servers and resets none.
            statements.append(
                f"CREATE DATABASE {name(CLEAN)} OWNER {role} TEMPLATE {database} STRATEGY file_copy"
            )
    else:
        make_directory(staged, 0o700, account)
        _initialise(staged, settings, machine)
        # initdb made a role for the account that it ran as, whose name may be the one we want.
        verb = "ALTER" if is_administrator else "CREATE"
        statements = [
            f"{verb} ROLE {role} LOGIN PASSWORD {literal(password)}",
            create_database(settings),
        ]
    _single_user(settings, machine, staged, *statements)
    staged.rename(cluster)


def create_database(settings: Settings) -> str:
    """The statement that makes a database such as Synapse requires, empty."""
    return (
        f"CREATE DATABASE {name(settings.postgres_db)} OWNER {name(settings.postgres_user)}"
        " TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
    )


def _remove(staged: Path) -> None:
    """Remove what an earlier start that was cut off left, whatever it is."""
    if staged.is_symlink():
        staged.unlink()
    shutil.rmtree(staged, ignore_errors=True)


def _take(prepared: str | None, staged: Path, *, in_place: bool) -> bool:
    """Put the prepared cluster at `staged`. Returns whether there is one that is still unused.

    Copying its 2000 files takes up to 2 s right after others were removed. With `in_place`, and in
    the same file system as the data, a link replaces the copy: the container's own layer then
    copies only the files that are written to. A copy of the data directory would miss these files,
    so this is for test mode.
    """
    if prepared is None:
        return False
    claim, origin = Path(f"{prepared}{CLAIM}"), Path(prepared)
    if claim.exists():
        return False
    same = origin.stat().st_dev == staged.parent.stat().st_dev
    if in_place and same and os.access(claim.parent, os.W_OK):
        claim.touch()
        # Only its owner may enter: PostgreSQL insists.
        origin.chmod(0o700)
        staged.symlink_to(prepared)
        return True
    # Every account can read the original, and only its owner the copy.
    copied = children.run(["cp", "-a", "--no-preserve=mode", prepared, str(staged)], umask=0o077)
    if copied.returncode:
        raise ConfigError([_no_room(staged.parent)])
    return True


def _no_room(data: Path) -> Problem:
    return Problem(
        variable="GANGLION_DATA",
        value=str(data),
        message="cannot take the prepared database; the line above says why",
        hint="see that the disk has room",
    )


def _initialise(cluster: Path, settings: Settings, machine: Machine) -> None:
    """Run initdb. Locale C and UTF-8 are what Synapse requires:
    https://element-hq.github.io/synapse/latest/postgres.html#set-up-database
    """
    _postgres_program(
        settings,
        machine,
        (
            "initdb",
            "--locale=C",
            "--encoding=UTF8",
            "--auth=peer",
            "--no-instructions",
            "--no-sync",
        ),
        cluster,
    )


def set_password(cluster: Path, settings: Settings, machine: Machine, password: str) -> None:
    """Give the role of a stopped embedded server another password."""
    role = name(settings.postgres_user)
    _single_user(settings, machine, cluster, f"ALTER ROLE {role} PASSWORD {literal(password)}")


def database_in(cluster: Path, settings: Settings, machine: Machine) -> tuple[str, str] | None:
    """Return the name and the owner of the database in a stopped cluster.

    Return None if there are several. This is for clusters of an older Ganglion, which recorded
    neither.
    """
    answer = _single_user(
        settings,
        machine,
        cluster,
        "SELECT datname, pg_get_userbyid(datdba) AS owner FROM pg_database",
    )
    names, owners = (re.findall(rf'\b{column} = "(.*?)"\t', answer) for column in COLUMNS)
    found = [pair for pair in zip(names, owners, strict=True) if pair[0] not in NOT_OURS]
    return found[0] if len(found) == 1 else None


def values(
    cluster: Path, settings: Settings, machine: Machine, statement: str, database: str = "template1"
) -> list[str]:
    """Return the values of an expression `value` that a stopped cluster answers with. No NULLs.

    An expression, because a plain column can have the name of the table's. A cluster whose server
    was killed is recovered by that, and stopped in order. Raises ConfigError.
    """
    answer = _single_user(settings, machine, cluster, statement, database=database)
    return re.findall(r'\bvalue = "(.*?)"\t', answer)


def name(text: str) -> str:
    """Quote a name for SQL."""
    return '"' + text.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a text for SQL. standard_conforming_strings is on: a backslash is itself."""
    return "'" + text.replace("'", "''") + "'"


def _single_user(
    settings: Settings,
    machine: Machine,
    cluster: Path,
    *statements: str,
    database: str = "template1",
) -> str:
    """Run SQL in a stopped cluster. Single-user mode takes one statement a line."""
    return _postgres_program(
        settings,
        machine,
        (
            *("postgres", "--single", "-F", "-j", "-c", "log_checkpoints=off"),
            # A failed statement is not shown, because it may contain a password.
            *("-c", "log_min_error_statement=panic"),
            *_cheap_passwords(machine),
            database,
        ),
        cluster,
        stdin="".join(f"{statement};\n\n" for statement in statements),
    )


def _cheap_passwords(machine: Machine) -> tuple[str, ...]:
    """Compute a password's hash with 1 iteration, not 4096, as hundreds of connections are opened.

    Many iterations protect passwords that people choose against theft of the hashes. Ganglion's
    are 256 random bits, behind a unix socket.
    """
    return ("-c", "scram_iterations=1") if machine.postgres_version >= 16 else ()


def _postgres_program(
    settings: Settings,
    machine: Machine,
    command: tuple[str, ...],
    cluster: Path,
    stdin: str = "",
) -> str:
    program, *arguments = command
    paths = settings.paths
    name_of_account = environment(machine.nss_wrapper, paths.accounts, paths.groups)
    result = children.run(
        [f"{machine.postgres_bin}/{program}", *arguments[:1], "-D", str(cluster), *arguments[1:]],
        input=stdin,
        encoding="utf-8",
        errors="replace",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        account=machine.account("postgres"),
        cwd="/",
        env={"LC_ALL": "C", "PATH": machine.postgres_bin, **dict(name_of_account)},
    )
    # Single-user mode ends with 0 whatever its statements came to, and says ERROR of a failed one.
    if result.returncode or "ERROR:" in result.stderr:
        raise ConfigError(
            [
                Problem(
                    variable="GANGLION_DATA",
                    value=str(cluster.parent),
                    message=f"{program} failed:\n{result.stderr.strip()[-2000:]}",
                    hint="see that the disk has room and that the account of PostgreSQL may enter"
                    f" {cluster.parent}",
                )
            ]
        )
    return str(result.stdout)
