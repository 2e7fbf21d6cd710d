"""A Synapse module that each Synapse process loads in test mode, and never otherwise.

It listens on a unix socket of the process, with one line of JSON each way. It does what Synapse has
no API for: report and await stream positions, delay requests and replication, create users quickly.

Synapse modules: https://element-hq.github.io/synapse/latest/modules/writing_a_module.html
"""

import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import bcrypt
from synapse.api.errors import SynapseError
from synapse.util.async_helpers import concurrently_execute
from synapse.util.duration import Duration
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineOnlyReceiver

from ganglion.in_synapse.test_agent import consistency
from ganglion.in_synapse.test_agent.delays import DelayedMessages, DelayedRequests
from ganglion.in_synapse.test_agent.positions import Positions
from ganglion.topology.names import MAIN, MAIN_AS_WRITER

LOG = logging.getLogger(__name__)

Json = dict[str, Any]
LONGEST_REQUEST = 1024 * 1024
# In seconds, between two checks of a condition. A check takes microseconds.
POLL_INTERVAL = 0.002
# How many users are created in parallel. Most of the time is the database's.
AT_ONCE = 8
# The minimum that bcrypt allows. A test's password protects nothing, and a test that creates a
# hundred users would wait for the default.
ROUNDS = 4


class Agent:
    """Runs the test controls' commands in one Synapse process."""

    def __init__(self, config: Json, api: Any) -> None:
        self._hs = api._hs
        instance = self._hs.get_instance_name()
        name = MAIN if instance == MAIN_AS_WRITER else instance
        self._name = name
        self._consistent = config.get("consistent")
        reactor = self._hs.get_reactor()
        self._requests = DelayedRequests(reactor)
        self._messages = DelayedMessages(reactor)
        # Made later: building these parts of Synapse now would ignore modules loaded after this.
        self._positions: Positions | None = None
        reactor.callLater(0, self._watch)
        self._numbers: dict[str, int] = {}
        path = config["socket"].replace("NAME", name)
        # A killed process leaves its socket behind.
        Path(path).unlink(missing_ok=True)
        factory = Factory()
        factory.noisy = False
        factory.protocol = lambda: Connection(self)
        reactor.listenUNIX(path, factory, mode=0o600)

    def _watch(self) -> None:
        positions = Positions(self._hs)
        if self._consistent is not None:
            path, processes = Path(self._consistent["table"]), self._consistent["processes"]
            consistency.install(self._hs, positions, path, processes, self._name)
        self._positions = positions

    @property
    def _streams(self) -> Positions:
        if self._positions is None:
            raise RuntimeError("the process has not finished starting")
        return self._positions

    @staticmethod
    def parse_config(config: Json) -> Json:
        """Return the module's configuration as it is. Synapse calls this."""
        return config

    async def run(self, request: Json) -> Json:
        """Run one command, and return the response."""
        return await self._verbs[request["do"]](request)

    @property
    def _verbs(self) -> Mapping[str, Callable[[Json], Awaitable[Json]]]:
        return {
            "written": self._written,
            "await": self._await,
            "announce": self._announce,
            "slow": self._slow,
            "delay": self._delay,
            "users": self._users,
            "settle": self._settle,
        }

    async def _written(self, _request: Json) -> Json:
        return {"streams": self._streams.written()}

    async def _await(self, request: Json) -> Json:
        """Wait until this process has seen the positions; return those it has not seen in time."""
        missing = self._streams.missing(request["streams"])
        # By the clock: on a busy machine a sleep takes longer than its interval.
        now = self._hs.get_reactor().seconds
        deadline = now() + float(request["seconds"])
        while missing and now() < deadline:
            await self._sleep(POLL_INTERVAL)
            missing = self._streams.missing(missing)
        return {"missing": missing}

    async def _announce(self, _request: Json) -> Json:
        self._streams.announce()
        return {}

    async def _slow(self, request: Json) -> Json:
        self._requests.set(request["milliseconds"])
        return {}

    async def _delay(self, request: Json) -> Json:
        self._messages.set(request["milliseconds"])
        return {}

    async def _settle(self, _request: Json) -> Json:
        """Wait until Synapse has finished its background updates of a new database."""
        updates = self._hs.get_datastores().main.db_pool.updates
        while not await updates.has_completed_background_updates():
            await self._sleep(0.02)
        return {}

    async def _users(self, request: Json) -> Json:
        """Create users, each with a device and its access token."""
        count, prefix = request["count"], request["prefix"]
        made: dict[int, Json] = {}

        async def make(place: int) -> None:
            made[place] = await self._user(prefix, request["password"], admin=request["admin"])

        await concurrently_execute(make, range(count), AT_ONCE)
        return {"users": sorted(made.values(), key=lambda user: int(user.pop("number")))}

    async def _user(self, prefix: str, password: str | None, *, admin: bool) -> Json:
        """Create the next user with this prefix: the lowest number whose name is free."""
        registration = self._hs.get_registration_handler()
        chosen = password or secrets.token_urlsafe(12)
        while True:
            number = self._numbers[prefix] = self._numbers.get(prefix, 0) + 1
            try:
                user_id = await registration.register_user(
                    localpart=f"{prefix}{number}",
                    password_hash=self._hashed(chosen),
                    admin=admin,
                    by_admin=True,
                    approved=True,
                )
                break
            except SynapseError as error:
                if error.errcode != "M_USER_IN_USE":
                    raise
        device_id, token, *_ = await registration.register_device(user_id, None, None)
        return {
            "number": number,
            "user_id": user_id,
            "localpart": f"{prefix}{number}",
            "device_id": device_id,
            "access_token": token,
            "password": chosen,
        }

    def _hashed(self, password: str) -> str:
        """Hash a password as Synapse's AuthHandler.hash does, with fewer rounds."""
        peppered = password + self._hs.config.auth.password_pepper
        return bcrypt.hashpw(peppered.encode(), bcrypt.gensalt(ROUNDS)).decode()

    async def _sleep(self, seconds: float) -> None:
        await self._hs.get_clock().sleep(Duration(seconds=seconds))

    def begin(self, connection: "Connection", line: bytes) -> None:
        """Run a command in the background, and respond on its connection."""
        self._hs.run_as_background_process("test_control", self._respond, connection, line)

    async def _respond(self, connection: "Connection", line: bytes) -> None:
        try:
            response = await self.run(json.loads(line))
        except SynapseError as error:
            response = {"error": error.msg, "status": error.code}
        except Exception as error:
            LOG.exception("A test control failed")
            response = {"error": f"{type(error).__name__}: {error}", "status": 500}
        connection.send(json.dumps(response).encode())


class Connection(LineOnlyReceiver):
    """One connection from the control application."""

    delimiter = b"\n"
    MAX_LENGTH = LONGEST_REQUEST

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def send(self, line: bytes) -> None:
        """Send the response; ignored if the client has disconnected."""
        transport: Any = self.transport
        transport.write(line + self.delimiter)

    def lineReceived(self, line: bytes) -> None:
        self._agent.begin(self, line)
