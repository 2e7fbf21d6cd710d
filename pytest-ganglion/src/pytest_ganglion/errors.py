"""What can go wrong, each with what to do about it."""

from typing import Any


class GanglionError(Exception):
    """Any error of this plugin's."""


class NoServer(GanglionError):
    """There is no server to test with. Says why, what to do, and the server's last lines."""

    def __init__(self, message: str, *, fix: str, log: str = "") -> None:
        said = f"\nits last lines:\n{log}" if log else ""
        super().__init__(f"{message}\n    fix: {fix}{said}")


class PortTaken(NoServer):
    """Another program took a port that was free a moment ago."""


class Unreachable(GanglionError):
    """A request had no answer."""


class Refused(GanglionError):
    """A request was answered with another status than the test asked for."""

    def __init__(self, method: str, url: str, status: int, body: Any) -> None:  # noqa: ANN401 - JSON
        super().__init__(f"{method} {url} answered {status}: {body}")
        self.status = status
        self.body = body
