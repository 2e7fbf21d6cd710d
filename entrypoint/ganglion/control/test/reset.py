"""Reset a running server to a clean homeserver."""

import contextlib
import shutil
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from ganglion.control.config import ControlConfig
from ganglion.control.test.databases import database_at
from ganglion.control.test.json_lines import ask
from ganglion.control.test.processes import Processes
from ganglion.topology.names import MAIN

# In seconds: how long Synapse's background updates of a new database may take.
SETTLED_WITHIN = 120.0


class Resets:
    """Runs resets one after the other, and prepares the next one in the background."""

    def __init__(self, config: ControlConfig, processes: Processes) -> None:
        self._config = config
        self._processes = processes
        self._database = database_at(config.database)
        threading.Thread(target=self._recover, daemon=True).start()

    def reset(self) -> float:
        """Reset, and return the seconds until every process is ready again.

        Every process is killed, so that none keeps anything in memory. Meanwhile a clean database
        replaces the used one.
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
                    # After an error too: the client gets it, and the server runs again.
                    self._processes.release(names)
        self._prepare_ahead()
        return time.monotonic() - began

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        """Let nginx answer 503, so that no client sees a server that is half reset."""
        path = Path(self._config.resetting)
        path.touch()
        try:
            yield
        finally:
            path.unlink()

    def _fill(self) -> None:
        """Let main create its tables in an empty database, and keep a copy for later resets."""
        self._processes.release([MAIN])
        request = {"do": "settle"}
        ask(self._config.agents[MAIN], MAIN, request, SETTLED_WITHIN)
        self._processes.hold([MAIN], "KILL")
        self._database.keep()

    def _forget(self) -> None:
        """Empty Synapse's database in Redis, and remove all media."""
        import redis  # noqa: PLC0415 - half of this application's start time

        path = self._config.redis_password_file
        password = None if path is None else Path(path).read_text(encoding="utf-8").strip()
        client = redis.Redis(password=password, socket_timeout=5, **self._config.redis)
        try:
            client.flushdb()
        finally:
            client.close()
        media = Path(self._config.media)
        for entry in media.iterdir() if media.is_dir() else ():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def _recover(self) -> None:
        """Release the processes that a reset held when an earlier run of this application ended."""
        with self._processes.lock:
            self._processes.release(self._processes.names)
            Path(self._config.resetting).unlink(missing_ok=True)
        self._prepare()

    def _prepare_ahead(self) -> None:
        threading.Thread(target=self._prepare, daemon=True).start()

    def _prepare(self) -> None:
        try:
            self._database.prepare()
        except Exception:  # noqa: BLE001 - the next reset prepares again and reports its error
            traceback.print_exc()
