"""How far this process has written its streams, and how far it has seen those of others.

A position is a number that grows with each write. A writer tells it over Redis, with what was
written; a reader's own notion of it moves when it has taken that in: synapse/replication/tcp.
"""

import contextlib
from collections.abc import Mapping
from typing import Any

from ganglion.topology.topology import MAIN, MAIN_AS_WRITER

# Positions by stream and writer, who goes by our name of the process.
Named = Mapping[str, Mapping[str, int]]
# What numbers the streams that do not hold it themselves, among the attributes of Synapse's store.
GENERATORS = {
    "events": "_stream_id_gen",
    "backfill": "_backfill_id_gen",
    "caches": "_cache_id_gen",
}


class Positions:
    """Looks into Synapse's replication, whose handler of what arrives is watched."""

    def __init__(self, hs: Any) -> None:
        self._instance = hs.get_instance_name()
        self._store = hs.get_datastores().main
        self._commands = hs.get_replication_command_handler()
        # What is handled at this moment, by stream and writer: a position moves before handlers
        # have been told, of the typing and the presence of users among others.
        self._under_way: dict[tuple[str, str], int] = {}
        # Up to where something was handled. The federation stream has no other position, in those
        # who read it.
        self._handled: dict[tuple[str, str], int] = {}
        data = hs.get_replication_data_handler()
        handle = data.on_rdata

        async def on_rdata(stream: str, writer: str, token: int, rows: Any) -> None:
            self._under_way[stream, writer] = token
            try:
                await handle(stream, writer, token, rows)
            finally:
                del self._under_way[stream, writer]
                self._handled[stream, writer] = token

        data.on_rdata = on_rdata

    def written(self) -> dict[str, int]:
        """How far this process has written each stream that it writes."""
        return {
            stream.NAME: max(stream.minimal_local_current_token(), self._ahead(stream))
            for stream in self._commands.get_streams_to_replicate()
        }

    def _ahead(self, stream: Any) -> int:
        """The last that was written while something before it was not, which a position does not
        count yet: MultiWriterIdGenerator in synapse/storage/util/id_generators.py.
        """
        generator = getattr(stream, "_stream_id_gen", None)
        if generator is None and stream.NAME in GENERATORS:
            generator = getattr(self._store, GENERATORS[stream.NAME])
        with getattr(generator, "_lock", contextlib.nullcontext()):
            return max(getattr(generator, "_finished_ids", ()), default=0)

    def missing(self, wanted: Named) -> dict[str, dict[str, int]]:
        """What of other processes' streams has not been seen here up to the position given."""
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
        """Tell all others again where this process is."""
        self._commands.send_positions_to_connection()
