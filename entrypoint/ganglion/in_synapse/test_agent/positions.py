"""How far a process has written its own streams, and how far it has seen those of others.

A position is a number that grows with each write. A writer sends it over Redis together with the
rows. A reader moves its own copy when it has handled the rows: synapse/replication/tcp.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ganglion.topology.names import MAIN, MAIN_AS_WRITER

# Positions by stream and writer. The writer is Ganglion's name of the process.
Named = Mapping[str, Mapping[str, int]]
# Some streams do not hold their ID generator themselves. Their attributes in Synapse's store:
GENERATORS = {
    "events": "_stream_id_gen",
    "backfill": "_backfill_id_gen",
    "caches": "_cache_id_gen",
}


class Positions:
    """Reads the positions in one process. It wraps Synapse's handler of replicated rows."""

    def __init__(self, hs: Any) -> None:
        self._instance = hs.get_instance_name()
        self._store = hs.get_datastores().main
        self._commands = hs.get_replication_command_handler()
        # The rows being handled now, by stream and writer. Synapse moves some positions (typing and
        # presence among them) before the users of the stream have been notified.
        self._under_way: dict[tuple[str, str], int] = {}
        # The last rows handled. Readers of the federation stream have no other position of it.
        self._handled: dict[tuple[str, str], int] = {}
        # The position of each stream that several processes write, when this process started.
        self._at_start: dict[str, int] = {}
        for stream in self._commands.get_streams().values():
            if self._by_writer(stream) is not None:
                self._at_start[stream.NAME] = self._generator(stream)._persisted_upto_position
            self._note_discarded(stream)
        # Called with stream, writer and position after each advance.
        self._listener: Callable[[str, str, int], None] | None = None
        data = hs.get_replication_data_handler()
        handle = data.on_rdata

        async def on_rdata(stream: str, writer: str, token: int, rows: Any) -> None:
            self._under_way[stream, writer] = token
            try:
                await handle(stream, writer, token, rows)
            finally:
                del self._under_way[stream, writer]
                self._handled[stream, writer] = token
                self._report(stream, writer)

        data.on_rdata = on_rdata

    def written(self) -> dict[str, int]:
        """Return how far this process has written each stream of which it is a writer."""
        return {
            name: max(position, self._at_start.get(name, 0))
            for name, position in self.own().items()
        }

    def own(self) -> dict[str, int]:
        """Return the last position of each stream that this process has written itself.

        Unlike `written`, it is 0 if this process has not written the stream, even if others had
        before it started. Neither advances with the writes of other processes.
        """
        found = {}
        for stream in self._commands.get_streams_to_replicate():
            positions = self._by_writer(stream)
            if positions is None:
                found[stream.NAME] = stream.minimal_local_current_token()
                continue
            generator = self._generator(stream)
            with generator._lock:
                # A stream's position stays below an ID that is written while a lower one is not:
                # MultiWriterIdGenerator in synapse/storage/util/id_generators.py.
                last = positions.get(self._instance, 0)
                found[stream.NAME] = max(generator._finished_ids, default=last)
        return found

    def _by_writer(self, stream: Any) -> Mapping[str, int] | None:
        """Return the positions of a stream's writers that this process knows.

        None if only one process ever writes the stream, or if the stream has no IDs in the
        database.
        """
        positions: Mapping[str, int] | None = getattr(
            self._generator(stream), "_current_positions", None
        )
        return positions

    def _generator(self, stream: Any) -> Any:
        generator = getattr(stream, "_stream_id_gen", None)
        if generator is None and stream.NAME in GENERATORS:
            generator = getattr(self._store, GENERATORS[stream.NAME])
        return generator

    def listen(self, listener: Callable[[str, str, int], None], writers: tuple[str, ...]) -> None:
        """Report to `listener` how far this process has seen each stream of each writer.

        It is called with stream, writer and position: now for every pair, then after each advance.
        """
        self._listener = listener
        for name in self._commands.get_streams():
            for writer in writers:
                self._report(name, MAIN_AS_WRITER if writer == MAIN else writer)

    def _report(self, name: str, writer: str) -> None:
        # While rows are being handled, the position may be ahead of the handlers.
        if self._listener is not None and (name, writer) not in self._under_way:
            seen = self._reached(self._commands.get_streams()[name], writer)
            self._listener(name, MAIN if writer == MAIN_AS_WRITER else writer, seen)

    def missing(self, wanted: Named) -> dict[str, dict[str, int]]:
        """Return those of the positions that this process has not seen yet.

        Positions of its own streams are never missing.
        """
        streams = self._commands.get_streams()
        missing: dict[str, dict[str, int]] = {}
        for name, writers in wanted.items():
            for writer, position in writers.items():
                instance = MAIN_AS_WRITER if writer == MAIN else writer
                if instance == self._instance or self._seen(streams[name], instance, position):
                    continue
                missing.setdefault(name, {})[writer] = position
        return missing

    def _seen(self, stream: Any, writer: str, position: int) -> bool:
        if self._under_way.get((stream.NAME, writer), position + 1) <= position:
            return False
        return self._reached(stream, writer) >= position

    def _reached(self, stream: Any, writer: str) -> int:
        """Return how far this process has seen the stream of a writer.

        Synapse's current_token answers for a writer that it has not heard of yet with the position
        that all others have reached. That may be higher than an ID that this writer has written,
        and whose rows are still on their way here.
        """
        handled = self._handled.get((stream.NAME, writer), 0)
        positions = self._by_writer(stream)
        if positions is None:
            return max(handled, int(stream.current_token(writer)))
        return max(handled, positions.get(writer, 0), self._at_start[stream.NAME])

    def _note_discarded(self, stream: Any) -> None:
        """Take notice also of positions that Synapse discards, because it is further already.

        A writer sends a position after the rows up to it.
        """
        discards = stream.can_discard_position

        def can_discard_position(writer: str, prev_token: int, new_token: int) -> bool:
            discarded: bool = discards(writer, prev_token, new_token)
            if discarded:
                key = stream.NAME, writer
                self._handled[key] = max(new_token, self._handled.get(key, 0))
                self._report(*key)
            return discarded

        stream.can_discard_position = can_discard_position

    def announce(self) -> None:
        """Send this process's positions to all other processes again."""
        self._commands.send_positions_to_connection()
