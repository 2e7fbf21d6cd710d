"""How requests of other homeservers are made and divided."""

from benchmarks import federation
from benchmarks.federation import WAYS, Room
from tests.homeserver import Homeserver

ROOMS = [Room(room_id=f"!{name}:localhost", events=("$1", "$2", "$3")) for name in "abcd"]
OTHERS = [Homeserver(8448 + number, "localhost") for number in range(2)]


def test_every_kind_is_asked_for_and_the_requests_are_the_same_again() -> None:
    asked = federation.requests(OTHERS, ROOMS, 100)
    assert {request.path.split("/")[4] for request in asked} == set(federation.MIX)
    again = federation.requests(OTHERS, ROOMS, 100)
    assert [request.path for request in asked] == [request.path for request in again]


def test_each_way_divides_the_requests() -> None:
    asked = federation.requests(OTHERS, ROOMS[:1], 100)
    places = {
        name: {way(request, number) for number, request in enumerate(asked)}
        for name, way in WAYS.items()
    }
    assert len(places["by room"]) == 1
    assert places["by URI"] == places["in turn"] == set(range(federation.READERS))
    for request in asked:
        assert len({WAYS["by URI"](request, number) for number in range(5)}) == 1


def test_hits_are_those_of_the_chosen_caches() -> None:
    one = (
        'synapse_util_caches_cache_hits{name="*getEvent*",server_name="x"} 3.0\n'
        'synapse_util_caches_cache{name="*getEvent*",server_name="x"} 4.0\n'
        'synapse_util_caches_cache{name="other",server_name="x"} 400.0\n'
        'synapse_util_caches_cache_size{name="*getEvent*",server_name="x"} 100.0\n'
    )
    assert federation.hits([one]) == 75
    assert federation.hits([one, one.replace(" 3.0", " 1.0")]) == 50
    assert federation.hits([""]) == 0
