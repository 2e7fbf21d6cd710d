"""A server in test mode, and a client of its controls."""

import json
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.harness import Server, free_port
from tests.matrix import CLIENT
from tests.raw_http import Answer, raw_request

WORKER = "X-Ganglion-Worker"


class Controlled(Server):
    """A server in test mode."""

    def __init__(
        self,
        workers: str,
        environment: Mapping[str, str] | None = None,
        operator_file: str = "",
    ) -> None:
        self.control_port = free_port()
        ours = {"GANGLION_TEST_MODE": "yes", "CONTROL_PORT": str(self.control_port)}
        super().__init__(workers, {**ours, **(environment or {})}, operator_file)

    def ask(self, path: str, body: Any = None, method: str = "POST") -> Answer:
        """Send a request to the control port."""
        content = None if body is None else json.dumps(body).encode()
        return raw_request(self.control_port, method, path, {}, content)

    def control(self, path: str, **body: Any) -> dict[str, Any]:
        """Send a request to the control port that must succeed. Returns its JSON."""
        answer = self.ask(path, body or None)
        assert answer.status == 200, answer.body
        found: dict[str, Any] = answer.json()
        return found

    def users(self, count: int, **body: Any) -> "list[User]":
        """Make users with tokens."""
        made = self.control("/test/users", count=count, **body)["users"]
        return [User(server=self, **user) for user in made]

    @property
    def names(self) -> list[str]:
        """The names of main and every worker."""
        checked = json.loads(self.ganglion("check", "--json").stdout)
        return [process["name"] for process in checked["processes"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user with a device."""

    server: Controlled
    user_id: str
    localpart: str
    device_id: str
    access_token: str
    password: str

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        at: str = "",
        expect: int | None = 200,
    ) -> Any:
        """Send a request, to the process `at` if it is given. Returns the JSON of the response."""
        headers = {"Authorization": f"Bearer {self.access_token}"}
        if at:
            headers[WORKER] = at
        content = None if body is None else json.dumps(body).encode()
        answer = raw_request(self.server.http_port, method, path, headers, content)
        assert expect in (None, answer.status), (method, path, at, answer.status, answer.body)
        return answer.json() if expect is not None else answer.status

    def create_room(self, **options: Any) -> str:
        return str(self.call("POST", f"{CLIENT}/createRoom", options)["room_id"])

    def send(self, room_id: str, text: str, *, at: str = "") -> str:
        path = f"{CLIENT}/rooms/{quoted(room_id)}/send/m.room.message/{text}"
        message = {"msgtype": "m.text", "body": text}
        return str(self.call("PUT", path, message, at=at)["event_id"])

    def sync(self, since: str = "", *, at: str = "") -> Any:
        """Sync without waiting. `since` may be followed by parameters, which take precedence."""
        query = f"?since={since}&timeout=0" if since else "?timeout=0"
        return self.call("GET", f"{CLIENT}/sync{query}", at=at)

    def account_data(self, kind: str) -> str:
        return f"{CLIENT}/user/{quoted(self.user_id)}/account_data/{kind}"


def quoted(text: str) -> str:
    return urllib.parse.quote(text, safe="")


def texts(answer: Any, room_id: str) -> list[str]:
    """Return the messages of a room in a response of /sync."""
    room = answer.get("rooms", {}).get("join", {}).get(room_id, {})
    return [
        event["content"]["body"]
        for event in room.get("timeline", {}).get("events", [])
        if event["type"] == "m.room.message"
    ]
