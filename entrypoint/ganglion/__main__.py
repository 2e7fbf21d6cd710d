"""The command line. Only here is the environment read, are errors printed and does it end."""

import argparse
import getpass
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from ganglion import __version__, environment, operator_files, topology
from ganglion.budget import share_out
from ganglion.errors import ConfigError, Problem
from ganglion.machine import TYPICAL, Machine, discover
from ganglion.render import Plan, render
from ganglion.report import as_json, table
from ganglion.secrets import Secrets, placeholders
from ganglion.settings import Settings, variables

# As argparse, bash and docker have it: what we were told is wrong, not what happened.
BAD_INPUT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Returns the exit status."""
    options = _parser().parse_args(arguments)
    verb: Callable[[argparse.Namespace], int] = options.verb
    try:
        return verb(options)
    except ConfigError as error:
        number = len(error.problems)
        print(f"ganglion: {number} problem{'s' if number > 1 else ''}\n{error}", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:
        # Whoever read our output has seen enough: `ganglion check | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ganglion", description="One Synapse homeserver, split into workers by one variable."
    )
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    def verb(
        name: str, run: Callable[[argparse.Namespace], int], text: str, *, machine: bool = False
    ) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=text, description=text)
        added.set_defaults(verb=run)
        if machine:
            added.add_argument("--json", action="store_true", help="print JSON for a program")
        return added

    verb("check", _check, "validate the environment and print the processes", machine=True)
    writing = verb("render", _render, "write every rendered file, with words for the secrets")
    writing.add_argument("--output", required=True, type=Path, metavar="DIR")
    verb("run", _run, "start the server and stay in the foreground")
    verb(
        "ready", _ready, "succeed when every process answers, else say which does not", machine=True
    )
    verb("status", _status, "print the state of every process", machine=True)
    user = verb(
        "register-user",
        _register_user,
        "make a user; the password comes from the terminal or from standard input",
    )
    user.add_argument("name", metavar="NAME")
    user.add_argument("--admin", action="store_true", help="make an administrator")
    verb("version", _version, "print the versions", machine=True)
    return parser


def _settings() -> Settings:
    return environment.from_environ(os.environ, lambda path: Path(path).read_text(encoding="utf-8"))


def _planner(machine: Machine) -> Callable[[Secrets], Plan]:
    """Everything but the secrets, worked out from the environment and the operator's files."""
    chosen = _settings()
    layout = topology.plan(chosen)
    budget = share_out(chosen, layout)
    operator = operator_files.load(chosen)

    def plan(secrets: Secrets) -> Plan:
        return Plan(
            settings=chosen,
            topology=layout,
            budget=budget,
            machine=machine,
            operator=operator,
            secrets=secrets,
        )

    return plan


def _check(options: argparse.Namespace) -> int:
    plan = _planner(TYPICAL)(placeholders())
    render(plan)
    print(as_json(plan.topology) if options.json else table(plan.topology))
    _notes(plan.topology.notes)
    return 0


def _notes(notes: Sequence[str]) -> None:
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def _render(options: argparse.Namespace) -> int:
    from ganglion.files import write_directory

    directory: Path = options.output.absolute()
    files = render(_planner(TYPICAL)(placeholders()))
    ours = not directory.exists() or (directory / "supervisord.conf").exists()
    if not ours and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigError(
            [
                Problem(
                    variable="--output",
                    value=str(options.output),
                    message="holds other things, which would be lost",
                    hint="name a new or empty directory",
                )
            ]
        )
    write_directory(directory, files, {})
    print(f"{len(files)} files written to {options.output}")
    return 0


def _run(_options: argparse.Namespace) -> int:
    # As PID 1 we would not be ended by a signal that has no handler.
    signal.signal(signal.SIGTERM, _stop)
    from ganglion import boot

    chosen = _settings()
    machine = discover(
        Path(chosen.data, "postgres"),
        postgres=chosen.embedded_postgres,
        redis=chosen.embedded_redis,
    )
    planner = _planner(machine)
    _notes(planner(placeholders()).topology.notes)
    _forget_secrets()
    return boot.start(planner, machine, lambda line: print(f"ganglion | {line}", flush=True))


def _stop(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _forget_secrets() -> None:
    """Take the secrets out of the environment, which every process would inherit."""
    for _, variable in variables():
        if variable.secret:
            for name in (*variable.names, f"{variable.name}_FILE"):
                os.environ.pop(name, None)


def _ready(options: argparse.Namespace) -> int:
    from ganglion.inspection import readiness

    chosen = _settings()
    found = readiness(chosen, topology.plan(chosen))
    waiting = [item for item in found if item.problem is not None]
    if options.json:
        print(json.dumps({item.name: item.problem for item in found}, indent=2))
    elif waiting:
        for item in waiting:
            print(f"{item.name} {item.problem}", file=sys.stderr)
    else:
        print(f"ready: {len(found)} processes answer")
    return 1 if waiting else 0


def _status(options: argparse.Namespace) -> int:
    from ganglion.inspection import status
    from ganglion.report import columns

    found = status(_settings())
    if options.json:
        print(json.dumps([asdict(item) for item in found], indent=2))
        return 0
    rows = [
        (item.name, item.state, str(item.pid or "-"), f"{item.uptime} s", item.description)
        for item in found
    ]
    print(columns(("PROCESS", "STATE", "PID", "UPTIME", "PROBLEM"), rows))
    return 0


def _register_user(options: argparse.Namespace) -> int:
    from ganglion.inspection import register_user

    chosen = _settings()
    user_id = register_user(
        chosen, topology.plan(chosen), options.name, _password(), admin=options.admin
    )
    print(f"registered {user_id}{' as an administrator' if options.admin else ''}")
    return 0


def _password() -> str:
    if not sys.stdin.isatty():
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = getpass.getpass("password: ")
        if getpass.getpass("again: ") != password:
            raise _bad_password("is not the same both times")
    if not password:
        raise _bad_password("is empty")
    return password


def _bad_password(message: str) -> ConfigError:
    return ConfigError(
        [
            Problem(
                variable="password",
                value=None,
                message=message,
                hint="type it again, or give it as one line on standard input",
            )
        ]
    )


def _version(options: argparse.Namespace) -> int:
    from importlib.metadata import version

    versions = {"ganglion": __version__, "matrix-synapse": version("matrix-synapse")}
    if options.json:
        print(json.dumps(versions))
    else:
        print("\n".join(f"{name} {number}" for name, number in versions.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
