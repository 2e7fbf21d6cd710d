"""The configuration of the embedded Redis and PostgreSQL servers."""

from ganglion.budget.amounts import Budget
from ganglion.data.secrets import Secrets
from ganglion.files.file import SECRET, File
from ganglion.files.templates import fill
from ganglion.machine.installed import Machine
from ganglion.settings.variables import Settings

# A machine that crashes takes a test's data with it, which nobody misses; so nothing waits for the
# disk. Whoever kills PostgreSQL, or commits its container, still finds every commit: it is in the
# kernel's memory. Hence synchronous_commit stays on, see docs/decisions/0008.
TESTING = (("fsync", "off"), ("full_page_writes", "off"))


def render(
    settings: Settings, budget: Budget, machine: Machine, secrets: Secrets
) -> tuple[File, ...]:
    """The files of those servers that are embedded."""
    files: list[File] = []
    if budget.redis is not None:
        files.append(
            File(
                path="redis.conf",
                content=fill(
                    "redis.conf.j2",
                    socket=f"{settings.run}/sockets/redis/redis.sock",
                    directory=f"{settings.run}/redis",
                    password=secrets.redis_password,
                    redis=budget.redis,
                ),
                mode=SECRET,
                program="redis",
            )
        )
    if budget.postgres is not None:
        conf = f"{settings.run}/conf/postgresql"
        owner = machine.account("postgres") or machine.ourselves
        # Where Synapse is to use the owner's role, it comes with the password like any other.
        administrator = owner if owner != settings.postgres_user else ""
        # The control application runs as we do, and resets the database.
        mapped = [owner, machine.ourselves] if settings.test_mode and administrator else []
        files += [
            File(
                path="postgresql/postgresql.conf",
                content=fill(
                    "postgresql.conf.j2",
                    hba_file=f"{conf}/pg_hba.conf",
                    ident_file=f"{conf}/pg_ident.conf",
                    sockets=f"{settings.run}/sockets/postgres",
                    postgres=budget.postgres,
                    testing=TESTING if settings.test_mode else (),
                ),
            ),
            File(
                path="postgresql/pg_hba.conf",
                content=fill("pg_hba.conf.j2", administrator=administrator, mapped=mapped),
            ),
            File(
                path="postgresql/pg_ident.conf",
                content=fill("pg_ident.conf.j2", administrator=administrator, mapped=mapped),
            ),
        ]
    return tuple(files)
