"""A module of Synapse's, loaded by each of its processes in test mode and in no other.

It answers on a unix socket of the process, one line of JSON each way, and does what no API of
Synapse's offers: tell the positions of streams, wait for them, and be slow. Synapse's modules:
https://element-hq.github.io/synapse/latest/modules/writing_a_module.html
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

from ganglion.in_synapse.test_agent.delays import DelayedMessages, DelayedRequests
from ganglion.in_synapse.test_agent.positions import Positions
from ganglion.topology.topology import MAIN, MAIN_AS_WRITER

LOG = logging.getLogger(__name__)

Json = dict[str, Any]
LONGEST_REQUEST = 1024 * 1024
# In seconds, between two looks at whether something has come about. A look takes microseconds.
BETWEEN_LOOKS = 0.002
# Users that are made at once: writing to the database is most of it.
AT_ONCE = 8
# The fewest rounds that bcrypt has. A password of a test has nothing to protect, and a test that
# makes a hundred users would wait for it.
ROUNDS = 4


class Agent:
    """What the controls for tests speak to in a process."""

    def __init__(self, config: Mapping[str, str], api: Any) -> None:
        self._hs = api._hs
        instance = self._hs.get_instance_name()
        name = MAIN if instance == MAIN_AS_WRITER else instance
        reactor = self._hs.get_reactor()
        self._requests = DelayedRequests(reactor)
        self._messages = DelayedMessages(reactor)
        # Not before everything is there that other modules have a say in.
        self._positions: Positions | None = None
        reactor.callLater(0, self._watch)
        self._numbers: dict[str, int] = {}
        path = config["socket"].replace("NAME", name)
        # A process that was killed leaves it behind.
        Path(path).unlink(missing_ok=True)
        factory = Factory()
        factory.noisy = False
        factory.protocol = lambda: Conversation(self)
        reactor.listenUNIX(path, factory, mode=0o600)

    def _watch(self) -> None:
        self._positions = Positions(self._hs)

    @property
    def _streams(self) -> Positions:
        if self._positions is None:
            raise RuntimeError("asked before anything is there")
        return self._positions

    @staticmethod
    def parse_config(config: Json) -> Json:
        """Called by Synapse with what stands under `config`."""
        return config

    async def answer(self, request: Json) -> Json:
        """Do what is asked for."""
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
        """Wait until this process has seen what is named; what it has not seen in time."""
        missing = self._streams.missing(request["streams"])
        left = float(request["seconds"])
        while missing and left > 0:
            await self._sleep(BETWEEN_LOOKS)
            left -= BETWEEN_LOOKS
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
        """Wait until everything is done that Synapse does to a new database in the background."""
        updates = self._hs.get_datastores().main.db_pool.updates
        while not await updates.has_completed_background_updates():
            await self._sleep(0.02)
        return {}

    async def _users(self, request: Json) -> Json:
        """Make users, each with a device and its token."""
        count, prefix = request["count"], request["prefix"]
        made: dict[int, Json] = {}

        async def make(place: int) -> None:
            made[place] = await self._user(prefix, request["password"], admin=request["admin"])

        await concurrently_execute(make, range(count), AT_ONCE)
        return {"users": sorted(made.values(), key=lambda user: int(user.pop("number")))}

    async def _user(self, prefix: str, password: str | None, *, admin: bool) -> Json:
        """Make the next user of a prefix: the lowest number whose name is free."""
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
        """As AuthHandler.hash of Synapse's does it, but for the rounds."""
        peppered = password + self._hs.config.auth.password_pepper
        return bcrypt.hashpw(peppered.encode(), bcrypt.gensalt(ROUNDS)).decode()

    async def _sleep(self, seconds: float) -> None:
        await self._hs.get_clock().sleep(Duration(seconds=seconds))

    def begin(self, conversation: "Conversation", line: bytes) -> None:
        """Answer a request in the background."""
        self._hs.run_as_background_process("test_control", self._reply, conversation, line)

    async def _reply(self, conversation: "Conversation", line: bytes) -> None:
        try:
            answer = await self.answer(json.loads(line))
        except SynapseError as error:
            answer = {"error": error.msg, "status": error.code}
        except Exception as error:
            LOG.exception("a control for tests failed")
            answer = {"error": f"{type(error).__name__}: {error}", "status": 500}
        conversation.reply(json.dumps(answer).encode())


class Conversation(LineOnlyReceiver):
    """One connection of the control application's."""

    delimiter = b"\n"
    MAX_LENGTH = LONGEST_REQUEST

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def reply(self, line: bytes) -> None:
        """Send an answer; nowhere, where whoever asked has gone."""
        transport: Any = self.transport
        transport.write(line + self.delimiter)

    def lineReceived(self, line: bytes) -> None:
        self._agent.begin(self, line)
