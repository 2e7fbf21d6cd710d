"""The steps from one layout to another: safe at each of them, for presets and random layouts."""

import json
import random
from collections.abc import Callable
from functools import cache
from itertools import permutations

import pytest

from ganglion.changes import words
from ganglion.changes.layout import JOBS, SHARED, Layout, View, Views, layout
from ganglion.changes.steps import RESERVED, Action, Changes, between
from ganglion.errors import ConfigError
from ganglion.plan import render
from ganglion.programs.postgres.server import CONF, max_connections
from ganglion.topology.roles import PRESETS, ROLES
from tests.plans import plan

# The names of the variants beside the defaults.
VARIANTS: dict[str, dict[str, str]] = {
    "": {},
    "tcp": {"SYNAPSE_USE_UNIX_SOCKET": "no", "SYNAPSE_ENABLE_METRICS": "yes"},
    "test mode": {"GANGLION_TEST_MODE": "yes"},
    "restricted": {"GANGLION_RESTRICT_FEDERATION": "yes"},
}


@cache
def made(workers: str, variant: str = "") -> Layout:
    found = plan({"WORKERS": workers, "GANGLION_MEMORY": "64G", **VARIANTS[variant]})
    return layout(found, render(found))


class Rehearsal:
    """Carries steps out on names, and checks the promises after each of them."""

    def __init__(self, old: Layout, new: Layout) -> None:
        self.old, self.new = old, new
        self.views = {id(old): Views(old), id(new): Views(new)}
        self.alive = dict.fromkeys(old.processes, old)
        self.listening = set(old.processes)
        self.files = old.files
        self.maps = old.files["maps.conf"]
        self.running = old

    def view(self, name: str) -> View:
        layout = self.alive[name]
        return self.views[id(layout)].of(layout.processes[name])

    def stop(self, names: set[str]) -> None:
        assert names <= set(self.alive)
        for name in names:
            del self.alive[name]

    def write(self, _names: set[str]) -> None:
        self.files = self.new.files
        self.listening |= set(self.new.processes)

    def remove(self, names: set[str]) -> None:
        # nginx knows them no more, and they finish their requests.
        assert self.maps == self.new.files["maps.conf"]
        assert not names & set(self.new.processes)
        self.listening -= names
        for name in names:
            self.alive.pop(name, None)

    def start(self, names: set[str]) -> None:
        assert self.files is self.new.files
        assert not names & set(self.alive)
        self.alive |= dict.fromkeys(names, self.new)

    def restart_postgres(self, _names: set[str]) -> None:
        assert not self.alive, "all of them would lose their connections"
        self.running = self.new

    def reload(self, _names: set[str]) -> None:
        # It sends requests to sockets that are there.
        assert self.listening >= set(self.new.processes)
        self.maps = self.files["maps.conf"]

    def restart(self, names: set[str]) -> None:
        assert names == {"control"}

    def check(self) -> None:
        seen = [self.view(name).shared for name in self.alive]
        for option in SHARED:
            lists = {shared[option] for shared in seen if option in shared}
            assert len(lists) <= 1, f"two lists alive at once: {option}"
        for job in JOBS:
            assert sum(job in shared for shared in seen) <= 1, f"two hold one job: {job}"
        # One that has the next layout's files at its next start may have its pool as well.
        pools = [
            max(
                each.plan.budget.pools[name].most
                for each in (layout, self.new)
                if name in each.processes
            )
            for name, layout in self.alive.items()
        ]
        assert sum(pools) <= max_connections(self.running.files[CONF]) - RESERVED


ACTIONS: dict[Action, Callable[[Rehearsal, set[str]], None]] = {
    Action.STOP: Rehearsal.stop,
    Action.FILES: Rehearsal.write,
    Action.REMOVE: Rehearsal.remove,
    Action.START: Rehearsal.start,
    Action.SERVER: Rehearsal.restart_postgres,
    Action.PROXY: Rehearsal.reload,
    Action.RESTART: Rehearsal.restart,
}


def carry_out(old: Layout, new: Layout) -> Changes:
    """Rehearse the steps, and compare the end with the new layout."""
    changes = between(old, new)
    rehearsal = Rehearsal(old, new)
    before = {name: rehearsal.view(name) for name in rehearsal.alive}
    touched: set[str] = set()
    for step in changes.steps:
        ACTIONS[step.action](rehearsal, set(step.names))
        touched |= set(step.names)
        rehearsal.check()
    assert rehearsal.files == new.files
    assert rehearsal.maps == new.files["maps.conf"]
    assert set(rehearsal.alive) == rehearsal.listening == set(new.processes)
    fresh = Views(new)
    after = {name: fresh.of(process) for name, process in new.processes.items()}
    assert {name: rehearsal.view(name) for name in rehearsal.alive} == after
    differing = {name for name in before.keys() & after.keys() if before[name] != after[name]}
    if any(step.action is Action.SERVER for step in changes.steps):
        assert set(changes.together) == before.keys() & after.keys()
    else:
        assert set(changes.together) == differing
        assert not touched & (before.keys() & after.keys() - differing)
    assert bool(changes.together) <= bool(changes.reasons)
    return changes


def random_layout(number: int) -> str:
    """Return a text of WORKERS that works."""
    choose = random.Random(number)
    while True:
        entries = [
            f"w{chr(97 + index)}="
            + "+".join(role.name for role in choose.sample(ROLES, choose.randint(1, 4)))
            + f":{choose.randint(1, 3)}"
            for index in range(choose.randint(0, 5))
        ]
        text = ", ".join(entries) or "none"
        try:
            made(text)
        except ConfigError:
            continue
        return text


@pytest.mark.parametrize(("old", "new"), list(permutations(PRESETS, 2)), ids=str)
def test_from_every_preset_to_every_other(old: str, new: str) -> None:
    carry_out(made(old), made(new))


@pytest.mark.parametrize("number", range(60))
def test_between_random_layouts(number: int) -> None:
    one, other = random_layout(number), random_layout(number + 1)
    carry_out(made(one), made(other))
    carry_out(made(other), made(one))


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name])
def test_in_every_variant(variant: str) -> None:
    for old, new in permutations(("small", "small, pusher:2", "medium"), 2):
        carry_out(made(old, variant), made(new, variant))


def test_a_reader_more_touches_nothing_else() -> None:
    changes = carry_out(made("synchrotron:2"), made("synchrotron:3"))
    assert (changes.added, changes.removed, changes.together) == (("synchrotron3",), (), ())
    assert [step.action for step in changes.steps] == [Action.FILES, Action.START, Action.PROXY]


def test_a_reader_less_is_removed_once_nginx_sends_it_nothing() -> None:
    changes = carry_out(made("synchrotron:3"), made("synchrotron:2"))
    assert (changes.removed, changes.together) == (("synchrotron3",), ())
    assert [step.action for step in changes.steps] == [Action.FILES, Action.PROXY, Action.REMOVE]


@pytest.mark.parametrize(
    ("old", "new", "together", "reason"),
    [
        (
            "event_creator, event_persister:2, synchrotron",
            "event_creator, event_persister:3, synchrotron",
            ("main", "event_creator1", "event_persister1", "event_persister2", "synchrotron1"),
            "the list of event persisters",
        ),
        ("pusher:1, synchrotron", "pusher:2, synchrotron", ("pusher1",), "the list of pushers"),
        (
            "federation_sender:2, synchrotron",
            "federation_sender:3, synchrotron",
            ("main", "federation_sender1", "federation_sender2"),
            "the list of federation senders",
        ),
        (
            "synchrotron",
            "synchrotron, background_worker",
            ("main",),
            "background tasks, the job of one process",
        ),
        (
            "receipts:1, synchrotron",
            "receipts:2, synchrotron",
            ("main", "receipts1", "synchrotron1"),
            "the writers of receipts",
        ),
    ],
)
def test_those_that_read_a_list_stop_together(
    old: str, new: str, together: tuple[str, ...], reason: str
) -> None:
    changes = carry_out(made(old), made(new))
    assert set(changes.together) == set(together)
    assert reason in changes.reasons


def test_writers_of_events_stop_last() -> None:
    """The requests of the others end with an event that they write."""
    changes = between(made("event_creator, event_persister"), made("event_creator"))
    stops = [step.names for step in changes.steps if step.action is Action.STOP]
    assert stops == [("event_creator1",), ("main",)]
    changes = between(
        made("event_creator, event_persister, typing"),
        made("event_creator, event_persister:2, typing"),
    )
    stops = [step.names for step in changes.steps if step.action is Action.STOP]
    assert stops == [("event_creator1",), ("main",), ("typing1",), ("event_persister1",)]


def test_a_job_passes_from_one_process_to_another_without_two_at_once() -> None:
    changes = carry_out(made("one=user_dir"), made("other=user_dir"))
    actions = [step.action for step in changes.steps]
    assert actions.index(Action.REMOVE) < actions.index(Action.START)


def test_the_same_layout_needs_no_step() -> None:
    assert between(made("small"), made("small")).nothing
    assert list(words.lines(made("small"), made("small"), between(made("small"), made("small"))))


def test_postgresql_restarts_only_while_nothing_is_connected() -> None:
    changes = carry_out(made("none"), made("full"))
    assert Action.SERVER in [step.action for step in changes.steps]
    assert changes.reasons[-1].startswith("PostgreSQL, which restarts")


def test_the_words_name_everything() -> None:
    old, new = made("event_persister:2, synchrotron:2"), made("event_persister:3, synchrotron")
    changes = carry_out(old, new)
    text = "\n".join(words.lines(old, new, changes))
    for name in (*changes.added, *changes.removed, *changes.together, *changes.reasons):
        assert name in text
    shown = json.loads(json.dumps(words.as_json(old, new, changes)))
    assert [item["do"] for item in shown["steps"]] == [s.action.value for s in changes.steps]
    assert shown["interruptions"]["synchrotron"].startswith("wait about ")
    assert 0.0 < shown["interruption_seconds"] < 3.0
    assert shown["after"]["connections"] == new.plan.budget.connections


def test_only_long_polls_of_a_removed_reader_end() -> None:
    old, new = made("synchrotron:3, client_reader"), made("synchrotron:2, client_reader")
    found = words.interruptions(old, new, between(old, new))
    assert found["client_reader"] == words.NONE
    assert found["synchrotron"].endswith("long polls of removed processes end early and empty")


def test_readers_that_are_replaced_never_need_more_connections_than_there_are() -> None:
    """Both kinds together would: then those that go end before the others start."""
    old, new = made("synchrotron:30"), made("client_reader:30")
    changes = carry_out(old, new)
    actions = [step.action for step in changes.steps]
    assert actions.index(Action.REMOVE) < actions.index(Action.START)
    assert Action.SERVER not in actions
    few = carry_out(made("synchrotron:2"), made("client_reader:2"))
    actions = [step.action for step in few.steps]
    assert actions.index(Action.START) < actions.index(Action.REMOVE)
