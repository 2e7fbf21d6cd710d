"""The bot, with a healthy server and with a failing one."""

import time

import pytest
from matrix import CLIENT, hear, join, make_room, say, sync, texts, wait_for_member

from pytest_ganglion import Ganglion, Refused, User


def test_it_accepts_an_invitation_and_counts(ganglion: Ganglion, bot: User) -> None:
    alice = ganglion.register("alice")
    room = make_room(alice, bot)
    wait_for_member(alice, room, bot.user_id)
    say(alice, room, "!count one two three")
    hear(alice, room, "3 words")


def test_it_counts_for_several_users_at_once(ganglion: Ganglion, bot: User) -> None:
    people = ganglion.users(3, prefix="person")
    rooms = [make_room(person, bot) for person in people]
    for number, (person, room) in enumerate(zip(people, rooms, strict=True)):
        wait_for_member(person, room, bot.user_id)
        say(person, room, "!count" + " word" * number)
    for number, (person, room) in enumerate(zip(people, rooms, strict=True)):
        hear(person, room, f"{number} words")


def test_it_survives_a_killed_worker(ganglion: Ganglion, bot: User) -> None:
    """The process that answers the bot's /sync dies while the bot waits for it."""
    alice = ganglion.register("alice")
    room = make_room(alice, bot)
    wait_for_member(alice, room, bot.user_id)
    ganglion.worker("sync1").kill()
    say(alice, room, "!count one two")
    hear(alice, room, "2 words")


def test_it_waits_for_a_slow_worker(ganglion: Ganglion, bot: User) -> None:
    alice = ganglion.register("alice")
    ganglion.worker("sync1").slow(300)
    room = make_room(alice, bot)
    wait_for_member(alice, room, bot.user_id)
    say(alice, room, "!count one")
    hear(alice, room, "1 words")


def test_after_a_barrier_every_sync_has_the_message(ganglion: Ganglion) -> None:
    """No sleep and no retry: one /sync is enough."""
    alice, bob = ganglion.register("alice"), ganglion.register("bob")
    room = make_room(alice, bob)
    join(bob, room)
    say(alice, room, "hello")
    ganglion.barrier()
    assert "hello" in texts(sync(bob), room)


def test_a_worker_that_lags_delivers_the_message_later(ganglion: Ganglion) -> None:
    """A busy server shows a client nothing, and then everything.

    Alice's requests go to the process that writes. Another process would wait for the replication
    before it answers. In test mode the response is held until every process has seen the message,
    but for a second at most; the delay is longer.
    """
    alice = ganglion.register("alice").pinned("main")
    bob = ganglion.register("bob").pinned("sync1")
    room = make_room(alice, bob)
    join(bob, room)
    ganglion.barrier()
    since = sync(bob)["next_batch"]
    ganglion.replication_delay(6000)
    say(alice, room, "hello")
    early = sync(bob, since)
    assert texts(early, room) == []
    began = time.monotonic()
    assert texts(sync(bob, early["next_batch"], wait=10), room) == ["hello"]
    assert time.monotonic() - began > 0.3


@pytest.mark.parametrize("attempt", [1, 2])
def test_each_test_starts_with_an_empty_server(ganglion: Ganglion, attempt: int) -> None:
    """The name is free again, and the room of the first attempt is gone."""
    alice = ganglion.register("alice")
    assert alice.request("GET", f"{CLIENT}/publicRooms")["chunk"] == [], f"attempt {attempt}"
    make_room(alice, public=True)
    with pytest.raises(Refused, match="M_USER_IN_USE"):
        ganglion.register("alice")
