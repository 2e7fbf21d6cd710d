"""How far a process has written its own streams, and how far it has seen those of others.

A position is a number that grows with each write. A writer sends it over Redis together with the
rows. A reader moves its own copy when it has handled the rows: synapse/replication/tcp.
"""

import contextlib
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
            stream.NAME: max(stream.minimal_local_current_token(), self._ahead(stream))
            for stream in self._commands.get_streams_to_replicate()
        }

    def own(self) -> dict[str, int]:
        """Return the last position of each stream that this process has written itself.

        Unlike `written`, it does not advance with the writes of other processes.
        """
        found = {}
        for stream in self._commands.get_streams_to_replicate():
            generator = self._generator(stream)
            with getattr(generator, "_lock", contextlib.nullcontext()):
                if generator is None:
                    found[stream.NAME] = stream.minimal_local_current_token()
                else:
                    last = generator._current_positions.get(self._instance, 0)
                    found[stream.NAME] = max(generator._finished_ids, default=last)
        return found

    def _ahead(self, stream: Any) -> int:
        """Return the highest ID that is written while a lower one is not; 0 if there is none.

        A stream's position stays below such IDs until the lower one is written:
        MultiWriterIdGenerator in synapse/storage/util/id_generators.py.
        """
        generator = self._generator(stream)
        with getattr(generator, "_lock", contextlib.nullcontext()):
            return max(getattr(generator, "_finished_ids", ()), default=0)

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
        for stream in self._commands.get_streams().values():
            _report_discarded(stream, self._report)
            for writer in writers:
                self._report(stream.NAME, MAIN_AS_WRITER if writer == MAIN else writer)

    def _report(self, name: str, writer: str) -> None:
        # While rows are being handled, the position may be ahead of the handlers.
        if self._listener is not None and (name, writer) not in self._under_way:
            current = self._commands.get_streams()[name].current_token(writer)
            seen = max(self._handled.get((name, writer), 0), current)
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
        handled = self._handled.get((stream.NAME, writer), 0)
        return bool(max(handled, stream.current_token(writer)) >= position)

    def announce(self) -> None:
        """Send this process's positions to all other processes again."""
        self._commands.send_positions_to_connection()


def _report_discarded(stream: Any, report: Callable[[str, str], None]) -> None:
    """Report also after positions that Synapse discards, because it knows them already."""
    discards = stream.can_discard_position

    def can_discard_position(writer: str, prev_token: int, new_token: int) -> bool:
        discarded: bool = discards(writer, prev_token, new_token)
        if discarded:
            report(stream.NAME, writer)
        return discarded

    stream.can_discard_position = can_discard_position
