"""Serve the control application: `python -m ganglion.control CONTROL.JSON`."""

import sys
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication

from ganglion.control.application import Application
from ganglion.control.config import ControlConfig
from ganglion.control.test.routes import routes_of_server

# One process, because a reset must exclude every other request, and one thread for each request
# that waits: a barrier, a reset, a second reset behind it.
THREADS = 16


class Server(BaseApplication):
    """gunicorn, configured by its arguments only."""

    def __init__(self, config: ControlConfig) -> None:
        self._config = config
        super().__init__()

    def load_config(self) -> None:
        options: dict[str, Any] = {
            "bind": f"unix:{self._config.socket}",
            # Of the socket, because nginx's workers have another account.
            "umask": 0,
            "workers": 1,
            "threads": THREADS,
            "worker_class": "gthread",
            # No limit: a first reset without a prepared database takes long.
            "timeout": 0,
            "graceful_timeout": 1,
            "loglevel": "warning",
            # gunicorn would open a second socket to be controlled by.
            "control_socket_disable": True,
            "proc_name": "ganglion",
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Application:
        return Application(routes_of_server(self._config))


def main(arguments: list[str]) -> None:
    """Serve until a signal ends the process."""
    (path,) = arguments
    Server(ControlConfig.load(Path(path).read_text(encoding="utf-8"))).run()


if __name__ == "__main__":
    main(sys.argv[1:])
