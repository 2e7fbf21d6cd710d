"""A clean homeserver in the place of the one that runs."""

import contextlib
import shutil
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from ganglion.control.test.databases import database_at
from ganglion.control.test.json_lines import ask
from ganglion.control.test.place import Place
from ganglion.control.test.processes import Processes
from ganglion.topology.topology import MAIN

# How long Synapse may take with what it does to a new database in the background, in seconds.
SETTLED_WITHIN = 120.0


class Resets:
    """Resets, one after the other. What can be done ahead of the next is done at once."""

    def __init__(self, place: Place, processes: Processes) -> None:
        self._place = place
        self._processes = processes
        self._database = database_at(place.database)
        threading.Thread(target=self._recover, daemon=True).start()

    def reset(self) -> float:
        """Reset, and return how many seconds it took: after that every process is ready.

        Every process is killed, as nothing of what it knows is to be kept; meanwhile a clean
        database takes the place of the one that they used.
        """
        began = time.monotonic()
        with self._processes.lock:
            self._database.prepare()
            with self._refusing():
                names = self._processes.names
                self._processes.hold(names, "KILL")
                try:
                    if self._database.exchange():
                        self._fill()
                    self._forget()
                finally:
                    # Whatever went wrong, it is told; the server is to run all the same.
                    self._processes.release(names)
        self._prepare_ahead()
        return time.monotonic() - began

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        """Have nginx answer 503, lest a client find one half of the server clean."""
        path = Path(self._place.resetting)
        path.touch()
        try:
            yield
        finally:
            path.unlink()

    def _fill(self) -> None:
        """Have main make its tables in an empty database, and keep that for the next reset."""
        self._processes.release([MAIN])
        request = {"do": "settle"}
        ask(self._place.agents[MAIN], MAIN, request, SETTLED_WITHIN)
        self._processes.hold([MAIN], "KILL")
        self._database.keep()

    def _forget(self) -> None:
        """Empty Redis, of which only our database is ours, and the media."""
        import redis  # noqa: PLC0415 - half of the time this application would take to start

        path = self._place.redis_password_file
        password = None if path is None else Path(path).read_text(encoding="utf-8").strip()
        client = redis.Redis(password=password, socket_timeout=5, **self._place.redis)
        try:
            client.flushdb()
        finally:
            client.close()
        media = Path(self._place.media)
        for entry in media.iterdir() if media.is_dir() else ():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def _recover(self) -> None:
        """Let go what an application that ended in the middle of a reset still held."""
        with self._processes.lock:
            self._processes.release(self._processes.names)
            Path(self._place.resetting).unlink(missing_ok=True)
        self._prepare()

    def _prepare_ahead(self) -> None:
        threading.Thread(target=self._prepare, daemon=True).start()

    def _prepare(self) -> None:
        try:
            self._database.prepare()
        except Exception:  # noqa: BLE001 - the next reset tries again, and tells
            traceback.print_exc()
