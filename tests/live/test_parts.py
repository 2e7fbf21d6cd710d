"""One server in several parts, each with its own supervisor, as in several containers."""

import asyncio
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count

import pytest

from tests.certificates import Authority
from tests.dependencies import PASSWORD, REDIS_PASSWORD, started
from tests.flows import whole_flow
from tests.golden.cases import SIGNING_KEY
from tests.harness import SHARED_SECRET, START_WITHIN, Server, free_port, wait_until
from tests.matrix import CLIENT, Clients
from tests.raw_http import raw_request

# A container needs no readers but its own. The ports are in this order.
NEEDED = "event_persister, jobs=background_worker+pusher"
WORKERS = f"{NEEDED}, synchrotron"
# Three ports for each of the four processes.
PORTS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts: `front` has nginx and main, `writers` the persister and the jobs."""

    front: Server
    writers: Server
    readers: Server
    variables: dict[str, str]
    authority: Authority

    @property
    def replication(self) -> int:
        """The port at which the event persister, the process after main, takes replication."""
        return int(self.variables["INTERNAL_PORT_BASE"]) + 3 + 1


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    with ExitStack() as stack:
        postgres, redis = started(stack)
        authority = Authority.make(tmp_path_factory.mktemp("tls"))
        certificate, key = authority.issue(authority.path.parent)
        variables = {
            "POSTGRES_HOST": "127.0.0.1",
            "POSTGRES_PORT": str(postgres.port),
            "POSTGRES_PASSWORD": PASSWORD,
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(redis.port),
            "REDIS_PASSWORD": REDIS_PASSWORD,
            "SYNAPSE_WORKER_REPLICATION_SECRET": "between-processes",
            "SYNAPSE_MACAROON_SECRET_KEY": "macaroon",
            "SYNAPSE_FORM_SECRET": "form",
            "SYNAPSE_SIGNING_KEY": SIGNING_KEY,
            "INTERNAL_PORT_BASE": str(free_port(PORTS)),
            # A name, so that nginx resolves it.
            "GANGLION_HOSTS": "*=localhost",
            "GANGLION_REPLICATION_CERT_FILE": str(certificate),
            "GANGLION_REPLICATION_KEY_FILE": str(key),
            "GANGLION_REPLICATION_CA_FILE": str(authority.path),
        }

        def part(only: str, workers: str = WORKERS) -> Server:
            return stack.enter_context(Server(workers, variables | {"GANGLION_ONLY": only}))

        found = Parts(
            front=part("nginx, main"),
            writers=part("event_persister, jobs", NEEDED),
            readers=part("synchrotron"),
            variables=variables,
            authority=authority,
        )
        servers = (found.readers, found.writers, found.front)
        # All at once, and main last: the others wait until it has made the tables.
        for server in servers:
            server.launch()
        found.front.wait_ready()
        for server in servers:
            wait_ready(server)
        yield found


def wait_ready(server: Server) -> None:
    """Wait until every process of a part answers."""

    def ready() -> bool:
        assert server.running, server.log.tail()
        return server.ganglion("ready").returncode == 0

    wait_until("ready part", ready, START_WITHIN)


def test_parts_serve_clients_together(parts: Parts) -> None:
    asyncio.run(whole_flow(parts.front.base_url, SHARED_SECRET))
    by_readers = {request.process for request in parts.readers.log.requests()}
    assert "synchrotron1" in by_readers
    assert "/_synapse/replication/" in parts.writers.log.text()
    names = {
        name: {row["name"] for row in server.status()}
        for name, server in (
            ("front", parts.front),
            ("writers", parts.writers),
            ("readers", parts.readers),
        )
    }
    assert names == {
        "front": {"nginx", "main", "control"},
        "writers": {"event_persister1", "jobs1"},
        "readers": {"synchrotron1"},
    }


def test_a_second_home_other_lists_and_a_whole_server_are_refused(parts: Parts) -> None:
    def refused(only: str, workers: str = WORKERS, *, encrypted: bool = True) -> str:
        variables = parts.variables | {
            "GANGLION_WAIT": "2s",
            "INTERNAL_PORT_BASE": str(free_port(3 * PORTS)),
        }
        if only:
            variables |= {"GANGLION_ONLY": only}
        else:
            del variables["GANGLION_HOSTS"]
        if not (only and encrypted):
            variables = {
                name: text for name, text in variables.items() if "_REPLICATION_" not in name
            } | {"SYNAPSE_WORKER_REPLICATION_SECRET": "between-processes"}
        with Server(workers, variables) as server:
            answer = server.ganglion("run")
            assert answer.returncode == 2, answer.stdout
            return answer.stderr

    assert "event_persister1 runs already in another container, at 127.0.0.1" in refused(
        "event_persister"
    )
    assert "main runs already in another container" in refused("main")
    assert (
        "containers with other WORKERS run, or with replication encrypted and plain, at 127.0.0.1"
        in refused("event_persister2", WORKERS.replace("event_persister", "event_persister:2"))
    )
    assert "or with replication encrypted and plain" in refused("synchrotron", encrypted=False)
    assert "another server uses it, at 127.0.0.1" in refused("")


def test_requests_go_on_while_a_part_is_away_and_after_it_is_back(parts: Parts) -> None:
    async def sync_ten_times(name: str) -> None:
        async with Clients(parts.front.base_url) as clients:
            alice = await clients.register(name)
            path = f"{CLIENT}/sync?timeout=0"
            since = (await alice.call("GET", path))["next_batch"]
            for _ in range(10):
                since = (await alice.call("GET", f"{path}&since={since}"))["next_batch"]

    parts.readers.kill()
    asyncio.run(sync_ten_times("away"))
    mark = parts.readers.log.mark()
    parts.readers.launch()
    wait_ready(parts.readers)

    # nginx tries a server that was away again only after some seconds.
    def is_used_again() -> bool:
        asyncio.run(sync_ten_times(f"back{next(numbers)}"))
        return any("/sync" in request.uri for request in parts.readers.log.requests(mark))

    numbers = count(1)
    wait_until("a sync at the reader", is_used_again)


def test_verbs_make_sense_in_a_part(parts: Parts) -> None:
    check = parts.readers.ganglion("check")
    assert check.returncode == 0, check.stderr
    assert "event_persister1 (elsewhere)" in check.stdout
    assert "synchrotron1 " in check.stdout
    budget = json.loads(parts.readers.ganglion("budget", "--json").stdout)
    assert set(budget["pools"]) == {"synchrotron1"}
    plan = parts.readers.ganglion("plan", WORKERS)
    assert plan.returncode == 0, plan.stderr
    front = json.loads(parts.front.ganglion("ready", "--json").stdout)
    assert set(front) >= {"main", "nginx", "postgres", "redis"}
    assert "event_persister1" not in front


def served(parts: Parts) -> bytes:
    """Return the certificate of the event persister's port for replication, verified."""
    context = ssl.create_default_context(cafile=parts.authority.path)
    with (
        socket.create_connection(("127.0.0.1", parts.replication)) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as stream,
    ):
        found = stream.getpeercert(binary_form=True)
    assert found is not None
    return found


@pytest.mark.both_modes
def test_replication_is_encrypted_and_a_renewed_certificate_is_taken_up(parts: Parts) -> None:
    with pytest.raises(OSError):  # noqa: PT011 - whatever it is, it is no response
        raw_request(parts.replication, "GET", "/health")
    before = served(parts)
    parts.authority.issue(parts.authority.path.parent)
    wait_until("the new certificate", lambda: served(parts) != before)
    for server in (parts.front, parts.writers, parts.readers):
        server.log.wait_for("the certificate of replication was replaced")
    asyncio.run(whole_flow(parts.front.base_url, SHARED_SECRET))
