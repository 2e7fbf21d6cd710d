"""The WSGI application: finds a request's route, and turns its result or error into a response."""

import json
import re
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from ganglion.control.refusal import Json, Refusal
from ganglion.settings.reading import parse_json

JSON = "application/json"
# In bytes.
LONGEST_BODY = 1024 * 1024

# Takes the named groups of the route's pattern, and the body. Returns the body of the response.
Handler = Callable[[Mapping[str, str], Json], Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A path, as a pattern that matches the whole of it, and its handler for POST."""

    pattern: str
    handler: Handler


class Application:
    """The application as WSGI has it: https://peps.python.org/pep-3333/"""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = routes

    def __call__(
        self, environ: Mapping[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Respond to one request."""
        try:
            status, answer = 200, self._answer(environ)
        except Refusal as refusal:
            status, answer = refusal.status, {"error": refusal.message}
        except Exception as error:  # noqa: BLE001 - the client must learn of every error
            traceback.print_exc()
            status, answer = 500, {"error": f"{type(error).__name__}: {error}"}
        content = json.dumps(answer, ensure_ascii=False).encode() + b"\n"
        headers = [("Content-Type", JSON), ("Content-Length", str(len(content)))]
        if status == 405:
            headers.append(("Allow", "POST"))
        start_response(f"{status} {HTTPStatus(status).phrase}", headers)
        return [content]

    def _answer(self, environ: Mapping[str, Any]) -> Json:
        path = environ["PATH_INFO"]
        for route in self._routes:
            found = re.fullmatch(route.pattern, path)
            if found is None:
                continue
            if environ["REQUEST_METHOD"] != "POST":
                raise Refusal(
                    405, f"{path} takes only POST; send it with curl --json '{{}}' …{path}"
                )
            _require_json(environ)
            return route.handler(found.groupdict(), _body(environ))
        known = ", ".join(
            re.sub(r"\(\?P<(\w+)>[^)]*\)", r"\1", route.pattern) for route in self._routes
        )
        raise Refusal(404, f"unknown path {path}; use {known}")


def _require_json(environ: Mapping[str, Any]) -> None:
    """Reject other types: a browser lets any page send those without asking this server."""
    kind = environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    if kind != JSON:
        raise Refusal(
            415,
            f"the Content-Type must be {JSON}; send it with curl --json '{{}}', or with the header",
        )


def _body(environ: Mapping[str, Any]) -> Json:
    """Return the JSON object in the request's body; an empty one if there is no body."""
    # gunicorn's input ends with the body, whether it has a length or comes in chunks.
    content = environ["wsgi.input"].read(LONGEST_BODY)
    if not content.strip():
        return {}
    try:
        body = parse_json(content.decode("utf-8"))
    except ValueError as error:
        raise Refusal(400, f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refusal(400, 'the body is not a JSON object; write {"name": value}')
    return body
