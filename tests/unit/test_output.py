"""Tables and JSON of the command line."""

import re

from ganglion.cli.check import as_json, as_table
from ganglion.cli.output import columns
from tests.plans import topology_of

WORKERS = "event_persister, media=media_repository+pusher:2, old=synapse.app.user_dir"


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert columns(("A", "LONG", "C"), [("aaa", "b", ""), ("a", "b", "c")]) == (
        "A    LONG  C\naaa  b\na    b     c"
    )


def test_a_table_without_rows_is_its_titles() -> None:
    assert columns(("A", "B"), []) == "A  B"


def test_the_table_of_a_topology() -> None:
    lines = as_table(topology_of(WORKERS, SYNAPSE_USE_UNIX_SOCKET="no")).splitlines()
    streams = "quarantined_media_changes"
    rows = [
        ("PROCESS", "ROLES", "ADDRESS", "WRITES", "JOBS"),
        ("main", "-", "127.0.0.1:18000", "-", "-"),
        ("event_persister1", "event_persister", "127.0.0.1:18003", "events", "-"),
        *(
            (
                f"media{number}",
                "media_repository, pusher",
                f"127.0.0.1:{18003 + 3 * number}",
                streams,
                "pusher, media_repository",
            )
            for number in (1, 2)
        ),
        ("old1", "user_dir", "127.0.0.1:18012", "-", "user_dir"),
    ]
    assert [tuple(re.split(" {2,}", line)) for line in lines] == rows
    assert {
        line.index(cell) for line, row in zip(lines, rows, strict=True) for cell in row[2:3]
    } == {lines[0].index("ADDRESS")}


def test_the_json_of_a_topology() -> None:
    assert as_json(topology_of(WORKERS, SYNAPSE_USE_UNIX_SOCKET="no")) == {
        "processes": [
            {"name": "main", "roles": [], "address": "127.0.0.1:18000", "streams": [], "jobs": []},
            {
                "name": "event_persister1",
                "roles": ["event_persister"],
                "address": "127.0.0.1:18003",
                "streams": ["events"],
                "jobs": [],
            },
            *(
                {
                    "name": f"media{number}",
                    "roles": ["media_repository", "pusher"],
                    "address": f"127.0.0.1:{18003 + 3 * number}",
                    "streams": ["quarantined_media_changes"],
                    "jobs": ["pusher", "media_repository"],
                }
                for number in (1, 2)
            ),
            {
                "name": "old1",
                "roles": ["user_dir"],
                "address": "127.0.0.1:18012",
                "streams": [],
                "jobs": ["user_dir"],
            },
        ],
        "notes": list(topology_of(WORKERS).notes),
    }
