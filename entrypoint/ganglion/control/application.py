"""The application: a table of routes, and what is the same for all of them."""

import json
import re
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

from ganglion.control.refusal import Json, Refusal, milliseconds, only
from ganglion.control.test.barrier import barrier
from ganglion.control.test.place import Place
from ganglion.control.test.processes import ACTIONS, Processes
from ganglion.control.test.reset import Resets
from ganglion.control.test.users import make_users

LONGEST_BODY = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """What handlers work on."""

    place: Place
    processes: Processes
    resets: Resets

    @classmethod
    def at(cls, place: Place) -> Self:
        """Those of the server at a place."""
        processes = Processes(place)
        return cls(place=place, processes=processes, resets=Resets(place, processes))


# What a handler is given: the parts of the path that its pattern names, and the body.
Handler = Callable[[Controls, Mapping[str, str], Json], Json]


def _reset(controls: Controls, _path: Mapping[str, str], body: Json) -> Json:
    only(body)
    return {"seconds": round(controls.resets.reset(), 3)}


def _users(controls: Controls, _path: Mapping[str, str], body: Json) -> Json:
    return make_users(controls.place, body)


def _barrier(controls: Controls, _path: Mapping[str, str], body: Json) -> Json:
    return barrier(controls.place, body)


def _act(controls: Controls, path: Mapping[str, str], body: Json) -> Json:
    only(body)
    controls.processes.act(path["name"], path["action"])
    return {"worker": path["name"], "action": path["action"]}


def _slow(controls: Controls, path: Mapping[str, str], body: Json) -> Json:
    only(body, "milliseconds")
    delay = milliseconds(body)
    controls.processes.slow(path["name"], delay)
    return {"worker": path["name"], "milliseconds": delay}


def _delay(controls: Controls, _path: Mapping[str, str], body: Json) -> Json:
    only(body, "milliseconds")
    delay = milliseconds(body)
    controls.processes.delay_replication(delay)
    return {"milliseconds": delay, "workers": list(controls.place.agents)}


# All of them change something, so all are POST.
TEST_ROUTES: tuple[tuple[str, Handler], ...] = (
    (r"/test/reset", _reset),
    (r"/test/users", _users),
    (r"/test/barrier", _barrier),
    (rf"/test/workers/(?P<name>[^/]+)/(?P<action>{'|'.join(ACTIONS)})", _act),
    (r"/test/workers/(?P<name>[^/]+)/slow", _slow),
    (r"/test/replication/delay", _delay),
)


class Application:
    """The application as WSGI has it: https://peps.python.org/pep-3333/"""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls

    def __call__(
        self, environ: Mapping[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer one request."""
        try:
            status, answer = 200, self._answer(environ)
        except Refusal as refusal:
            status, answer = refusal.status, {"error": refusal.message}
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever asked is to know
            traceback.print_exc()
            status, answer = 500, {"error": f"{type(error).__name__}: {error}"}
        content = json.dumps(answer, ensure_ascii=False).encode() + b"\n"
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
        if status == 405:
            headers.append(("Allow", "POST"))
        start_response(f"{status} {HTTPStatus(status).phrase}", headers)
        return [content]

    def _answer(self, environ: Mapping[str, Any]) -> Json:
        path = environ["PATH_INFO"]
        for pattern, handler in TEST_ROUTES:
            found = re.fullmatch(pattern, path)
            if found is None:
                continue
            if environ["REQUEST_METHOD"] != "POST":
                raise Refusal(405, f"send it with POST: curl -X POST …{path}")
            return handler(self._controls, found.groupdict(), _body(environ))
        known = ", ".join(
            re.sub(r"\(\?P<(\w+)>[^)]*\)", r"\1", pattern) for pattern, _ in TEST_ROUTES
        )
        raise Refusal(404, f"there is no {path}; there are {known}")


def _body(environ: Mapping[str, Any]) -> Json:
    """The JSON object that was sent; an empty one where nothing was."""
    # gunicorn's input ends where the body does, whether it has a length or comes in chunks.
    content = environ["wsgi.input"].read(LONGEST_BODY)
    if not content.strip():
        return {}
    try:
        body = json.loads(content)
    except ValueError as error:
        raise Refusal(400, f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refusal(400, 'the body is no JSON object; write {"name": value}')
    return body
