"""Two servers of several workers talk to each other over TLS."""

import asyncio
import re
from collections.abc import Iterator

import pytest

from tests.certificates import Authority
from tests.federation import converse, federating
from tests.harness import Server, wait_until

WORKERS = "federation_reader, federation_inbound:2, federation_sender, event_persister"


def homeserver(host: str, authority: Authority) -> Server:
    return federating(Server(WORKERS), host, authority)


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Iterator[tuple[Server, Server]]:
    with (
        homeserver("localhost", authority) as alpha,
        homeserver("127.0.0.1", authority) as beta,
    ):
        beta.environment["GANGLION_RESTRICT_FEDERATION"] = "yes"
        # Both at the same time, which is faster.
        alpha.launch()
        beta.launch()
        alpha.wait_ready()
        beta.wait_ready()
        yield alpha, beta


def test_invite_join_and_messages_both_ways(pair: tuple[Server, Server]) -> None:
    alpha, beta = pair
    asyncio.run(converse(alpha.base_url, beta.base_url))

    answered_by(beta, r"PUT /_matrix/federation/v2/invite/", "federation_reader1")
    answered_by(alpha, r"GET /_matrix/federation/v1/make_join/", "federation_reader1")
    answered_by(alpha, r"PUT /_matrix/federation/v2/send_join/", "federation_reader1")
    for server in pair:
        # One worker handles all transactions of one homeserver.
        inbound = answered_by(server, r"PUT /_matrix/federation/v1/send/", r"federation_inbound\d")
        assert len(inbound) == 1
        # The event persister writes the events of other homeservers too.
        answered_by(server, r"POST /_synapse/replication/fed_send_events/", "event_persister1")
        sender = r"^federation_sender1 \| .*synapse\.http\.matrixfederationclient.*/v1/send/"
        server.log.wait_for(sender)


def test_only_the_sender_connects_to_others_with_restricted_federation(
    pair: tuple[Server, Server],
) -> None:
    """Other processes send their requests through its replication listener."""
    alpha, beta = pair
    asyncio.run(converse(beta.base_url, alpha.base_url))
    passed_on = r"\"[A-Z]+ matrix-federation://localhost:\d+/_matrix/"
    assert re.search(rf"^federation_sender1 \| .*{passed_on}", beta.log.text(), re.MULTILINE)
    assert not re.search(passed_on, alpha.log.text())


def answered_by(server: Server, asks: str, worker: str) -> set[str]:
    """Return the processes that answered such requests. Only workers of that name may do so."""
    pattern = re.compile(asks)

    def processes() -> set[str]:
        return {r.process for r in server.log.requests() if pattern.match(f"{r.method} {r.uri}")}

    found = wait_until(f"{asks} in the log", processes)
    wrong = {name for name in found if not re.fullmatch(worker, name)}
    assert not wrong, f"{asks} was answered by {wrong}"
    return found
