"""`ganglion test`: what each of its verbs asks the control application for."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ganglion.cli.output import columns
from ganglion.errors import ConfigError, Problem

ACTIONS = ("pause", "resume", "kill", "restart", "slow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to the application, and how its answer is told to a person."""

    path: str
    body: dict[str, Any]
    tell: Callable[[dict[str, Any]], str]


def add(parser: argparse.ArgumentParser) -> None:
    """The verbs below `test`."""
    verbs = parser.add_subparsers(title="controls", required=True, metavar="CONTROL")

    def verb(
        name: str, call: Callable[[argparse.Namespace], Call], text: str
    ) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=text, description=text)
        added.set_defaults(call=call)
        added.add_argument("--json", action="store_true", help="print JSON for a program")
        return added

    verb("reset", _reset, "put a clean homeserver in the place of this one")
    users = verb("users", _users, "make users, and print their tokens")
    users.add_argument("count", type=int, metavar="N")
    users.add_argument("--prefix", default="user", help="before their numbers (user)")
    users.add_argument("--password", help="of all of them; each has one of its own otherwise")
    users.add_argument("--admin", action="store_true", help="make administrators")
    waiting = verb("barrier", _barrier, "wait until every process has caught up with all others")
    waiting.add_argument("--timeout", type=float, default=10.0, metavar="SECONDS")
    worker = verb("worker", _worker, "pause, resume, kill, restart or slow one process")
    worker.add_argument("name", metavar="NAME")
    worker.add_argument("action", choices=ACTIONS)
    worker.add_argument(
        "milliseconds", type=int, nargs="?", metavar="MS", help="of slow: 0 ends it"
    )
    delay = verb("replication-delay", _delay, "have all processes hear of each other later")
    delay.add_argument("milliseconds", type=int, metavar="MS", help="0 ends it")


def _reset(_options: argparse.Namespace) -> Call:
    return Call(
        path="/test/reset",
        body={},
        tell=lambda answer: f"reset in {answer['seconds']:.2f} s",
    )


def _users(options: argparse.Namespace) -> Call:
    body = {"count": options.count, "prefix": options.prefix, "admin": options.admin}
    if options.password is not None:
        body["password"] = options.password

    def tell(answer: dict[str, Any]) -> str:
        names = ("user_id", "device_id", "access_token", "password")
        rows = [[user[name] for name in names] for user in answer["users"]]
        return columns(("USER", "DEVICE", "TOKEN", "PASSWORD"), rows)

    return Call(path="/test/users", body=body, tell=tell)


def _barrier(options: argparse.Namespace) -> Call:
    return Call(
        path="/test/barrier",
        body={"timeout": options.timeout},
        tell=lambda answer: f"every process has seen everything after {answer['seconds']:.3f} s",
    )


def _worker(options: argparse.Namespace) -> Call:
    slow = options.action == "slow"
    if slow != (options.milliseconds is not None):
        raise ConfigError(
            [
                Problem(
                    variable="MS",
                    value=None if slow else str(options.milliseconds),
                    message="is missing" if slow else f"means nothing to {options.action}",
                    hint=f"ganglion test worker {options.name} {options.action}"
                    f"{' 200' if slow else ''}",
                )
            ]
        )
    return Call(
        path=f"/test/workers/{options.name}/{options.action}",
        body={"milliseconds": options.milliseconds} if slow else {},
        tell=lambda answer: f"{answer['worker']}: {options.action}",
    )


def _delay(options: argparse.Namespace) -> Call:
    return Call(
        path="/test/replication/delay",
        body={"milliseconds": options.milliseconds},
        tell=lambda answer: f"replication is delayed by {answer['milliseconds']} ms",
    )
