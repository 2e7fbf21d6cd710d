"""A Sight of a server that does not run, for tests of the status page."""

from pathlib import Path

from ganglion.control.config import Watched
from ganglion.control.metrics.request_log import RequestLog
from ganglion.control.monitor import Monitor
from ganglion.control.page.sight import Sight
from tests.plans import rendered


def watched_by(tmp_path: Path) -> Watched:
    """Return the configuration of the control application, with all paths in a directory."""
    found = rendered({"WORKERS": "pusher", "GANGLION_RUN": str(tmp_path)})
    return Watched.load(found["control.json"].content)


def sight_of(tmp_path: Path) -> Sight:
    """Return a Sight of it."""
    watched = watched_by(tmp_path)
    monitor = Monitor(watched, parts=lambda _settings, _topology: {})
    return Sight(watched, RequestLog(watched.settings.paths.requests), monitor)
