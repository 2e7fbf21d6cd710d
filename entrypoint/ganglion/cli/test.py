"""Control a server in test mode.

Each control sends one request to the control application of a server that runs
with GANGLION_TEST_MODE=yes. docs/testing.md describes them.

Example:

    ganglion test users 3 --json
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ganglion.cli.output import columns, print_json
from ganglion.cli.verb import Verb, add_json
from ganglion.control.client import call_control
from ganglion.errors import ConfigError, Problem
from ganglion.plan import read_settings

ACTIONS = ("pause", "resume", "kill", "restart", "slow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to the control application. `as_text` formats the response for a person."""

    path: str
    body: dict[str, Any]
    as_text: Callable[[dict[str, Any]], str]


def options(parser: ArgumentParser) -> None:
    controls = parser.add_subparsers(title="controls", required=True, metavar="CONTROL")

    def control(name: str, call: Callable[[Namespace], Call], text: str) -> ArgumentParser:
        added = controls.add_parser(name, help=text, description=f"{text.capitalize()}.")
        added.set_defaults(call=call)
        add_json(added)
        return added

    control("reset", _reset, "replace the homeserver's data with a clean database")
    users = control("users", _users, "register users and print their access tokens")
    users.add_argument("count", type=int, metavar="N", help="how many")
    users.add_argument(
        "--prefix", default="user", help="their names before the number (default: %(default)s)"
    )
    users.add_argument("--password", help="one password for all (default: a random one for each)")
    users.add_argument("--admin", action="store_true", help="make them administrators")
    barrier = control("barrier", _barrier, "wait until every process has seen all earlier writes")
    barrier.add_argument(
        "--timeout",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="fail after this time (default: %(default)g)",
    )
    worker = control("worker", _worker, "pause, resume, kill, restart or slow one process")
    worker.add_argument("name", metavar="NAME", help="main, or a worker that `check` lists")
    worker.add_argument("action", choices=ACTIONS, help="done to the process")
    worker.add_argument(
        "milliseconds", type=int, nargs="?", metavar="MS", help="only for slow; 0 ends it"
    )
    delay = control("replication-delay", _delay, "delay replication between all processes")
    delay.add_argument("milliseconds", type=int, metavar="MS", help="0 ends it")


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    call: Call = options.call(options)
    answer = call_control(read_settings(environ), call.path, call.body)
    if options.json:
        print_json(answer)
    else:
        print(call.as_text(answer))
    return 0


def _reset(_options: Namespace) -> Call:
    return Call(
        path="/test/reset",
        body={},
        as_text=lambda answer: f"reset in {answer['seconds']:.2f} s",
    )


def _users(options: Namespace) -> Call:
    body = {"count": options.count, "prefix": options.prefix, "admin": options.admin}
    if options.password is not None:
        body["password"] = options.password

    def as_text(answer: dict[str, Any]) -> str:
        names = ("user_id", "device_id", "access_token", "password")
        rows = [[user[name] for name in names] for user in answer["users"]]
        return columns(("USER", "DEVICE", "TOKEN", "PASSWORD"), rows)

    return Call(path="/test/users", body=body, as_text=as_text)


def _barrier(options: Namespace) -> Call:
    return Call(
        path="/test/barrier",
        body={"timeout": options.timeout},
        as_text=lambda answer: f"all processes caught up after {answer['seconds']:.3f} s",
    )


def _worker(options: Namespace) -> Call:
    slow = options.action == "slow"
    if slow != (options.milliseconds is not None):
        raise ConfigError(
            [
                Problem(
                    variable="MS",
                    value=None if slow else str(options.milliseconds),
                    message="is missing" if slow else f"does not apply to {options.action}",
                    hint=f"type `ganglion test worker {options.name} {options.action}"
                    f"{' 200' if slow else ''}`",
                )
            ]
        )
    return Call(
        path=f"/test/workers/{options.name}/{options.action}",
        body={"milliseconds": options.milliseconds} if slow else {},
        as_text=lambda answer: f"{answer['worker']}: {options.action}",
    )


def _delay(options: Namespace) -> Call:
    return Call(
        path="/test/replication/delay",
        body={"milliseconds": options.milliseconds},
        as_text=lambda answer: f"replication is delayed by {answer['milliseconds']} ms",
    )


VERB = Verb(name="test", manual=__doc__, run=run, options=options)
