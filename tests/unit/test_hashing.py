"""How keys are shared out between the members of a pool."""

from ganglion.routing.consistent_hash import pick

KEYS = [f"!room{number}:example.org" for number in range(10_000)]


def shares(number: int) -> dict[str, str]:
    servers = [f"unix:/run/ganglion/sockets/synchrotron{index}.sock" for index in range(1, number)]
    return {key: pick(servers, key) for key in KEYS}


def test_one_more_worker_moves_about_a_fifth_of_the_keys() -> None:
    before, after = shares(5), shares(6)
    moved = [key for key in KEYS if before[key] != after[key]]
    assert 0.15 < len(moved) / len(KEYS) < 0.25
    # All that move, move to the new one.
    assert {after[key] for key in moved} == {"unix:/run/ganglion/sockets/synchrotron5.sock"}


def test_no_worker_has_much_more_than_another() -> None:
    found = list(shares(5).values())
    for server in set(found):
        assert 0.18 < found.count(server) / len(found) < 0.32


def test_the_order_of_the_servers_does_not_matter() -> None:
    servers = ["127.0.0.1:18003", "127.0.0.1:18006", "127.0.0.1:18009"]
    assert [pick(servers, key) for key in KEYS[:100]] == [
        pick(servers[::-1], key) for key in KEYS[:100]
    ]
