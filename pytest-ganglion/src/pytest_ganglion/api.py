"""What a test is given: the server as far as a test has to do with it."""

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from pytest_ganglion.errors import Unreachable
from pytest_ganglion.http import TIMEOUT, call
from pytest_ganglion.server import LAST_LINES, Server, tail

Json = dict[str, Any]

# With this header a request goes to the process that it names.
PIN = "X-Ganglion-Worker"
# In seconds, between what a test's own wait and the one of our connection to the controls are.
SLACK = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user who is logged in on one device.

    Give `user_id`, `device_id` and `access_token` to the client or the bot that is tested.
    """

    user_id: str
    device_id: str
    access_token: str
    password: str
    ganglion: "Ganglion" = field(repr=False)

    @property
    def localpart(self) -> str:
        """The user ID up to its colon, without the @."""
        return self.user_id[1:].partition(":")[0]

    def request(self, method: str, path: str, json: object = None, *, expect: int = 200) -> Any:  # noqa: ANN401 - JSON
        """Send a request as this user; the answer's JSON. Raises Refused for another status than
        `expect`.
        """
        return self.ganglion.request(method, path, json, token=self.access_token, expect=expect)

    def pinned(self, worker: str) -> Self:
        """The same user, all of whose requests go to one process."""
        return replace(self, ganglion=self.ganglion.pinned(worker))


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One process of the server's, by its name: main, or a worker's such as synchrotron1."""

    name: str
    _control: Callable[[str, Json], Any] = field(repr=False)

    def pause(self) -> None:
        """Stop it where it is, as if the machine were busy; it answers nothing any more."""
        self._do("pause")

    def resume(self) -> None:
        """Let it go on."""
        self._do("resume")

    def kill(self) -> None:
        """End it at once, as a crash does. It is started again by itself."""
        self._do("kill")

    def restart(self) -> None:
        """Stop it in order and start it again."""
        self._do("restart")

    def slow(self, milliseconds: int) -> None:
        """Have each of its answers take so much longer; 0 ends that."""
        self._do("slow", {"milliseconds": milliseconds})

    def _do(self, what: str, body: Json | None = None) -> None:
        self._control(f"/test/workers/{self.name}/{what}", body or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ganglion:
    """A running homeserver, clean when the test begins.

    `url` is its base URL. `host` is the name at which it reaches this machine, where a test runs an
    application service or a push gateway. `headers` go with every request of ours.
    """

    url: str
    control_url: str
    host: str
    headers: Mapping[str, str] = field(default_factory=dict)
    _server: Server = field(repr=False)
    _since: int = field(repr=False)

    @classmethod
    def of(cls, server: Server) -> Self:
        """A test's view of a server, whose log begins now."""
        return cls(
            url=server.url,
            control_url=server.control_url,
            host=server.host,
            _server=server,
            _since=server.mark(),
        )

    @property
    def server_name(self) -> str:
        """The domain of its users' IDs."""
        return str(self.request("GET", "/_matrix/key/v2/server")["server_name"])

    def request(
        self, method: str, path: str, json: object = None, *, token: str = "", expect: int = 200
    ) -> Any:  # noqa: ANN401 - JSON
        """Send a request; the answer's JSON. Raises Refused for another status than `expect`."""
        headers = dict(self.headers)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return self._call(
            lambda: call(method, f"{self.url}{path}", json, headers=headers, expect=expect)
        )

    def register(self, localpart: str, *, password: str = "") -> User:
        """Register a user of that name, as clients do, and log in."""
        password = password or secrets.token_urlsafe()
        made = self.request(
            "POST",
            "/_matrix/client/v3/register",
            {"username": localpart, "password": password, "auth": {"type": "m.login.dummy"}},
        )
        return self._user({**made, "password": password})

    def users(self, count: int, *, prefix: str = "user", admin: bool = False) -> list[User]:
        """Make that many users in one go, each logged in; administrators if that is asked for."""
        body = {"count": count, "prefix": prefix, "admin": admin}
        return [self._user(made) for made in self._control("/test/users", body)["users"]]

    def barrier(self, timeout: float = 10.0) -> Json:
        """Wait until every process has seen all that was written before; the positions that they
        reached, by stream and writer.
        """
        found: Json = self._control("/test/barrier", {"timeout": timeout}, timeout + SLACK)
        return found["streams"]  # type: ignore[no-any-return]

    def worker(self, name: str) -> Worker:
        """A process, to hurt it."""
        return Worker(name=name, _control=self._control)

    def replication_delay(self, milliseconds: int) -> None:
        """Have every process take in what the others write so much later; 0 ends that."""
        self._control("/test/replication/delay", {"milliseconds": milliseconds})

    def reset(self) -> float:
        """Make it clean: no users, rooms, media; no pauses, slowness, delays. How many seconds that
        took. Before each test it is done already.
        """
        return float(self._control("/test/reset", {})["seconds"])

    def pinned(self, worker: str) -> Self:
        """The same server, with every request of ours to one process.

        A client of your own does so with the headers that this has: `pinned(…).headers`.
        """
        return replace(self, headers={**self.headers, PIN: worker})

    def logs(self) -> str:
        """What the server has logged since the test began; empty where the server is not ours."""
        return self._server.log(self._since)

    def settled_logs(self, quiet: float = 0.2, within: float = 2.0) -> str:
        """The same, when nothing has been added for a moment: what a process says of an answer
        comes a little after it. Both in seconds.
        """
        deadline = time.monotonic() + within
        seen = self._server.mark()
        while time.monotonic() < deadline:
            time.sleep(quiet)
            if seen == (seen := self._server.mark()):
                break
        return self.logs()

    def ended(self) -> str:
        """How the server ended; empty while it runs."""
        return self._server.ended()

    def _end(self, within: float = 1.0) -> str:
        """How the server ended, if it does within so many seconds: what served us ends first."""
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
