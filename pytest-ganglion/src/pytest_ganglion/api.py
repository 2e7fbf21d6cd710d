"""The fixture's interface: the server as a test sees it."""

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from pytest_ganglion.errors import Unreachable
from pytest_ganglion.http import TIMEOUT, call
from pytest_ganglion.server import LAST_LINES, Server, tail

Json = dict[str, Any]

# Sends a request to the named process.
PIN = "X-Ganglion-Worker"
# In seconds: a request to the controls waits so much longer than the test asked them to wait.
SLACK = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user, logged in on one device.

    Pass `user_id`, `device_id` and `access_token` to the client or bot under test.
    """

    user_id: str
    device_id: str
    access_token: str
    password: str
    ganglion: "Ganglion" = field(repr=False)

    @property
    def localpart(self) -> str:
        """The user ID without the @, up to its colon."""
        return self.user_id[1:].partition(":")[0]

    def request(self, method: str, path: str, json: object = None, *, expect: int = 200) -> Any:  # noqa: ANN401 - JSON
        """Send a request as this user, and return the JSON of the response.

        Raises Refused if the status is not `expect`.
        """
        return self.ganglion.request(method, path, json, token=self.access_token, expect=expect)

    def pinned(self, worker: str) -> Self:
        """Return the same user, with all requests pinned to one process."""
        return replace(self, ganglion=self.ganglion.pinned(worker))


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A process of the server, by its name: main, or a worker such as synchrotron1."""

    name: str
    _control: Callable[[str, Json], Any] = field(repr=False)

    def pause(self) -> None:
        """Suspend it (SIGSTOP). It no longer answers."""
        self._do("pause")

    def resume(self) -> None:
        """Continue it after pause()."""
        self._do("resume")

    def kill(self) -> None:
        """Kill it (SIGKILL), as a crash would. It starts again by itself."""
        self._do("kill")

    def restart(self) -> None:
        """Stop it in an orderly way and start it again."""
        self._do("restart")

    def slow(self, milliseconds: int) -> None:
        """Delay each of its responses; 0 ends the delay."""
        self._do("slow", {"milliseconds": milliseconds})

    def _do(self, what: str, body: Json | None = None) -> None:
        self._control(f"/test/workers/{self.name}/{what}", body or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ganglion:
    """A running homeserver, clean when the test begins.

    `url` is its base URL. `host` is the name at which it reaches this machine, for application
    services and push gateways of a test. `headers` are sent with every request of this object.
    """

    url: str
    control_url: str
    host: str
    headers: Mapping[str, str] = field(default_factory=dict)
    _server: Server = field(repr=False)
    _since: int = field(repr=False)

    @classmethod
    def of(cls, server: Server) -> Self:
        """Return a test's view of a server. Its log begins now."""
        return cls(
            url=server.url,
            control_url=server.control_url,
            host=server.host,
            _server=server,
            _since=server.mark(),
        )

    @property
    def server_name(self) -> str:
        """The domain in its user IDs."""
        return str(self.request("GET", "/_matrix/key/v2/server")["server_name"])

    def request(
        self, method: str, path: str, json: object = None, *, token: str = "", expect: int = 200
    ) -> Any:  # noqa: ANN401 - JSON
        """Send a request, and return the JSON of the response.

        Raises Refused if the status is not `expect`.
        """
        headers = dict(self.headers)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return self._call(
            lambda: call(method, f"{self.url}{path}", json, headers=headers, expect=expect)
        )

    def register(self, localpart: str, *, password: str = "") -> User:
        """Register a user as clients do, and log in."""
        password = password or secrets.token_urlsafe()
        made = self.request(
            "POST",
            "/_matrix/client/v3/register",
            {"username": localpart, "password": password, "auth": {"type": "m.login.dummy"}},
        )
        return self._user({**made, "password": password})

    def users(self, count: int, *, prefix: str = "user", admin: bool = False) -> list[User]:
        """Create `count` users in one request, each logged in; with `admin`, administrators."""
        body = {"count": count, "prefix": prefix, "admin": admin}
        return [self._user(made) for made in self._control("/test/users", body)["users"]]

    def barrier(self, timeout: float = 10.0) -> Json:
        """Wait until every process has seen everything written before, at most `timeout` seconds.

        Returns the positions they reached, by stream and writer.
        """
        found: Json = self._control("/test/barrier", {"timeout": timeout}, timeout + SLACK)
        return found["streams"]  # type: ignore[no-any-return]

    def worker(self, name: str) -> Worker:
        """Return a process, to pause, kill or slow it."""
        return Worker(name=name, _control=self._control)

    def replication_delay(self, milliseconds: int) -> None:
        """Delay replication between the processes; 0 ends the delay."""
        self._control("/test/replication/delay", {"milliseconds": milliseconds})

    def reset(self) -> float:
        """Remove all users, rooms and media, and end all pauses and delays.

        The fixture does this before each test. Returns the duration in seconds.
        """
        return float(self._control("/test/reset", {})["seconds"])

    def pinned(self, worker: str) -> Self:
        """Return the same server, with every request pinned to one process.

        Your own client can send the same headers: `pinned(…).headers`.
        """
        return replace(self, headers={**self.headers, PIN: worker})

    def logs(self) -> str:
        """Return the server's log since the test began.

        Empty for a server that the plugin did not start.
        """
        return self._server.log(self._since)

    def settled_logs(self, quiet: float = 0.2, within: float = 2.0) -> str:
        """Return the log once nothing was added for `quiet` seconds, after at most `within`.

        A process logs a response a little after sending it.
        """
        deadline = time.monotonic() + within
        seen = self._server.mark()
        while time.monotonic() < deadline:
            time.sleep(quiet)
            if seen == (seen := self._server.mark()):
                break
        return self.logs()

    def ended(self) -> str:
        """Return how the server ended; empty while it runs."""
        return self._server.ended()

    def _end(self, within: float = 1.0) -> str:
        """Return how the server ended, if it does within so many seconds.

        A connection breaks before its server has ended.
        """
        deadline = time.monotonic() + within
        while not (how := self.ended()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return how

    def _user(self, made: Mapping[str, str]) -> User:
        return User(
            user_id=made["user_id"],
            device_id=made["device_id"],
            access_token=made["access_token"],
            password=made["password"],
            ganglion=self,
        )

    def _control(self, path: str, body: Json, timeout: float = TIMEOUT) -> Any:  # noqa: ANN401 - JSON
        return self._call(lambda: call("POST", f"{self.control_url}{path}", body, timeout=timeout))

    def _call(self, ask: Callable[[], Any]) -> Any:  # noqa: ANN401 - JSON
        try:
            return ask()
        except Unreachable as error:
            if how := self._end():
                last = tail(self.logs(), LAST_LINES)
                raise Unreachable(f"{error}\n{how}; its last lines:\n{last}") from None
            raise
