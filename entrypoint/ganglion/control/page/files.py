"""The page's files, as views of the control application."""

from functools import partial
from pathlib import Path

from ganglion.control.application import Answer, Asked, View, as_json
from ganglion.control.page.sight import Sight
from ganglion.control.page.status import status

HERE = Path(__file__).parent
KINDS = {
    "status.html": "text/html; charset=utf-8",
    "status.css": "text/css; charset=utf-8",
    "status.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
# Nothing comes from elsewhere, and nothing written in the page itself is run or drawn.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


def views(sight: Sight) -> tuple[View, ...]:
    """Return the paths of the page."""
    return (
        View(pattern="/status", answer=partial(_file, "status.html")),
        View(pattern=r"/status/status\.css", answer=partial(_file, "status.css")),
        View(pattern=r"/status/status\.js", answer=partial(_file, "status.js")),
        View(pattern=r"/status/icon\.svg", answer=partial(_file, "icon.svg")),
        View(pattern=r"/status/now", answer=partial(_now, sight)),
        View(pattern=r"/status/hour", answer=partial(_hour, sight)),
    )


def page(asked: Asked) -> Answer:
    """Answer with the page itself."""
    return _file("status.html", asked)


def _file(name: str, _asked: Asked) -> Answer:
    headers = (("Content-Security-Policy", POLICY),)
    return Answer(content=(HERE / name).read_bytes(), kind=KINDS[name], headers=headers)


def _now(sight: Sight, _asked: Asked) -> Answer:
    return as_json(status(sight, sight.look()), indent=None)


def _hour(sight: Sight, _asked: Asked) -> Answer:
    return as_json(sight.history.shown(), indent=None)
