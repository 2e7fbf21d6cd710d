"""Logged-in devices of users: matrix-nio's client, made strict for tests.

nio retries failed requests and hides unknown fields. Here the first failure is an error, and /sync
returns the JSON that the server sent.
"""

import asyncio
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from nio import AsyncClient, AsyncClientConfig, LoginResponse, RegisterResponse, SyncResponse

Json = dict[str, Any]
# In seconds. It detects a server that hangs, on any machine.
WITHIN = 120.0
T = TypeVar("T")

# No retries: a 429 or a broken connection must fail the test.
STRICT = AsyncClientConfig(max_limit_exceeded=0, max_timeouts=0, request_timeout=120)
CLIENT = "/_matrix/client/v3"


class Refused(AssertionError):
    """The server answered with another status than the test asked for."""

    def __init__(self, method: str, path: str, status: int, body: Json) -> None:
        super().__init__(f"{method} {path} answered {status}: {body}")
        self.status = status
        self.body = body


class Session:
    """A device that is logged in, with its position in /sync."""

    def __init__(self, nio: AsyncClient, password: str) -> None:
        self.nio = nio
        self.password = password

    @property
    def user_id(self) -> str:
        return str(self.nio.user_id)

    @property
    def device_id(self) -> str:
        return str(self.nio.device_id)

    async def call(
        self,
        method: str,
        path: str,
        body: Json | bytes | None = None,
        *,
        expect: int = 200,
        authenticated: bool = True,
    ) -> Json:
        """Send a request that nio has no method for, over nio's own connections.

        Raises Refused for any other status than `expect`.
        """
        headers = {"Content-Type": "application/json"}
        if authenticated:
            headers["Authorization"] = f"Bearer {self.nio.access_token}"
        data = json.dumps(body) if isinstance(body, dict) else body
        response = await self.nio.send(method, path, data, headers)
        async with response:
            raw = await response.read()
        try:
            answer: Json = json.loads(raw)
        except ValueError:
            answer = {"raw": raw}
        if response.status != expect:
            raise Refused(method, path, response.status, answer)
        return answer

    async def sync(self, wait: float = 0.0) -> Json:
        """Sync from the last position. `wait` is the length of the long poll in seconds."""
        response = ok(await self.nio.sync(timeout=int(wait * 1000)), SyncResponse)
        answer: Json = await response.transport_response.json()
        return answer

    async def until(self, what: str, look: Callable[[Json], T | None], within: float = WITHIN) -> T:
        """Sync until `look` finds something in a response, and return that.

        `within` is in seconds. Raises AssertionError with the last answer when it finds nothing.
        """
        deadline = time.monotonic() + within
        answer: Json = {}
        while (left := deadline - time.monotonic()) > 0:
            answer = await self.sync(wait=min(left, 5.0))
            found = look(answer)
            if found is not None:
                return found
        raise AssertionError(
            f"{self.user_id} saw no {what} in {within} s; last sync: {json.dumps(answer)[:2000]}"
        )


class Clients:
    """Sessions with one server, closed together.

    async with Clients(server.base_url) as clients:
        alice = await clients.register("alice")
    """

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.sessions: list[Session] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in self.sessions:
            await session.nio.close()

    def _new(self, password: str, user: str = "") -> Session:
        session = Session(AsyncClient(self.base_url, user, config=STRICT), password)
        self.sessions.append(session)
        return session

    async def register(self, name: str) -> Session:
        """Register NAME-SOMETHING through open registration, and stay logged in."""
        session = self._new(secrets.token_urlsafe())
        answer = await session.nio.register(unused(name), session.password)
        ok(answer, RegisterResponse)
        return session

    async def register_with_secret(
        self, name: str, shared_secret: str, *, admin: bool = False
    ) -> Session:
        """Register NAME-SOMETHING through the administrators' API, as operators' own tools do.

        https://element-hq.github.io/synapse/latest/admin_api/register_api.html
        """
        session = self._new(secrets.token_urlsafe())
        user, path = unused(name), "/_synapse/admin/v1/register"
        nonce = (await session.call("GET", path, authenticated=False))["nonce"]
        role = "admin" if admin else "notadmin"
        mac = hmac.new(
            shared_secret.encode(),
            f"{nonce}\0{user}\0{session.password}\0{role}".encode(),
            hashlib.sha1,
        )
        body = {
            "nonce": nonce,
            "username": user,
            "password": session.password,
            "admin": admin,
            "mac": mac.hexdigest(),
        }
        made = await session.call("POST", path, body, authenticated=False)
        session.nio.restore_login(made["user_id"], made["device_id"], made["access_token"])
        return session

    async def login(self, user_id: str, password: str) -> Session:
        """Log in with a password, on a new device."""
        session = self._new(password, user_id)
        ok(await session.nio.login(password), LoginResponse)
        return session

    def resume(self, user_id: str, access_token: str) -> Session:
        """Continue with the token of an earlier session."""
        session = self._new("", user_id)
        session.nio.restore_login(user_id, "resumed", access_token)
        return session


def unused(name: str) -> str:
    """Return a free user name with this prefix: tests share servers."""
    return f"{name}-{secrets.token_hex(4)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Alice, on two devices, and Bob, together in a room."""

    alice: Session
    alice_phone: Session
    bob: Session
    room_id: str


def ok(response: Any, kind: type[T]) -> T:
    """Return the response, which must be of nio's class for a success."""
    assert isinstance(response, kind), f"not a {kind.__name__}: {response}"
    return response


async def eventually(check: Callable[[], Awaitable[T]], within: float = WITHIN) -> T:
    """Repeat a check until it passes, for at most `within` seconds, and return its result.

    For data that one worker writes and another serves: replication takes a moment, and no long poll
    announces its end.
    """
    deadline = time.monotonic() + within
    while True:
        try:
            return await check()
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.1)


def timeline(room_id: str) -> tuple[str, ...]:
    """The path of a room's messages and state in a response of /sync."""
    return ("rooms", "join", room_id, "timeline")


def ephemeral(room_id: str) -> tuple[str, ...]:
    """The path of a room's typing notices and receipts."""
    return ("rooms", "join", room_id, "ephemeral")


def events(answer: Json, *path: str) -> list[Json]:
    """Return the events at a path in a response of /sync; none if the path is missing."""
    here = answer
    for name in path:
        here = here.get(name, {})
    found: list[Json] = here.get("events", [])
    return found


def event(path: tuple[str, ...], wanted: Callable[[Json], bool]) -> Callable[[Json], Json | None]:
    """Make a function that returns the first event at `path` for which `wanted` is true."""

    def look(answer: Json) -> Json | None:
        return next((e for e in events(answer, *path) if wanted(e)), None)

    return look
