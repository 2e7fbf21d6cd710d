"""Judgements of Synapse's data. tests/live/test_doctor.py breaks a real database."""

import datetime as dt
from dataclasses import replace

from ganglion.doctor.content import Bloat, StateGroups, Table, Updates, gain
from ganglion.doctor.destinations import Destinations
from ganglion.doctor.finding import Level
from ganglion.doctor.indexes import Indexes
from ganglion.doctor.sequences import Found
from ganglion.programs.postgres.sequences import Sequence, State, forward
from tests.doctoring import NoDatabase, assert_quiet, finding, findings, judged, levels, place

GB = 1024**3


RECEIPTS = Sequence(name="receipts_sequence", stream="receipts")


def test_a_sequence_behind_its_stream() -> None:
    fine = State(sequence=RECEIPTS, value=9, position=9)
    assert_quiet(judged("sequences", Found(states=(fine,))))
    behind = State(sequence=RECEIPTS, value=3, position=9, used=4, where="receipts_linearized.x")
    (found,) = judged("sequences", Found(states=(fine, behind), repair="psql …"))
    assert found.level is Level.BAD
    assert found.message == "the sequence receipts_sequence is at 3, behind 9 in stream_positions"
    assert found.fix == ("psql …",)


def test_the_repair_of_sequences_only_moves_them_forward() -> None:
    database = NoDatabase(
        {
            "pg_table_is_visible(oid)": [("receipts_sequence",), ("stream_positions",)],
            "pg_depend": [],
            "is_called": [("receipts_sequence", 10)],
            "stream_positions": [("receipts", 25)],
        }
    )
    found = finding("sequences", place(database=database))
    assert found.message.endswith("is at 10, behind 25 in stream_positions")
    for statement in forward("receipts_sequence", 25):
        assert statement.replace("'", "'\"'\"'") in found.fix[0]


INDEXES = Indexes(
    invalid=(),
    corrupt=(),
    examined=650,
    number=650,
    repair={"a": "psql a"},
    all_of_them="pg_amcheck",
)


def test_indexes() -> None:
    assert_quiet(judged("indexes", INDEXES))
    (found,) = judged("indexes", replace(INDEXES, corrupt=(("a", "invalid page"),)))
    assert (found.level, found.message) == (Level.BAD, "the index a is corrupt: invalid page")
    assert found.fix[0] == "psql a"
    (found,) = judged("indexes", replace(INDEXES, invalid=("a",)))
    assert found.level is Level.NOTICE
    for examined, text in ((600, "the 600 smallest of 650 indexes"), (None, "650 indexes are val")):
        (found,) = judged("indexes", replace(INDEXES, examined=examined))
        assert found.level is Level.GOOD
        assert found.message.startswith(text)
        assert found.message.endswith("pg_amcheck")


UPDATES = Updates(left=(), unknown=(), moving=False, running=True, progress="psql …")


def test_background_updates() -> None:
    assert_quiet(judged("background-updates", UPDATES))
    moving = replace(UPDATES, left=("populate_stats_process_rooms",), moving=True)
    assert_quiet(judged("background-updates", moving))
    (found,) = judged("background-updates", replace(moving, moving=False))
    assert found.level is Level.NOTICE
    assert found.message.endswith("works on them: populate_stats_process_rooms")
    assert found.fix[0] == "ganglion restart main"
    unknown = replace(UPDATES, left=("old",), unknown=("old",), delete=("DELETE",))
    (found,) = judged("background-updates", unknown)
    assert found.level is Level.BAD
    assert found.fix == ("DELETE", "ganglion restart main")


def test_background_updates_that_synapse_does_not_know() -> None:
    rows = [("populate_user_directory_process_users", "{}"), ("x'; DROP TABLE users", "{}")]
    database = NoDatabase({"background_updates": rows})
    known, unknown = sorted(
        findings("background-updates", place(database=database)),
        key=lambda item: item.level.value,
        reverse=True,
    )
    assert "populate_user_directory_process_users" in known.message
    assert unknown.message.startswith("the background update x'; DROP TABLE users is not")
    # Quoted for SQL, and that for the shell.
    assert "'x'\"'\"''\"'\"'; DROP TABLE users'" in unknown.fix[0].replace("'\"'\"'x", "'x")


def test_bloat() -> None:
    quiet = Bloat(tables=(), age=100, freeze="vacuumdb")
    assert_quiet(judged("bloat", quiet))
    table = Table(name="events", live=100, dead=90_000, size=GB, repair="VACUUM")
    (found,) = judged("bloat", replace(quiet, tables=(table,)))
    assert found.message == "events has 90000 dead rows beside 100 live ones, in 1.0 GB"
    (found,) = judged("bloat", replace(quiet, age=1_500_000_000))
    assert (found.level, found.fix) == (Level.BAD, ("vacuumdb",))


GROUPS = StateGroups(
    sampled=2000,
    unreferenced=10,
    whole=20,
    groups=1_000_000,
    rows=5_000_000,
    rooms=5000,
    size=2 * GB,
    mark="psql …",
)


def test_state_groups_that_nothing_references() -> None:
    assert_quiet(judged("state-groups", GROUPS))
    (found,) = judged("state-groups", replace(GROUPS, unreferenced=1000))
    assert found.message == "about 500000 of 1000000 state groups are used by nothing"
    assert found.fix[0] == "psql …"
    # Of few groups a large part may be new.
    assert_quiet(judged("state-groups", replace(GROUPS, unreferenced=1000, groups=5000)))


def test_compression() -> None:
    assert_quiet(judged("compression", GROUPS))
    # A tenth are whole, of 1000 rows each: rooms were never compressed.
    wasteful = replace(GROUPS, whole=200, rows=102_700_000, size=40 * GB)
    assert 0.85 * 40 * GB < gain(wasteful) < 40 * GB
    (found,) = judged("compression", wasteful)
    assert found.level is Level.NOTICE
    assert found.message.startswith("state_groups_state takes 40.0 GB, of which compressing would")
    # One whole state for each room is what compression leaves.
    assert gain(replace(wasteful, whole=10, rows=8_000_000, rooms=5000)) < 0.1 * 40 * GB
    assert gain(replace(GROUPS, sampled=0)) == 0


DESTINATIONS = Destinations(
    failing=(), number=0, standing=(), given_up=2, admin="http://127.0.0.1:8008/_synapse/admin/v1"
)


def test_destinations() -> None:
    assert_quiet(judged("destinations", DESTINATIONS))
    failing = (("a.example.org", 2.0), ("$(reboot).example", 1.5))
    (found,) = judged("destinations", replace(DESTINATIONS, failing=failing, number=9))
    assert found.message.startswith(
        "9 servers have not answered for more than a day: a.example.org (2 d), $(reboot)"
    )
    (found,) = judged("destinations", replace(DESTINATIONS, failing=failing[1:], number=1))
    # A name of another server is quoted in the command.
    assert "'http://127.0.0.1:8008/_synapse/admin/v1/federation/destinations/$(" in found.fix[0]
    (found,) = judged("destinations", replace(DESTINATIONS, new=1))
    assert found.message.startswith("1 server does not answer, none of them for more than a day")
    (found,) = judged("destinations", replace(DESTINATIONS, standing=("b.example.org",)))
    assert found.fix[0].startswith("ganglion restart main")


def test_the_statistics_of_a_stopped_server_are_not_asked() -> None:
    for name in ("sequences", "indexes", "bloat", "state-groups", "compression", "destinations"):
        assert finding(name, place()).level is Level.SKIPPED
    assert levels([finding("clock", place(now=dt.datetime.now(dt.UTC)))]) == ["ok"]
