"""WORKERS: text → entries."""

import pytest

from ganglion.topology.roles import BY_NAME, LEGACY_APPS, PRESETS, SHORTHANDS
from ganglion.topology.workers_syntax import Entry, parse_workers
from tests.plans import said

ROLES = ", ".join(BY_NAME)


def entries(text: str, *, repeats_add_up: bool = False) -> list[tuple[str, str, int]]:
    """The entries of a text without problems, each as name, roles and count."""
    parsed = parse_workers(text, repeats_add_up=repeats_add_up)
    assert [str(problem) for problem in parsed.problems] == []
    return [(entry.name, "+".join(entry.roles), entry.count) for entry in parsed.entries]


def problems(text: str) -> list[str]:
    return [str(problem) for problem in parse_workers(text).problems]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("pusher", [("pusher", "pusher", 1)], id="role"),
        pytest.param("pusher:3", [("pusher", "pusher", 3)], id="count"),
        pytest.param("pusher*3", [("pusher", "pusher", 3)], id="count with a star"),
        pytest.param("pusher:100", [("pusher", "pusher", 100)], id="most copies"),
        pytest.param("pusher:007", [("pusher", "pusher", 7)], id="count with zeros in front"),
        pytest.param("pusher:0", [], id="dropped"),
        pytest.param("pusher*0", [], id="dropped with a star"),
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
        pytest.param("", [], id="nothing"),
        pytest.param(" \n\t\n", [], id="nothing but white space"),
        pytest.param("none", [], id="preset of nothing"),
        pytest.param("none, pusher", [("pusher", "pusher", 1)], id="nothing and an entry"),
        pytest.param(
            "stream_writers",
            [("stream_writers", "+".join(SHORTHANDS["stream_writers"]), 1)],
            id="short",
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
def test_forms(text: str, expected: list[tuple[str, str, int]]) -> None:
    assert entries(text) == expected


def test_an_entry_takes_the_place_of_a_presets_entry_of_its_name() -> None:
    before = entries("medium")
    after = entries("medium, event_creator : 3, pusher")
    assert ("event_creator", "event_creator", 1) in before
    assert after == [
        ("event_creator", "event_creator", 3) if entry[0] == "event_creator" else entry
        for entry in before
    ] + [("pusher", "pusher", 1)]


def test_an_entry_comes_before_its_preset_as_well_as_after() -> None:
    assert entries("event_creator:3, medium") == entries("medium, event_creator:3")


def test_an_entry_may_give_a_presets_name_to_other_roles() -> None:
    assert ("sync", "synchrotron", 2) in entries("small, sync=synchrotron:2")
    assert "sync" not in {name for name, _, _ in entries("small, sync=synchrotron:0")}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_the_text_it_stands_for(preset: str) -> None:
    assert entries(preset) == entries(PRESETS[preset])


@pytest.mark.parametrize(("app", "role"), LEGACY_APPS.items())
def test_former_applications(app: str, role: str) -> None:
    parsed = parse_workers(f"{app}:2")
    assert parsed.entries == (Entry(name=role, roles=(role,), count=2),)
    (note,) = parsed.notes
    assert note == (
        f"{app} is the name of a former Synapse application: it means the role {role}, and runs as "
        "synapse.app.generic_worker"
    )


def test_the_former_applications_are_those_that_synapse_had() -> None:
    names = "pusher appservice federation_sender media_repository user_dir client_reader"
    names += " event_creator federation_reader frontend_proxy synchrotron"
    assert sorted(LEGACY_APPS) == sorted(f"synapse.app.{name}" for name in names.split())


def test_a_note_is_given_once() -> None:
    assert len(parse_workers("a=synapse.app.pusher, b=synapse.app.pusher").notes) == 1


def test_in_synapses_own_variable_repeats_add_up() -> None:
    text = "event_persister, pusher:2, event_persister, typing+to_device, pusher"
    assert entries(text, repeats_add_up=True) == [
        ("event_persister", "event_persister", 2),
        ("pusher", "pusher", 3),
        ("to_device+typing", "typing+to_device", 1),
    ]


def test_in_synapses_own_variable_the_order_of_roles_says_nothing() -> None:
    assert entries("receipts+presence, presence+receipts", repeats_add_up=True) == [
        ("presence+receipts", "receipts+presence", 2)
    ]


NAMED_BADLY = (
    "use letters, digits, _ and -, starting with a letter and not ending with a digit, at most 63"
    " characters"
)


def named_badly(entry: str, name: str) -> str:
    return said(
        f"WORKERS={entry!r}",
        f"has a name, {name!r}, that cannot be a file name, a process name and part of an nginx"
        " configuration",
        NAMED_BADLY,
    )


def miscounted(entry: str, count: str) -> str:
    return said(
        f"WORKERS={entry!r}",
        f"has {count!r} for a number of workers",
        "write a whole number from 0 to 100 behind the colon",
    )


EMPTY = said("WORKERS=''", "has an entry with nothing in it", "take out the extra comma")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "sychrotron",
            [
                said(
                    "WORKERS='sychrotron'",
                    "has 'sychrotron', which is no role",
                    "did you mean synchrotron?",
                )
            ],
            id="misspelt role",
        ),
        pytest.param(
            "Pusher",
            [said("WORKERS='Pusher'", "has 'Pusher', which is no role", "did you mean pusher?")],
            id="capital",
        ),
        pytest.param(
            "meduim",
            [said("WORKERS='meduim'", "has 'meduim', which is no role", "did you mean medium?")],
            id="misspelt preset",
        ),
        pytest.param(
            "synapse.app.pushr",
            [
                said(
                    "WORKERS='synapse.app.pushr'",
                    "has 'synapse.app.pushr', which is no role",
                    "did you mean synapse.app.pusher?",
                )
            ],
            id="misspelt application",
        ),
        pytest.param(
            "xyzzy",
            [said("WORKERS='xyzzy'", "has 'xyzzy', which is no role", f"the roles are {ROLES}")],
            id="no role at all",
        ),
        pytest.param("pusher:two", [miscounted("pusher:two", "two")], id="word for a count"),
        pytest.param("pusher:-1", [miscounted("pusher:-1", "-1")], id="negative"),
        pytest.param("pusher:+1", [miscounted("pusher:+1", "+1")], id="signed"),
        pytest.param("pusher:1.5", [miscounted("pusher:1.5", "1.5")], id="fraction"),
        pytest.param("pusher:", [miscounted("pusher:", "")], id="no count"),
        pytest.param("pusher*", [miscounted("pusher*", "")], id="no count behind a star"),
        pytest.param("pusher:101", [miscounted("pusher:101", "101")], id="too many copies"),
        pytest.param("pusher:99999999", [miscounted("pusher:99999999", "99999999")], id="millions"),
        pytest.param("pusher:٣", [miscounted("pusher:٣", "٣")], id="digit of another script"),
        pytest.param("pusher:1:2", [miscounted("pusher:1:2", "1:2")], id="two counts"),
        pytest.param("pusher*2:3", [miscounted("pusher*2:3", "2:3")], id="two kinds of counts"),
        pytest.param("pusher,,typing", [EMPTY], id="empty entry"),
        pytest.param("pusher,", [EMPTY], id="comma at the end"),
        pytest.param(",pusher", [EMPTY], id="comma at the start"),
        pytest.param("pusher\n,typing", [EMPTY], id="comma behind a line break"),
        pytest.param("pusher,,\ntyping", [EMPTY], id="two commas before a line break"),
        pytest.param(",", [EMPTY, EMPTY], id="comma alone"),
        pytest.param(
            "pusher, pusher:2",
            [
                said(
                    "WORKERS='pusher:2'",
                    "is there twice",
                    "write it once with the number of workers: pusher:3",
                )
            ],
            id="role twice",
        ),
        pytest.param(
            "pusher, pusher*2",
            [
                said(
                    "WORKERS='pusher*2'",
                    "is there twice",
                    "write it once with the number of workers: pusher:3",
                )
            ],
            id="role twice with a star",
        ),
        pytest.param(
            "receipts+pusher, pusher+receipts",
            [
                said(
                    "WORKERS='pusher+receipts'",
                    "is there twice",
                    "write it once with the number of workers: pusher+receipts:2",
                )
            ],
            id="roles twice in another order",
        ),
        pytest.param(
            "a=pusher, a=pusher",
            [
                said(
                    "WORKERS='a=pusher'",
                    "is there twice",
                    "write it once with the number of workers: a=pusher:2",
                )
            ],
            id="name twice",
        ),
        pytest.param(
            "a=pusher, a=typing",
            [
                said(
                    "WORKERS='a=typing'",
                    "has the name a of other workers, pusher",
                    "give it a name of its own: NAME=typing",
                )
            ],
            id="clashing names",
        ),
        pytest.param(
            "typing=pusher, typing",
            [
                said(
                    "WORKERS='typing'",
                    "has the name typing of other workers, pusher",
                    "give it a name of its own: NAME=typing",
                )
            ],
            id="name of another role",
        ),
        pytest.param(
            "typing+pusher+typing",
            [
                said(
                    "WORKERS='typing+pusher+typing'",
                    "names the role typing twice",
                    "name typing once",
                )
            ],
            id="role twice in one worker",
        ),
        pytest.param(
            "w=stream_writers+typing",
            [
                said(
                    "WORKERS='w=stream_writers+typing'",
                    "names the role typing twice",
                    "name typing once",
                )
            ],
            id="role twice through a shorthand",
        ),
        pytest.param(
            "pusher+synapse.app.pusher",
            [
                said(
                    "WORKERS='pusher+synapse.app.pusher'",
                    "names the role pusher twice",
                    "name pusher once",
                )
            ],
            id="role twice through an application",
        ),
        pytest.param(
            "small, medium",
            [said("WORKERS='medium'", "is a second preset beside small", "name one preset only")],
            id="two presets",
        ),
        pytest.param(
            "small, small",
            [said("WORKERS='small'", "is a second preset beside small", "name one preset only")],
            id="preset twice",
        ),
        pytest.param(
            "small:2",
            [
                said(
                    "WORKERS='small:2'",
                    "has the preset small inside an entry",
                    "write small as an entry by itself",
                )
            ],
            id="preset with a count",
        ),
        pytest.param(
            "a=full",
            [
                said(
                    "WORKERS='a=full'",
                    "has the preset full inside an entry",
                    "write full as an entry by itself",
                )
            ],
            id="named preset",
        ),
        pytest.param(
            "typing+small",
            [
                said(
                    "WORKERS='typing+small'",
                    "has the preset small inside an entry",
                    "write small as an entry by itself",
                )
            ],
            id="preset among roles",
        ),
        pytest.param(
            "a=",
            [said("WORKERS='a='", "lacks a role", "write NAME=role, role+role or role:COUNT")],
            id="no role",
        ),
        pytest.param(
            "typing+",
            [said("WORKERS='typing+'", "lacks a role", "write NAME=role, role+role or role:COUNT")],
            id="plus",
        ),
        pytest.param(
            "a=b=typing",
            [said("WORKERS='a=b=typing'", "has more than one =", "write NAME=role+role")],
            id="two names",
        ),
        pytest.param("=typing", [named_badly("=typing", "")], id="empty name"),
        pytest.param(
            "a1=typing", [named_badly("a1=typing", "a1")], id="name with a digit at its end"
        ),
        pytest.param(
            "1a=typing", [named_badly("1a=typing", "1a")], id="name that starts with a digit"
        ),
        pytest.param(
            "-a=typing", [named_badly("-a=typing", "-a")], id="name that looks like an option"
        ),
        pytest.param("a/b=typing", [named_badly("a/b=typing", "a/b")], id="slash"),
        pytest.param("../a=typing", [named_badly("../a=typing", "../a")], id="directory above"),
        pytest.param("a.b=typing", [named_badly("a.b=typing", "a.b")], id="dot"),
        pytest.param("a;b=typing", [named_badly("a;b=typing", "a;b")], id="semicolon"),
        pytest.param("a{b=typing", [named_badly("a{b=typing", "a{b")], id="brace"),
        pytest.param("a$b=typing", [named_badly("a$b=typing", "a$b")], id="dollar"),
        pytest.param("a%b=typing", [named_badly("a%b=typing", "a%b")], id="percent"),
        pytest.param("a]b=typing", [named_badly("a]b=typing", "a]b")], id="bracket"),
        pytest.param("a\x00b=typing", [named_badly("a\x00b=typing", "a\x00b")], id="zero"),
        pytest.param("ä=typing", [named_badly("ä=typing", "ä")], id="letter outside ASCII"),
        pytest.param(
            f"{'n' * 64}=typing", [named_badly(f"{'n' * 64}=typing", "n" * 64)], id="long name"
        ),
        pytest.param(
            "stream_writers+pusher",
            [
                said(
                    "WORKERS='stream_writers+pusher'",
                    "makes a name that is too long",
                    "name it: NAME=stream_writers+pusher",
                )
            ],
            id="long name of its own",
        ),
    ],
)
def test_bad_input(text: str, expected: list[str]) -> None:
    assert problems(text) == expected


def test_all_problems_are_told_at_once_in_their_order() -> None:
    assert problems("pushr:x, , 1=typing+typing, small, medium, typing:1") == [
        miscounted("pushr:x", "x"),
        said("WORKERS='pushr:x'", "has 'pushr', which is no role", "did you mean pusher?"),
        EMPTY,
        said("WORKERS='1=typing+typing'", "names the role typing twice", "name typing once"),
        named_badly("1=typing+typing", "1"),
        said("WORKERS='medium'", "is a second preset beside small", "name one preset only"),
    ]


def test_what_could_be_read_beside_a_problem_is_there() -> None:
    assert parse_workers("pushr, typing:2").entries == (
        Entry(name="typing", roles=("typing",), count=2),
    )


def test_problems_name_the_variable_that_was_set() -> None:
    found = parse_workers("pushr", variable="SYNAPSE_WORKER_TYPES").problems
    assert [problem.variable for problem in found] == ["SYNAPSE_WORKER_TYPES"]
