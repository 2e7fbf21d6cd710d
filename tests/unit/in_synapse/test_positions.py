"""The positions that the test agent reads in a process, with fakes of Synapse's parts."""

import threading
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from ganglion.in_synapse.test_agent.positions import Positions


class FakeStream:
    """A stream with a reader's positions of its writers."""

    def __init__(self, name: str, seen: Mapping[str, int]) -> None:
        self.NAME = name
        self.seen = dict(seen)

    def current_token(self, writer: str) -> int:
        return self.seen.get(writer, 0)

    def can_discard_position(self, writer: str, _prev_token: int, new_token: int) -> bool:
        return new_token <= self.current_token(writer)

    def minimal_local_current_token(self) -> int:
        return self.seen["reader1"]


def positions(streams: list[FakeStream], handle: Any = None, **store: Any) -> tuple[Any, Any]:
    """Return the positions in reader1, and its handler of replicated rows."""

    async def nothing(*_: object) -> None:
        """Handle the rows."""

    data = SimpleNamespace(on_rdata=handle or nothing)
    commands = SimpleNamespace(
        get_streams=lambda: {stream.NAME: stream for stream in streams},
        get_streams_to_replicate=lambda: streams,
    )
    hs = SimpleNamespace(
        get_instance_name=lambda: "reader1",
        get_replication_command_handler=lambda: commands,
        get_replication_data_handler=lambda: data,
        get_datastores=lambda: SimpleNamespace(main=SimpleNamespace(**store)),
    )
    return Positions(hs), data


def test_positions_of_other_writers_are_missing_until_they_are_seen() -> None:
    made, _ = positions([FakeStream("receipts", {"master": 5, "other1": 9, "reader1": 3})])
    assert made.written() == {"receipts": 3}
    wanted = {"receipts": {"main": 6, "other1": 9, "reader1": 99}}
    assert made.missing(wanted) == {"receipts": {"main": 6}}
    assert made.missing({"receipts": {"main": 5}}) == {}


def generator(persisted: int, finished: set[int] | None = None, **written: int) -> Any:
    """Return a fake of Synapse's generator of IDs, with the positions of the writers it knows."""
    return SimpleNamespace(
        _lock=threading.Lock(),
        _finished_ids=finished or set(),
        _current_positions=written,
        _persisted_upto_position=persisted,
    )


def test_an_id_that_is_written_before_a_lower_one_counts_as_written() -> None:
    """The position stays at 4 while 5 is being written; 6 is written and was answered."""
    ids = generator(4, {6}, reader1=4)
    made, _ = positions([FakeStream("events", {"reader1": 4})], _stream_id_gen=ids)
    assert made.written() == {"events": 6}


def test_rows_that_are_being_handled_are_not_seen_yet() -> None:
    stream = FakeStream("typing", {})
    looks = []

    async def handle(_stream: str, writer: str, token: int, _rows: object) -> None:
        stream.seen[writer] = token
        looks.append((made.missing({"typing": {"main": 7}}), made.missing({"typing": {"main": 6}})))

    made, data = positions([stream], handle)
    with pytest.raises(StopIteration):
        data.on_rdata("typing", "master", 7, []).send(None)
    assert looks == [({"typing": {"main": 7}}, {})]
    assert made.missing({"typing": {"main": 7}}) == {}


def test_rows_of_a_stream_without_a_position_are_seen_when_they_are_handled() -> None:
    """Readers of the federation stream have no position of it."""
    made, data = positions([FakeStream("federation", {})])
    assert made.missing({"federation": {"main": 2}}) == {"federation": {"main": 2}}
    with pytest.raises(StopIteration):
        data.on_rdata("federation", "master", 2, []).send(None)
    assert made.missing({"federation": {"main": 2}}) == {}


def test_own_positions_do_not_advance_with_those_of_others() -> None:
    """A process that never wrote reports the position of the others as its own."""
    ids = generator(8, master=8)
    stream = FakeStream("caches", {"reader1": 8})
    made, _ = positions([stream], _cache_id_gen=ids)
    assert made.written() == {"caches": 8}
    assert made.own() == {"caches": 0}
    stream.seen["reader1"] = ids._persisted_upto_position = ids._current_positions["master"] = 20
    assert made.written() == {"caches": 8}
    ids._current_positions["reader1"] = 21
    assert made.own() == made.written() == {"caches": 21}
    ids._finished_ids.add(23)
    assert made.own() == made.written() == {"caches": 23}


def test_rows_of_an_unknown_writer_are_not_seen_because_later_ones_of_another_are() -> None:
    """Until the rows arrive, Synapse gives a new writer the position that the others have."""
    ids = generator(100, master=100)
    stream = FakeStream("caches", {"master": 100, "other1": 100, "reader1": 100})
    made, data = positions([stream], _cache_id_gen=ids)
    calls: list[tuple[str, str, int]] = []
    made.listen(lambda *call: calls.append(call), ("main", "other1"))
    # other1 writes 101 and main writes 102, which arrives first.
    ids._current_positions["master"] = ids._persisted_upto_position = 102
    stream.seen = {"master": 102, "other1": 102, "reader1": 102}
    with pytest.raises(StopIteration):
        data.on_rdata("caches", "master", 102, []).send(None)
    wanted = {"caches": {"main": 102, "other1": 101}}
    assert made.missing(wanted) == {"caches": {"other1": 101}}
    assert ("caches", "other1", 102) not in calls
    with pytest.raises(StopIteration):
        data.on_rdata("caches", "other1", 101, []).send(None)
    assert made.missing(wanted) == {}
    assert calls[-1] == ("caches", "other1", 101)
    # A process that started later has read a higher position of the writer in the database.
    assert stream.can_discard_position("other1", 101, 102)
    assert made.missing({"caches": {"other1": 102}}) == {}


def test_a_listener_is_called_after_each_advance() -> None:
    stream = FakeStream("receipts", {"master": 5})
    made, data = positions([stream])
    calls: list[tuple[str, str, int]] = []
    made.listen(lambda *call: calls.append(call), ("main", "other1"))
    assert calls == [("receipts", "main", 5), ("receipts", "other1", 0)]
    calls.clear()
    with pytest.raises(StopIteration):
        data.on_rdata("receipts", "master", 7, []).send(None)
    assert calls == [("receipts", "main", 7)]
    # Synapse discards a position that it knows, and calls no handler.
    stream.seen["other1"] = 6
    assert stream.can_discard_position("other1", 5, 6)
    assert calls[1:] == [("receipts", "other1", 6)]
    assert not stream.can_discard_position("other1", 6, 7)
    assert len(calls) == 2


def test_a_listener_is_not_called_while_rows_are_being_handled() -> None:
    stream = FakeStream("typing", {})
    calls: list[tuple[str, str, int]] = []

    async def handle(_stream: str, writer: str, token: int, _rows: object) -> None:
        stream.seen[writer] = token
        assert stream.can_discard_position("master", 6, 7)
        assert calls == [("typing", "main", 0)]

    made, data = positions([stream], handle)
    made.listen(lambda *call: calls.append(call), ("main",))
    with pytest.raises(StopIteration):
        data.on_rdata("typing", "master", 7, []).send(None)
    assert calls[1:] == [("typing", "main", 7)]
