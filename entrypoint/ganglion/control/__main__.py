"""Serves the control application: `python -m ganglion.control CONTROL.JSON`."""

import sys
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication

from ganglion.control.application import Application, Controls
from ganglion.control.test.place import Place

# One process, because a reset must know of every other request. A thread for each request that
# waits: a barrier, a reset, another reset behind it.
THREADS = 16


class Server(BaseApplication):
    """gunicorn, told by its arguments alone."""

    def __init__(self, place: Place) -> None:
        self._place = place
        super().__init__()

    def load_config(self) -> None:
        options: dict[str, Any] = {
            "bind": f"unix:{self._place.socket}",
            # Of the socket: nginx's workers have an account of their own.
            "umask": 0,
            "workers": 1,
            "threads": THREADS,
            "worker_class": "gthread",
            # A first reset without a prepared database takes its time.
            "timeout": 0,
            "graceful_timeout": 1,
            "loglevel": "warning",
            # Another socket of its own, with which gunicorn would be controlled.
            "control_socket_disable": True,
            "proc_name": "ganglion",
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Application:
        return Application(Controls.at(self._place))


def main(arguments: list[str]) -> None:
    """Serve until told to stop."""
    (path,) = arguments
    Server(Place.load(Path(path).read_text(encoding="utf-8"))).run()


if __name__ == "__main__":
    main(sys.argv[1:])
