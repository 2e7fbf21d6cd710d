"""Invalid texts of WORKERS, each with the whole text of its problems."""

import pytest

from ganglion.topology.roles import BY_NAME
from ganglion.topology.workers_syntax import Entry, parse_workers
from tests.plans import said

ROLES = ", ".join(BY_NAME)


def problems(text: str) -> list[str]:
    return [str(problem) for problem in parse_workers(text).problems]


NAME_HINT = (
    "use letters, digits, _ and -, starting with a letter and not ending with a digit, at most 63"
    " characters"
)


def bad_name(entry: str, name: str) -> str:
    return said(f"WORKERS={entry!r}", f"invalid name {name!r}", NAME_HINT)


def bad_count(entry: str, count: str) -> str:
    return said(
        f"WORKERS={entry!r}",
        f"invalid number of workers {count!r}",
        "write a whole number from 0 to 100 after the colon, or a range such as 2-8",
    )


@pytest.mark.parametrize("role", ROLES.split(", "))
def test_only_roles_that_only_read_can_have_a_range(role: str) -> None:
    # Written down once more, so that a new role is decided on.
    readers = {
        *("synchrotron", "initial_synchrotron", "client_reader", "event_creator", "login"),
        *("federation_reader", "federation_inbound", "room_reader", "frontend_proxy"),
    }
    limit = BY_NAME[role].limit
    expected = said(
        f"WORKERS='{role}:2-8'",
        f"is a range, and the number of workers with {role} is fixed: the other processes know each"
        " of them",
        f"write one number: {role}:{limit or 2}",
    )
    assert problems(f"{role}:2-8") == ([] if role in readers else [expected])


def test_an_entry_that_also_writes_cannot_have_a_range() -> None:
    assert problems("mix=synchrotron+pusher+typing:2-4") == [
        said(
            "WORKERS='mix=synchrotron+pusher+typing:2-4'",
            "is a range, and the number of workers with pusher, typing is fixed: the other"
            " processes know each of them",
            "write one number: mix=synchrotron+pusher+typing:1; or give pusher, typing to another"
            " entry",
        )
    ]
    assert problems("s=stream_writers:1-2")


@pytest.mark.parametrize(
    ("text", "message", "fix"),
    [
        (
            "synchrotron:8-2",
            "has the range 8-2, which ends below its start",
            "write synchrotron:2-8",
        ),
        (
            "synchrotron:0-4",
            "has the range 0-4: a pool needs a worker that always runs",
            "write synchrotron:1-4, or synchrotron:0 for no worker",
        ),
    ],
)
def test_ranges_that_make_no_sense(text: str, message: str, fix: str) -> None:
    assert problems(text) == [said(f"WORKERS={text!r}", message, fix)]


@pytest.mark.parametrize("count", ["2-101", "2-", "-8", "2-8-9", "2..8", "2-x"])
def test_ranges_that_are_none(count: str) -> None:
    assert problems(f"synchrotron:{count}") == [bad_count(f"synchrotron:{count}", count)]


EMPTY = said("WORKERS=''", "has an empty entry", "remove the extra comma")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "sychrotron",
            [
                said(
                    "WORKERS='sychrotron'",
                    "unknown role 'sychrotron'",
                    "did you mean 'synchrotron'?",
                )
            ],
            id="misspelled role",
        ),
        pytest.param(
            "Pusher",
            [said("WORKERS='Pusher'", "unknown role 'Pusher'", "did you mean 'pusher'?")],
            id="capital",
        ),
        pytest.param(
            "meduim",
            [said("WORKERS='meduim'", "unknown role 'meduim'", "did you mean 'medium'?")],
            id="misspelled preset",
        ),
        pytest.param(
            "synapse.app.pushr",
            [
                said(
                    "WORKERS='synapse.app.pushr'",
                    "unknown role 'synapse.app.pushr'",
                    "did you mean 'synapse.app.pusher'?",
                )
            ],
            id="misspelled application",
        ),
        pytest.param(
            "xyzzy",
            [said("WORKERS='xyzzy'", "unknown role 'xyzzy'", f"the roles are {ROLES}")],
            id="unlike every role",
        ),
        pytest.param("pusher:two", [bad_count("pusher:two", "two")], id="count that is a word"),
        pytest.param("pusher:-1", [bad_count("pusher:-1", "-1")], id="negative"),
        pytest.param("pusher:+1", [bad_count("pusher:+1", "+1")], id="signed"),
        pytest.param("pusher:1.5", [bad_count("pusher:1.5", "1.5")], id="fraction"),
        pytest.param("pusher:", [bad_count("pusher:", "")], id="no count"),
        pytest.param("pusher*", [bad_count("pusher*", "")], id="no count after a star"),
        pytest.param("pusher:101", [bad_count("pusher:101", "101")], id="too many copies"),
        pytest.param("pusher:99999999", [bad_count("pusher:99999999", "99999999")], id="millions"),
        pytest.param("pusher:٣", [bad_count("pusher:٣", "٣")], id="digit of another script"),
        pytest.param("pusher:1:2", [bad_count("pusher:1:2", "1:2")], id="two counts"),
        pytest.param("pusher*2:3", [bad_count("pusher*2:3", "2:3")], id="two kinds of counts"),
        pytest.param("pusher,,typing", [EMPTY], id="empty entry"),
        pytest.param("pusher,", [EMPTY], id="comma at the end"),
        pytest.param(",pusher", [EMPTY], id="comma at the start"),
        pytest.param("pusher\n,typing", [EMPTY], id="comma after a line break"),
        pytest.param("pusher,,\ntyping", [EMPTY], id="two commas before a line break"),
        pytest.param(",", [EMPTY, EMPTY], id="comma alone"),
        pytest.param(
            "pusher, pusher:2",
            [
                said(
                    "WORKERS='pusher:2'",
                    "is listed twice",
                    "write it once, with the number of workers: pusher:3",
                )
            ],
            id="role twice",
        ),
        pytest.param(
            "pusher, pusher*2",
            [
                said(
                    "WORKERS='pusher*2'",
                    "is listed twice",
                    "write it once, with the number of workers: pusher:3",
                )
            ],
            id="role twice with a star",
        ),
        pytest.param(
            "receipts+pusher, pusher+receipts",
            [
                said(
                    "WORKERS='pusher+receipts'",
                    "is listed twice",
                    "write it once, with the number of workers: pusher+receipts:2",
                )
            ],
            id="roles twice in another order",
        ),
        pytest.param(
            "a=pusher, a=pusher",
            [
                said(
                    "WORKERS='a=pusher'",
                    "is listed twice",
                    "write it once, with the number of workers: a=pusher:2",
                )
            ],
            id="name twice",
        ),
        pytest.param(
            "a=pusher, a=typing",
            [
                said(
                    "WORKERS='a=typing'",
                    "name 'a' is already used for pusher",
                    "give it another name: NAME=typing",
                )
            ],
            id="clashing names",
        ),
        pytest.param(
            "typing=pusher, typing",
            [
                said(
                    "WORKERS='typing'",
                    "name 'typing' is already used for pusher",
                    "give it another name: NAME=typing",
                )
            ],
            id="name of another role",
        ),
        pytest.param(
            "typing+pusher+typing",
            [
                said(
                    "WORKERS='typing+pusher+typing'",
                    "lists the role typing twice",
                    "list typing once",
                )
            ],
            id="role twice in one worker",
        ),
        pytest.param(
            "w=stream_writers+typing",
            [
                said(
                    "WORKERS='w=stream_writers+typing'",
                    "lists the role typing twice",
                    "list typing once",
                )
            ],
            id="role twice through a shorthand",
        ),
        pytest.param(
            "pusher+synapse.app.pusher",
            [
                said(
                    "WORKERS='pusher+synapse.app.pusher'",
                    "lists the role pusher twice",
                    "list pusher once",
                )
            ],
            id="role twice through an application",
        ),
        pytest.param(
            "small, medium",
            [said("WORKERS='medium'", "is a second preset besides small", "use only one preset")],
            id="two presets",
        ),
        pytest.param(
            "small, small",
            [said("WORKERS='small'", "is a second preset besides small", "use only one preset")],
            id="preset twice",
        ),
        pytest.param(
            "small:2",
            [
                said(
                    "WORKERS='small:2'",
                    "the preset small cannot be part of an entry",
                    "write small as a separate entry",
                )
            ],
            id="preset with a count",
        ),
        pytest.param(
            "a=full",
            [
                said(
                    "WORKERS='a=full'",
                    "the preset full cannot be part of an entry",
                    "write full as a separate entry",
                )
            ],
            id="named preset",
        ),
        pytest.param(
            "typing+small",
            [
                said(
                    "WORKERS='typing+small'",
                    "the preset small cannot be part of an entry",
                    "write small as a separate entry",
                )
            ],
            id="preset among roles",
        ),
        pytest.param(
            "a=",
            [said("WORKERS='a='", "has no role", "write NAME=role, role+role or role:COUNT")],
            id="no role",
        ),
        pytest.param(
            "typing+",
            [said("WORKERS='typing+'", "has no role", "write NAME=role, role+role or role:COUNT")],
            id="plus without a role",
        ),
        pytest.param(
            "a=b=typing",
            [said("WORKERS='a=b=typing'", "has more than one =", "write NAME=role+role")],
            id="two names",
        ),
        pytest.param("=typing", [bad_name("=typing", "")], id="empty name"),
        pytest.param("a1=typing", [bad_name("a1=typing", "a1")], id="name with a digit at its end"),
        pytest.param(
            "1a=typing", [bad_name("1a=typing", "1a")], id="name that starts with a digit"
        ),
        pytest.param(
            "-a=typing", [bad_name("-a=typing", "-a")], id="name that looks like an option"
        ),
        pytest.param("a/b=typing", [bad_name("a/b=typing", "a/b")], id="slash"),
        pytest.param("../a=typing", [bad_name("../a=typing", "../a")], id="directory above"),
        pytest.param("a.b=typing", [bad_name("a.b=typing", "a.b")], id="dot"),
        pytest.param("a;b=typing", [bad_name("a;b=typing", "a;b")], id="semicolon"),
        pytest.param("a{b=typing", [bad_name("a{b=typing", "a{b")], id="brace"),
        pytest.param("a$b=typing", [bad_name("a$b=typing", "a$b")], id="dollar"),
        pytest.param("a%b=typing", [bad_name("a%b=typing", "a%b")], id="percent"),
        pytest.param("a]b=typing", [bad_name("a]b=typing", "a]b")], id="bracket"),
        pytest.param("a\x00b=typing", [bad_name("a\x00b=typing", "a\x00b")], id="zero"),
        pytest.param("ä=typing", [bad_name("ä=typing", "ä")], id="letter outside ASCII"),
        pytest.param(
            f"{'n' * 64}=typing", [bad_name(f"{'n' * 64}=typing", "n" * 64)], id="long name"
        ),
        pytest.param(
            "stream_writers+pusher",
            [
                said(
                    "WORKERS='stream_writers+pusher'",
                    "is too long as a name",
                    "give it a name: NAME=stream_writers+pusher",
                )
            ],
            id="long name made of roles",
        ),
    ],
)
def test_problems(text: str, expected: list[str]) -> None:
    assert problems(text) == expected


def test_all_problems_are_reported_in_order() -> None:
    assert problems("pushr:x, , 1=typing+typing, small, medium, typing:1") == [
        bad_count("pushr:x", "x"),
        said("WORKERS='pushr:x'", "unknown role 'pushr'", "did you mean 'pusher'?"),
        EMPTY,
        said("WORKERS='1=typing+typing'", "lists the role typing twice", "list typing once"),
        bad_name("1=typing+typing", "1"),
        said("WORKERS='medium'", "is a second preset besides small", "use only one preset"),
    ]


def test_entries_without_a_problem_are_returned() -> None:
    assert parse_workers("pushr, typing:2").entries == (
        Entry(name="typing", roles=("typing",), count=2),
    )


def test_problems_name_the_variable_that_was_set() -> None:
    found = parse_workers("pushr", variable="SYNAPSE_WORKER_TYPES").problems
    assert [problem.variable for problem in found] == ["SYNAPSE_WORKER_TYPES"]
