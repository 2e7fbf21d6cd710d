"""The WSGI application: finds a request's route, and turns its result or error into a response."""

import base64
import binascii
import hmac
import json
import re
import traceback
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

from ganglion.control.refusal import Json, Refusal
from ganglion.settings.reading import parse_json

JSON = "application/json"
# In bytes.
LONGEST_BODY = 1024 * 1024
LONGEST_QUERY = 1024
# No page of another site may show, keep or read these answers.
HEADERS = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
)

# Takes the named groups of the route's pattern, and the body. Returns the body of the response.
Handler = Callable[[Mapping[str, str], Json], Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A path, as a pattern that matches the whole of it, and its handler for POST."""

    pattern: str
    handler: Handler


class Stream(Protocol):
    """The content of a response, part by part: https://peps.python.org/pep-3333/"""

    def __iter__(self) -> Iterator[bytes]:
        """Return the parts."""

    def close(self) -> None:
        """Give back what it holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that reads: the groups of the route's pattern, the query, and two headers."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    accept: str
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response to a request that reads. `headers` replace HEADERS of the same names.

    With a `stream`, its parts are the content. Its close() is called when it has been sent.
    """

    content: bytes
    kind: str = JSON
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    stream: "Stream | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A path, and its function for GET and HEAD. `open` ones answer without the token.

    `parameters` are those that the query may have.
    """

    pattern: str
    answer: Callable[[Asked], Answer]
    open: bool = False
    parameters: tuple[str, ...] = ()


class Application:
    """The application as WSGI has it: https://peps.python.org/pep-3333/"""

    def __init__(
        self, routes: Sequence[Route], views: Sequence[View] = (), token: str | None = None
    ) -> None:
        self._routes = routes
        self._views = views
        self._token = token

    def __call__(
        self, environ: Mapping[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Respond to one request."""
        try:
            answer = self._answer(environ)
        except Refusal as refusal:
            answer = _as_json({"error": refusal.message}, refusal.status, refusal.headers)
        except Exception as error:  # noqa: BLE001 - the client must learn of every error
            traceback.print_exc()
            answer = _as_json({"error": f"{type(error).__name__}: {error}"}, 500)
        own = {name for name, _ in answer.headers}
        headers = [
            ("Content-Type", answer.kind),
            *([] if answer.stream else [("Content-Length", str(len(answer.content)))]),
            *(header for header in HEADERS if header[0] not in own),
            *answer.headers,
        ]
        start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", headers)
        if environ["REQUEST_METHOD"] != "HEAD":
            return answer.stream or [answer.content]
        if answer.stream is not None:
            answer.stream.close()
        return [b""]

    def _answer(self, environ: Mapping[str, Any]) -> Answer:
        path = environ["PATH_INFO"]
        for view in self._views:
            found = re.fullmatch(view.pattern, path)
            if found is None:
                continue
            if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
                raise Refusal(405, f"{path} takes only GET", (("Allow", "GET, HEAD"),))
            if not view.open:
                self._check_token(environ)
            accept = environ.get("HTTP_ACCEPT", "")
            query = _query(environ, view.parameters)
            host = environ.get("HTTP_HOST", "")
            asked = Asked(path=found.groupdict(), query=query, accept=accept, host=host)
            return view.answer(asked)
        for route in self._routes:
            found = re.fullmatch(route.pattern, path)
            if found is None:
                continue
            if environ["REQUEST_METHOD"] != "POST":
                hint = f"send it with curl --json '{{}}' …{path}"
                raise Refusal(405, f"{path} takes only POST; {hint}", (("Allow", "POST"),))
            _require_json(environ)
            return _as_json(route.handler(found.groupdict(), _body(environ)))
        patterns = [row.pattern for row in self._routes] + [view.pattern for view in self._views]
        known = ", ".join(re.sub(r"\(\?P<(\w+)>[^)]*\)", r"\1", pattern) for pattern in patterns)
        raise Refusal(404, f"unknown path {path}; use {known}")

    def _check_token(self, environ: Mapping[str, Any]) -> None:
        """Compare the token in a time that does not depend on it."""
        if self._token is None:
            return
        given = _given_token(environ.get("HTTP_AUTHORIZATION", ""))
        if not hmac.compare_digest(given.encode("utf-8", "replace"), self._token.encode()):
            raise Refusal(
                401,
                "send CONTROL_TOKEN, as in the header Authorization: Bearer TOKEN",
                (("WWW-Authenticate", 'Basic realm="Ganglion: any name, CONTROL_TOKEN"'),),
            )


def as_json(value: Any, status: int = 200, indent: int | None = 1) -> Answer:  # noqa: ANN401 - anything that JSON has
    """Return a value as the content of a response."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return Answer(content=text.encode("utf-8", "replace") + b"\n", status=status)


def _as_json(value: Json, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    content = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
    return Answer(content=content, status=status, headers=headers)


def _given_token(header: str) -> str:
    """Return the token of an Authorization header, or the password of HTTP Basic."""
    scheme, _, value = header.strip().partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(value.strip(), validate=True).decode("utf-8")
        except (binascii.Error, ValueError):
            return ""
        return pair.partition(":")[2]
    return ""


def _query(environ: Mapping[str, Any], allowed: tuple[str, ...]) -> dict[str, str]:
    """Return the query's parameters, each at most once."""
    text = environ.get("QUERY_STRING", "")
    if len(text) > LONGEST_QUERY:
        raise Refusal(400, f"the query is longer than {LONGEST_QUERY} characters")
    try:
        pairs = urllib.parse.parse_qsl(text, keep_blank_values=True, max_num_fields=16)
    except ValueError as error:
        raise Refusal(400, f"the query cannot be read: {error}") from error
    found = dict(pairs)
    unknown = sorted(set(found) - set(allowed))
    if unknown or len(found) != len(pairs):
        known = f"write {', '.join(allowed)}, each once" if allowed else "send none"
        raise Refusal(400, f"unknown or repeated parameters; {known}")
    return found


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
