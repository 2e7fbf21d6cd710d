"""The bot, in good times and in bad ones."""

import time

import pytest
from matrix import CLIENT, hear, join, make_room, say, sync, texts, wait_for_member

from pytest_ganglion import Ganglion, Refused, User


def test_it_comes_where_it_is_invited_and_counts(ganglion: Ganglion, bot: User) -> None:
    alice = ganglion.register("alice")
    room = make_room(alice, bot)
    wait_for_member(alice, room, bot.user_id)
    say(alice, room, "!count one two three")
    hear(alice, room, "3 words")


def test_it_counts_for_many_at_once(ganglion: Ganglion, bot: User) -> None:
    people = ganglion.users(3, prefix="person")
    rooms = [make_room(person, bot) for person in people]
    for number, (person, room) in enumerate(zip(people, rooms, strict=True)):
        wait_for_member(person, room, bot.user_id)
        say(person, room, "!count" + " word" * number)
    for number, (person, room) in enumerate(zip(people, rooms, strict=True)):
        hear(person, room, f"{number} words")


def test_it_outlives_a_worker(ganglion: Ganglion, bot: User) -> None:
    """The process that answers the bot's /sync dies while the bot waits for it."""
    alice = ganglion.register("alice")
    room = make_room(alice, bot)
    wait_for_member(alice, room, bot.user_id)
    ganglion.worker("sync1").kill()
    say(alice, room, "!count one two")
    hear(alice, room, "2 words")


def test_it_is_patient_with_slow_workers(ganglion: Ganglion, bot: User) -> None:
    alice = ganglion.register("alice")
    ganglion.worker("sync1").slow(300)
    room = make_room(alice, bot)
    wait_for_member(alice, room, bot.user_id)
    say(alice, room, "!count one")
    hear(alice, room, "1 words")


def test_what_is_sent_is_in_everybodys_sync_after_a_barrier(ganglion: Ganglion) -> None:
    """No sleeping, no asking again: one look is enough."""
    alice, bob = ganglion.register("alice"), ganglion.register("bob")
    room = make_room(alice, bob)
    join(bob, room)
    say(alice, room, "hello")
    ganglion.barrier()
    assert "hello" in texts(sync(bob), room)


def test_a_worker_that_lags_behind_brings_the_message_later(ganglion: Ganglion) -> None:
    """The view of a client when the server is busy: nothing, and then all of it.

    Alice's requests go to the process that writes, or she would wait for another one to hear of it.
    """
    alice = ganglion.register("alice").pinned("main")
    bob = ganglion.register("bob").pinned("sync1")
    room = make_room(alice, bob)
    join(bob, room)
    ganglion.barrier()
    since = sync(bob)["next_batch"]
    ganglion.replication_delay(1000)
    say(alice, room, "hello")
    early = sync(bob, since)
    assert texts(early, room) == []
    began = time.monotonic()
    assert texts(sync(bob, early["next_batch"], wait=10), room) == ["hello"]
    assert time.monotonic() - began > 0.3


@pytest.mark.parametrize("attempt", [1, 2])
def test_each_test_begins_with_an_empty_server(ganglion: Ganglion, attempt: int) -> None:
    """The name is free again, and the room of the first attempt is gone."""
    alice = ganglion.register("alice")
    assert alice.request("GET", f"{CLIENT}/publicRooms")["chunk"] == [], f"attempt {attempt}"
    make_room(alice, public=True)
    with pytest.raises(Refused, match="M_USER_IN_USE"):
        ganglion.register("alice")
