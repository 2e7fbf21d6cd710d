"""The distribution of keys among the members of a pool."""

from ganglion.routing.consistent_hash import pick

KEYS = [f"!room{number}:example.org" for number in range(10_000)]


def servers_of_keys(number: int) -> dict[str, str]:
    servers = [f"unix:/run/ganglion/sockets/synchrotron{index}.sock" for index in range(1, number)]
    return {key: pick(servers, key) for key in KEYS}


def test_a_fifth_worker_takes_about_a_fifth_of_the_keys() -> None:
    before, after = servers_of_keys(5), servers_of_keys(6)
    moved = [key for key in KEYS if before[key] != after[key]]
    assert 0.15 < len(moved) / len(KEYS) < 0.25
    # Keys move only to the new worker.
    assert {after[key] for key in moved} == {"unix:/run/ganglion/sockets/synchrotron5.sock"}


def test_keys_are_distributed_evenly() -> None:
    found = list(servers_of_keys(5).values())
    for server in set(found):
        assert 0.18 < found.count(server) / len(found) < 0.32


def test_the_order_of_the_servers_does_not_matter() -> None:
    servers = ["127.0.0.1:18003", "127.0.0.1:18006", "127.0.0.1:18009"]
    assert [pick(servers, key) for key in KEYS[:100]] == [
        pick(servers[::-1], key) for key in KEYS[:100]
    ]
