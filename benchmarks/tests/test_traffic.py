"""The requests that clients send."""

from benchmarks import traffic
from benchmarks.population import Person


def test_no_two_clients_share_a_user() -> None:
    people = [
        Person(user_id=f"@u{n}:x", password="p", token=f"t{n}", room_id="!r:x", since="s1")
        for n in range(16)
    ]
    for endpoint in traffic.ENDPOINTS:
        rows = [line.split("\t") for line in traffic.lines(endpoint, people, 8).splitlines()]
        assert {len(row) for row in rows} == {5}
        whose: dict[str, set[int]] = {}
        for number, row in enumerate(rows):
            # A login has no token yet; its body names the user.
            whose.setdefault(row[2] or row[4], set()).add(number % 8)
        assert all(len(clients) == 1 for clients in whose.values())


def test_each_client_sends_the_mixture_in_its_proportions() -> None:
    people = [Person(user_id="@u:x", password="p", token="t", room_id="!r:x")]
    rows = traffic.lines("mixed", people, 4).splitlines()
    assert len(rows) == 4 * sum(traffic.MIXED.values())
    for client in range(4):
        assert sum("/login" in row for row in rows[client::4]) == traffic.MIXED["login"]
        assert sum("/sync" in row for row in rows[client::4]) == traffic.MIXED["sync"]
