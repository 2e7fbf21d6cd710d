"""Serve the control application: `python -m ganglion.control CONTROL.JSON`."""

import sys
import threading
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication

from ganglion.control.application import Application, Route
from ganglion.control.config import ControlConfig, Watched
from ganglion.control.log import Spoken, logger_class
from ganglion.control.metrics.request_log import RequestLog
from ganglion.control.metrics.scrape import Scrapes
from ganglion.control.monitor import Monitor
from ganglion.control.page.sight import Sight
from ganglion.control.views import Seen, views

# One process, because a reset must exclude every other request, and one thread for each request
# that waits: a barrier, a reset, a second reset behind it. In production none waits.
TEST_THREADS, THREADS = 16, 4


class Server(BaseApplication):
    """gunicorn, configured by its arguments only."""

    def __init__(self, text: str) -> None:
        """`text` is control.json. Raises OSError."""
        self._text = text
        self._watched = Watched.load(text)
        super().__init__()

    def load_config(self) -> None:
        options: dict[str, Any] = {
            "bind": f"unix:{self._watched.socket}",
            # Of the socket, because nginx's workers have another account.
            "umask": 0,
            "workers": 1,
            "threads": TEST_THREADS if self._watched.settings.test_mode else THREADS,
            "worker_class": "gthread",
            # No limit: a first reset without a prepared database takes long.
            "timeout": 0,
            "graceful_timeout": 1,
            "logger_class": logger_class(self._watched.level),
            # gunicorn would open a second socket to be controlled by.
            "control_socket_disable": True,
            "proc_name": "ganglion",
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Application:
        routes: tuple[Route, ...] = ()
        if self._watched.settings.test_mode:
            # Nothing of it is loaded in production.
            from ganglion.control.test.routes import routes_of_server  # noqa: PLC0415

            routes = routes_of_server(ControlConfig.load(self._text))
        watched = self._watched
        log = RequestLog(watched.settings.paths.requests)
        monitor = Monitor(watched, hear=Spoken().hear)
        sight = Sight(watched, log, monitor)
        # It keeps the file of nginx's requests small, too.
        threading.Thread(target=sight.run, daemon=True, name="hour").start()
        seen = Seen(scrapes=Scrapes(watched, log, monitor), monitor=monitor, sight=sight)
        return Application(routes, views(watched, seen), watched.token)


def main(arguments: list[str]) -> None:
    """Serve until a signal ends the process."""
    (path,) = arguments
    Server(Path(path).read_text(encoding="utf-8")).run()


if __name__ == "__main__":
    main(sys.argv[1:])
