"""The errors, each with its fix."""

from typing import Any


class GanglionError(Exception):
    """Base class of this plugin's errors."""


class NoServer(GanglionError):
    """No server to test with. The message has the reason, the fix, and the last log lines."""

    def __init__(self, message: str, *, fix: str, log: str = "") -> None:
        said = f"\nits last lines:\n{log}" if log else ""
        super().__init__(f"{message}\n    fix: {fix}{said}")


class PortTaken(NoServer):
    """Another program took a port that was free a moment ago."""


class Unreachable(GanglionError):
    """A request got no response."""


class Refused(GanglionError):
    """A request got another status than the test expected."""

    def __init__(self, method: str, url: str, status: int, body: Any) -> None:  # noqa: ANN401 - JSON
        super().__init__(f"{method} {url} answered {status}: {body}")
        self.status = status
        self.body = body
