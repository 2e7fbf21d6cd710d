"""A server in test mode and its test controls, as a client uses them."""

import contextlib
import http.client
import json
import select
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.harness import Server
from tests.matrix import CLIENT
from tests.raw_http import Answer, raw_request

WORKER = "X-Ganglion-Worker"
AS_JSON = {"Content-Type": "application/json"}
# In milliseconds: the longest delay that the test controls accept.
LONGEST_DELAY = 60_000
# In seconds: long enough for every machine, and less than LONGEST_DELAY.
PATIENT = 50.0


class ControlledServer(Server):
    """A server in test mode."""

    def __init__(
        self,
        workers: str,
        environment: Mapping[str, str] | None = None,
        operator_file: str = "",
        *,
        fresh: bool = False,
    ) -> None:
        ours = {"GANGLION_TEST_MODE": "yes"}
        super().__init__(workers, {**ours, **(environment or {})}, operator_file, fresh=fresh)

    def ask(self, path: str, body: Any = None, method: str = "POST") -> Answer:
        """Send one request to the control port."""
        content = None if body is None else json.dumps(body).encode()
        return raw_request(self.control_port, method, path, AS_JSON, content)

    def control(self, path: str, **body: Any) -> dict[str, Any]:
        """Use a test control that must succeed. Return its answer."""
        answer = self.ask(path, body or None)
        assert answer.status == 200, answer.body
        found: dict[str, Any] = answer.json()
        return found

    def barrier(self, within: float = PATIENT) -> dict[str, Any]:
        """Wait until every process has caught up. Return the positions of all streams."""
        positions: dict[str, Any] = self.control("/test/barrier", timeout=within)["streams"]
        return positions

    def users(self, count: int, **body: Any) -> "list[User]":
        """Create users, with tokens."""
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

    server: ControlledServer
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
        """Send one request, to the process `at` if one is named. Return the answer's JSON.

        Without an `expect`ed status, return the status.
        """
        content = None if body is None else json.dumps(body).encode()
        answer = raw_request(self.server.http_port, method, path, self._headers(at), content)
        assert expect in (None, answer.status), (method, path, at, answer.status, answer.body)
        return answer.json() if expect is not None else answer.status

    def _headers(self, at: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access_token}", **({WORKER: at} if at else {})}

    @contextlib.contextmanager
    def asking(self, path: str, *, at: str) -> "Iterator[Waiting]":
        """Send a GET to a process, and do not wait for its answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.http_port, timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", path, headers=self._headers(at))
            yield Waiting(connection=connection)

    def create_room(self, **options: Any) -> str:
        return str(self.call("POST", f"{CLIENT}/createRoom", options)["room_id"])

    def send(self, room_id: str, text: str, *, at: str = "") -> str:
        path = f"{CLIENT}/rooms/{quoted(room_id)}/send/m.room.message/{text}"
        message = {"msgtype": "m.text", "body": text}
        return str(self.call("PUT", path, message, at=at)["event_id"])

    def sync(self, since: str = "", *, at: str = "") -> Any:
        """Sync without waiting for news. Parameters may follow `since`; they win over ours."""
        query = f"?since={since}&timeout=0" if since else "?timeout=0"
        return self.call("GET", f"{CLIENT}/sync{query}", at=at)

    def account_data(self, kind: str) -> str:
        return f"{CLIENT}/user/{quoted(self.user_id)}/account_data/{kind}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A request whose answer has not been read."""

    connection: http.client.HTTPConnection

    @property
    def is_answered(self) -> bool:
        """Whether an answer has begun to arrive. Does not wait for one."""
        return bool(select.select([self.connection.sock], [], [], 0)[0])

    def answer(self) -> Any:
        """Wait for the answer. Return its JSON."""
        response = self.connection.getresponse()
        body = response.read()
        assert response.status == 200, (response.status, body)
        return json.loads(body)


def quoted(text: str) -> str:
    return urllib.parse.quote(text, safe="")


def texts(answer: Any, room_id: str) -> list[str]:
    """Return the messages of a room in an answer of /sync."""
    room = answer.get("rooms", {}).get("join", {}).get(room_id, {})
    return [
        event["content"]["body"]
        for event in room.get("timeline", {}).get("events", [])
        if event["type"] == "m.room.message"
    ]
