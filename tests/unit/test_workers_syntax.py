"""Valid texts of WORKERS. The invalid ones are in test_workers_syntax_problems.py."""

import pytest

from ganglion.topology.roles import LEGACY_APPS, PRESETS, SHORTHANDS
from ganglion.topology.workers_syntax import Entry, parse_workers


def entries(text: str, *, repeats_add_up: bool = False) -> list[tuple[str, str, int]]:
    """Return the entries of a text without problems, each as name, roles and count."""
    parsed = parse_workers(text, repeats_add_up=repeats_add_up)
    assert [str(problem) for problem in parsed.problems] == []
    return [(entry.name, "+".join(entry.roles), entry.count) for entry in parsed.entries]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("synchrotron:2-8", ("synchrotron", 2, 8)),
        ("synchrotron*2-8", ("synchrotron", 2, 8)),
        ("sync = synchrotron + initial_synchrotron : 1 - 100", ("sync", 1, 100)),
        # No range: nothing could change the number.
        ("client_reader:3-3", ("client_reader", 3, None)),
        ("small, sync=synchrotron:2-4", ("sync", 2, 4)),
    ],
)
def test_readers_can_have_a_range(text: str, expected: tuple[str, int, int | None]) -> None:
    parsed = parse_workers(text)
    assert parsed.problems == ()
    found = {entry.name: (entry.name, entry.count, entry.most) for entry in parsed.entries}
    assert found[expected[0]] == expected


def test_ranges_that_are_written_twice_add_up_as_numbers_do() -> None:
    (found,) = parse_workers("login, login:2-4", repeats_add_up=True).entries
    assert (found.count, found.most) == (3, 5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("pusher", [("pusher", "pusher", 1)], id="role"),
        pytest.param("pusher:3", [("pusher", "pusher", 3)], id="count"),
        pytest.param("pusher*3", [("pusher", "pusher", 3)], id="count with a star"),
        pytest.param("pusher:100", [("pusher", "pusher", 100)], id="most copies"),
        pytest.param("pusher:007", [("pusher", "pusher", 7)], id="count with zeros in front"),
        pytest.param("pusher:0", [], id="removed"),
        pytest.param("pusher*0", [], id="removed with a star"),
        pytest.param("typing+to_device", [("to_device+typing", "typing+to_device", 1)], id="two"),
        pytest.param(
            "a=typing+to_device+presence:1", [("a", "typing+to_device+presence", 1)], id="named"
        ),
        pytest.param("a=pusher*2", [("a", "pusher", 2)], id="named with a star"),
        pytest.param("Big-Sender_x+y=pusher", [("Big-Sender_x+y", "pusher", 1)], id="odd name"),
        pytest.param(f"{'n' * 63}=pusher", [("n" * 63, "pusher", 1)], id="longest name"),
        pytest.param(
            "pusher,typing", [("pusher", "pusher", 1), ("typing", "typing", 1)], id="list"
        ),
        pytest.param(
            "pusher\ntyping\r\npresence",
            [("pusher", "pusher", 1), ("typing", "typing", 1), ("presence", "presence", 1)],
            id="lines",
        ),
        pytest.param(
            "pusher,\n typing ,\n\n\npresence",
            [("pusher", "pusher", 1), ("typing", "typing", 1), ("presence", "presence", 1)],
            id="commas before line breaks, and empty lines",
        ),
        pytest.param(
            " \t pus her : 2 , a = typing + to_device * 1 ",
            [("pusher", "pusher", 2), ("a", "typing+to_device", 1)],
            id="spaces anywhere",
        ),
        pytest.param("", [], id="empty"),
        pytest.param(" \n\t\n", [], id="only white space"),
        pytest.param("none", [], id="empty preset"),
        pytest.param("none, pusher", [("pusher", "pusher", 1)], id="empty preset and an entry"),
        pytest.param(
            "stream_writers",
            [("stream_writers", "+".join(SHORTHANDS["stream_writers"]), 1)],
            id="shorthand",
        ),
        pytest.param(
            "w=stream_writers+pusher",
            [("w", "+".join((*SHORTHANDS["stream_writers"], "pusher")), 1)],
            id="shorthand beside a role",
        ),
        pytest.param(
            "a=pusher, b=pusher", [("a", "pusher", 1), ("b", "pusher", 1)], id="two groups"
        ),
    ],
)
def test_entries(text: str, expected: list[tuple[str, str, int]]) -> None:
    assert entries(text) == expected


def test_an_entry_replaces_the_presets_entry_of_the_same_name() -> None:
    before = entries("medium")
    after = entries("medium, event_creator : 3, pusher")
    assert ("event_creator", "event_creator", 1) in before
    assert after == [
        ("event_creator", "event_creator", 3) if entry[0] == "event_creator" else entry
        for entry in before
    ] + [("pusher", "pusher", 1)]


def test_an_entry_can_precede_the_preset() -> None:
    assert entries("event_creator:3, medium") == entries("medium, event_creator:3")


def test_an_entry_that_replaces_another_can_have_other_roles() -> None:
    assert ("sync", "synchrotron", 2) in entries("small, sync=synchrotron:2")
    assert "sync" not in {name for name, _, _ in entries("small, sync=synchrotron:0")}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_means_the_same_as_its_text(preset: str) -> None:
    assert entries(preset) == entries(PRESETS[preset])


@pytest.mark.parametrize(("app", "role"), LEGACY_APPS.items())
def test_deprecated_applications(app: str, role: str) -> None:
    parsed = parse_workers(f"{app}:2")
    assert parsed.entries == (Entry(name=role, roles=(role,), count=2),)
    (note,) = parsed.notes
    assert note == (
        f"{app} is a deprecated Synapse application; the worker gets the role {role} and runs"
        " synapse.app.generic_worker"
    )


def test_all_deprecated_applications_of_synapse_are_accepted() -> None:
    names = "pusher appservice federation_sender media_repository user_dir client_reader"
    names += " event_creator federation_reader frontend_proxy synchrotron"
    assert sorted(LEGACY_APPS) == sorted(f"synapse.app.{name}" for name in names.split())


def test_a_note_is_not_repeated() -> None:
    assert len(parse_workers("a=synapse.app.pusher, b=synapse.app.pusher").notes) == 1


def test_repeated_entries_add_up_in_synapse_worker_types() -> None:
    text = "event_persister, pusher:2, event_persister, typing+to_device, pusher"
    assert entries(text, repeats_add_up=True) == [
        ("event_persister", "event_persister", 2),
        ("pusher", "pusher", 3),
        ("to_device+typing", "typing+to_device", 1),
    ]


def test_repeated_entries_may_list_their_roles_in_any_order() -> None:
    assert entries("receipts+presence, presence+receipts", repeats_add_up=True) == [
        ("presence+receipts", "receipts+presence", 2)
    ]
