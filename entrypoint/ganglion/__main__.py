"""The command line. Only here is the environment read, are errors printed and does it end."""

import os
import sys

from ganglion.machine import jemalloc

if __name__ == "__main__" and sys.argv[1:2] == ["run"]:
    # First of all: what is imported before it would be imported twice.
    jemalloc.ensure(os.environ)

import argparse
import json
import signal
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NoReturn, TypeVar

from ganglion import __version__
from ganglion.cli import output
from ganglion.cli import test as controls
from ganglion.errors import ConfigError, Problem
from ganglion.files.listing import holds_nothing_else, listing
from ganglion.machine import installed
from ganglion.machine.installed import discover
from ganglion.plan import assemble, read_settings, render, running_topology
from ganglion.programs import registry
from ganglion.programs.program import Plan
from ganglion.programs.registry import share_out
from ganglion.routing import table
from ganglion.settings import environment, existing_database, parsers, test_mode
from ganglion.settings.variables import Settings, variables

T = TypeVar("T")

# As argparse, bash and docker have it: what we were told is wrong, not what happened.
BAD_INPUT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Returns the exit status."""
    parser = _parser()
    options, unknown = parser.parse_known_args(arguments)
    verb: Callable[[argparse.Namespace], int] = options.verb
    if unknown and verb is not _run:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        if unknown:
            raise ConfigError([_no_arguments(unknown)])  # noqa: TRY301
        status = verb(options)
        sys.stdout.flush()
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
    return status


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
    asking = verb("explain", _explain, "say where a request goes, and why", machine=True)
    asking.add_argument("method", metavar="METHOD")
    asking.add_argument("path", metavar="PATH", help="as a client sends it, with the query")
    asking.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'")
    asking.add_argument("--from", dest="address", default="192.0.2.1", metavar="ADDRESS")
    planning = verb(
        "budget", _budget, "print who gets how much memory and what else, and why", machine=True
    )
    planning.add_argument("--memory", metavar="SIZE", help="as if there were so much: 4G")
    planning.add_argument("--cpus", metavar="N", help="as if there were so many processors")
    planning.add_argument(
        "--explain", action="store_true", help="and the layouts that WORKERS=auto picks from"
    )
    verb("routes", _routes, "print every route of this topology", machine=True)
    writing = verb("render", _render, "write every rendered file, with words for the secrets")
    writing.add_argument("--output", required=True, type=Path, metavar="DIR")
    verb("run", _run, "start the server and stay in the foreground")
    verb("generate", _generate, "write a homeserver.yaml out of the variables, where there is none")
    verb("migrate_config", _generate, "the same, as Synapse's own image calls it")
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
    controls.add(verb("test", _test, "control a server that is in test mode"))
    verb("version", _version, "print the versions", machine=True)
    return parser


def _text_of(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


def _check(options: argparse.Namespace) -> int:
    plan = assemble(os.environ)
    render(plan)
    print(output.as_json(plan.topology) if options.json else output.table(plan.topology))
    _notes([*test_mode.says(plan.settings), *_all_notes(plan)])
    return 0


def _all_notes(plan: Plan) -> list[str]:
    """What is to be known of a plan that is right."""
    return [
        *plan.topology.notes,
        *environment.notes(os.environ, plan.settings),
        *existing_database.notes(plan.settings, plan.operator),
    ]


def _notes(notes: Sequence[str]) -> None:
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def _explain(options: argparse.Namespace) -> int:
    from ganglion.routing.explain import as_text, explain, header

    plan = assemble(os.environ)
    headers = dict(header(text) for text in options.header)
    found = explain(
        options.method.upper(),
        options.path,
        headers,
        options.address,
        plan.topology,
        plan.routes,
        test_mode=plan.settings.test_mode,
    )
    print(json.dumps(asdict(found), indent=2) if options.json else as_text(found))
    return 0


def _budget(options: argparse.Namespace) -> int:
    from ganglion.budget import report as ledger

    def as_if(settings: Settings) -> Settings:
        memory = _option("--memory", options.memory, parsers.size, settings.memory)
        cpus = _option("--cpus", options.cpus, parsers.processors, settings.cpus)
        return replace(settings, memory=memory, cpus=cpus)

    plan = assemble(os.environ, as_if)
    rows = ledger.ledger(plan.settings, plan.topology, plan.budget, registry.rows(plan))
    if options.json:
        print(
            ledger.as_json(
                plan.budget, rows, registry.amounts(plan), plan.topology, explain=options.explain
            )
        )
    else:
        print(ledger.table(plan.budget, rows))
    if options.explain and not options.json:
        print(f"\n{ledger.layouts(plan.budget)}")
    _notes(plan.topology.notes)
    theirs = [name for name in ("caches", "event_cache_size") if name in plan.operator.options]
    _notes([f"your own files set {name}, which counts instead" for name in theirs])
    return 0


def _option(name: str, text: str | None, parser: Callable[[str], T], default: T) -> T:
    """The value of an option, or its default. Raises ConfigError."""
    if text is None:
        return default
    try:
        return parser(text)
    except parsers.Invalid as invalid:
        problem = Problem(variable=name, value=text, message=invalid.message, hint=invalid.hint)
        raise ConfigError([problem]) from invalid


def _routes(options: argparse.Namespace) -> int:
    plan = assemble(os.environ)
    choices = table.table(plan.topology, plan.routes.routes)
    print(output.routes_as_json(choices) if options.json else output.routes(choices))
    return 0


def _render(options: argparse.Namespace) -> int:
    from ganglion.files.write import write_directory

    directory: Path = options.output.resolve()
    files = render(assemble(os.environ))
    problem = ""
    try:
        if holds_nothing_else(directory):
            write_directory(directory, (*files, listing(files)), {})
        else:
            problem = "holds other things, which would be lost"
    except OSError as error:
        problem = f"cannot be written: {error.strerror}"
    if problem:
        raise ConfigError(
            [
                Problem(
                    variable="--output",
                    value=str(options.output),
                    message=problem,
                    hint="name a new or empty directory",
                )
            ]
        )
    print(f"{len(files)} files written to {options.output}")
    return 0


def _generate(_options: argparse.Namespace) -> int:
    from ganglion.data.homeserver_yaml import generate

    chosen = environment.from_environ(os.environ, _text_of, os.path.exists)
    as_root = os.geteuid() == 0
    found = installed.accounts(registry.ACCOUNTS, chosen.uid, chosen.gid) if as_root else ()
    generate(chosen, dict(found).get("synapse"), print)
    print("Edit it as you like, and start with `run`: docs/drop-in.md tells what counts.")
    return 0


def _run(_options: argparse.Namespace) -> int:
    # As PID 1 we would not be ended by a signal that has no handler.
    signal.signal(signal.SIGTERM, _stop)
    from setproctitle import setproctitle

    # First, because it needs the environment where the kernel put it; children have their own.
    setproctitle("ganglion: supervisor")
    from ganglion import boot
    from ganglion.supervisor.start_times import Timeline

    timeline = Timeline()
    timeline.mark("python")
    plan = assemble(os.environ)
    found = discover(
        Path(plan.settings.paths.postgres),
        registry.requirements(plan.settings),
        registry.accounts(plan.settings),
        postgres=plan.settings.embedded_postgres,
        user=plan.settings.uid,
        group=plan.settings.gid,
    )
    _notes(_all_notes(plan))
    _clean_environment(plan.settings)
    plan = replace(plan, machine=found, budget=share_out(plan.settings, plan.topology, found))
    for line in test_mode.says(plan.settings):
        _say(line)
    timeline.mark("plan")
    return boot.start(plan, _say, timeline)


def _say(line: str) -> None:
    print(f"ganglion | {line}", flush=True)


def _no_arguments(arguments: Sequence[str]) -> Problem:
    return Problem(
        variable="run",
        value=" ".join(arguments),
        message="gives arguments to one process of Synapse's, and here are several",
        hint="set WORKERS for -m, and SYNAPSE_CONFIG_PATH for --config-path; see docs/drop-in.md",
    )


def _stop(_number: int, _frame: object) -> NoReturn:
    # Told to stop before anything ran, which is no failure: docker stop expects 0.
    raise SystemExit(0)


def _clean_environment(chosen: Settings) -> None:
    """Take out of the environment what processes are not to inherit: the secrets, and a variable
    that Synapse takes for a yes whatever it says; ours is rendered. Put in the proxies, which may
    have a password and so stand in no file.
    """
    for _, variable in variables():
        if variable.secret:
            for name in (*variable.names, f"{variable.name}_FILE"):
                os.environ.pop(name, None)
    os.environ.pop("SYNAPSE_ASYNC_IO_REACTOR", None)
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        value: str | None = getattr(chosen, name)
        if value is not None:
            os.environ[name] = value


def _ready(options: argparse.Namespace) -> int:
    from ganglion.control.inspection import readiness

    chosen = read_settings(os.environ)
    found = readiness(chosen, running_topology(chosen))
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
    from ganglion.control.inspection import status

    found = status(read_settings(os.environ))
    if options.json:
        print(json.dumps([asdict(item) for item in found], indent=2))
        return 0
    rows = [
        (item.name, item.state, str(item.pid or "-"), f"{item.uptime} s", item.description)
        for item in found
    ]
    print(output.columns(("PROCESS", "STATE", "PID", "UPTIME", "PROBLEM"), rows))
    return 0


def _register_user(options: argparse.Namespace) -> int:
    from ganglion.cli.password_prompt import ask
    from ganglion.control.inspection import register_user

    chosen = read_settings(os.environ)
    user_id = register_user(
        chosen, running_topology(chosen), options.name, ask(sys.stdin), admin=options.admin
    )
    print(f"registered {user_id}{' as an administrator' if options.admin else ''}")
    return 0


def _test(options: argparse.Namespace) -> int:
    from ganglion.control.client import ask

    call: controls.Call = options.call(options)
    answer = ask(read_settings(os.environ), call)
    print(json.dumps(answer, indent=2) if options.json else call.tell(answer))
    return 0


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
