"""A PostgreSQL server for a short work on one cluster: on a socket of its own, for us alone."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ganglion.files.write import make_directory, write_file
from ganglion.machine import temporary
from ganglion.machine.installed import Machine
from ganglion.machine.nss_wrapper import accounts_file, environment, groups_file
from ganglion.programs.postgres.client import Client, Failed, Running
from ganglion.programs.postgres.cluster import make_cluster
from ganglion.programs.postgres.cluster import name as quoted
from ganglion.programs.postgres.server import owner
from ganglion.settings.secrets import generate
from ganglion.settings.variables import Settings

# In seconds.
START_WITHIN, STOP_WITHIN, PAUSE = 120.0, 120.0, 0.1
# In seconds, between two signals to end.
AGAIN = 2.0
# The owner of a database that is being restored.
RESTORING = "ganglion_restoring"
# Nothing is lost if it fails: the cluster is made again. The caller flushes the finished one.
OPTIONS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "1GB",
    "maintenance_work_mem": "64MB",
    "shared_buffers": "64MB",
    "max_connections": "20",
    # A session ends soon after its client, whatever it does: it holds the lock of the directory.
    "client_connection_check_interval": "1s",
    # A container has 64 MB of shared memory.
    "max_parallel_maintenance_workers": "0",
    "max_parallel_workers_per_gather": "0",
}


@contextlib.contextmanager
def new_cluster(
    cluster: Path, settings: Settings, machine: Machine, *, name: str, role: str
) -> Iterator[Client]:
    """Make a cluster with an empty database, serve it for the body, and stop it in order.

    `name` is the database's and `role` its owner's, which it gets after the body: until then the
    owner is RESTORING, which has no further right. PostgreSQL's administrator could run programs,
    and `role` may be the administrator. Raises ConfigError, and Failed if the server does not start
    or stop.
    """
    # The image's prepared database already has Synapse's tables.
    bare = replace(machine, prepared=None)
    with temporary.directory("cluster") as directory:
        account = machine.account("postgres")
        directory.chmod(0o711)
        # Its accounts and groups are there too: programs/postgres/cluster.py.
        named = replace(settings, run=str(directory), postgres_db=name, postgres_user=RESTORING)
        names = _names(named, machine)
        make_cluster(cluster, named, bare, generate())
        sockets = directory / "s"
        make_directory(sockets, 0o700, account)
        hba = directory / "hba"
        # Only the server's account and root can enter the directory of the socket.
        write_file(hba, "local all all trust\n", 0o644, None, lasting=False)
        client = Client(
            programs=machine.postgres_bin,
            dsn=_dsn(sockets, RESTORING, name),
            account=account,
            environment=names,
        )
        with _serving(client, cluster, sockets, hba):
            yield client
            administrator = owner(machine)
            superuser = replace(client, dsn=_dsn(sockets, administrator, name))
            if role == administrator:
                superuser.query(f"REASSIGN OWNED BY {RESTORING} TO {quoted(role)}")
                superuser.query(f"DROP OWNED BY {RESTORING}")
                superuser.query(f"DROP ROLE {RESTORING}")
            else:
                superuser.query(f"ALTER ROLE {RESTORING} RENAME TO {quoted(role)}")


def _names(settings: Settings, machine: Machine) -> dict[str, str]:
    """Return the environment of an account without a name: machine/nss_wrapper.py."""
    accounts, groups = settings.paths.accounts, settings.paths.groups
    if machine.nss_wrapper is not None:
        write_file(Path(accounts), accounts_file(), 0o644, None, lasting=False)
        write_file(Path(groups), groups_file(), 0o644, None, lasting=False)
    return dict(environment(machine.nss_wrapper, accounts, groups))


def _dsn(sockets: Path, role: str, name: str) -> str:
    return f"host={sockets} user={_quoted(role)} dbname={_quoted(name)}"


def _quoted(value: str) -> str:
    """Quote a value of libpq's connection string."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


@contextlib.contextmanager
def _serving(client: Client, cluster: Path, sockets: Path, hba: Path) -> Iterator[None]:
    options = {**OPTIONS, "unix_socket_directories": str(sockets), "hba_file": str(hba)}
    words = [word for item in options.items() for word in ("-c", "=".join(item))]
    command = ("postgres", "-D", str(cluster), *words)
    server = client.start(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        _await(client, server)
        yield
        server.process.send_signal(signal.SIGINT)
        try:
            status = server.process.wait(timeout=STOP_WITHIN)
        except subprocess.TimeoutExpired as error:
            raise Failed("the temporary PostgreSQL server does not stop") from error
        if status:
            raise Failed(f"the temporary PostgreSQL server ended badly: {server.said()}")
    finally:
        _end(server)
        server.close()


def _end(server: Running) -> None:
    """Shut the whole family down at once.

    A server that has just started may not have a handler of the signal yet. Where the signal is
    ignored before, as in the background of a shell, it is lost: so it is sent again.
    """
    deadline = time.monotonic() + STOP_WITHIN
    while server.process.poll() is None and time.monotonic() < deadline:
        server.process.send_signal(signal.SIGQUIT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.process.wait(timeout=AGAIN)


def _await(client: Client, server: Running) -> None:
    deadline = time.monotonic() + START_WITHIN
    while True:
        if server.process.poll() is not None:
            raise Failed(f"the temporary PostgreSQL server did not start: {server.said()}")
        with contextlib.suppress(Failed):
            client.query("SELECT 1")
            return
        if time.monotonic() > deadline:
            raise Failed(f"the temporary PostgreSQL server does not answer: {server.said()}")
        time.sleep(PAUSE)
