"""Restart processes of Synapse, one after the other.

Names main, workers, or --all. Each is ready again before the next is ended,
and main comes last. Its successor starts first and waits until it has ended;
if there is none, it goes on. Requests wait meanwhile; long polls end early
and empty.
Synapse must accept its configuration first, or nothing is restarted. A
process that does not start with it, because a module fails, gets the one that
it had before. nginx reads its files again on SIGHUP.

Exit status: 0 if all were restarted, 1 if one did not get ready (the rest is
left alone), 2 for wrong names. In JSON, each process has its seconds.
"""

import configparser
import contextlib
import fcntl
import os
import shlex
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ganglion.cli.output import print_json
from ganglion.cli.verb import Verb
from ganglion.control.refusal import Refusal
from ganglion.control.status import status
from ganglion.control.test.json_lines import ask
from ganglion.errors import ConfigError, Problem
from ganglion.machine import children
from ganglion.plan import read_settings, running_topology
from ganglion.programs import registry
from ganglion.settings.variables import Settings
from ganglion.supervisor import command_socket
from ganglion.supervisor.fork.synapse_command import config_files
from ganglion.topology.names import MAIN

# In seconds: how long a process may take to end and get ready again.
WITHIN = 300.0
# Lines of Synapse's message about its configuration.
SHOWN = 5
# `python -m synapse.config`, which also finds the operator's modules, behind all other packages.
READ = (
    "import runpy, sys; sys.path.append(sys.argv.pop(1));"
    " runpy.run_module('synapse.config', run_name='__main__', alter_sys=True)"
)


def options(parser: ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="main or a worker")
    parser.add_argument("--all", action="store_true", help="every process of Synapse")


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    settings = read_settings(environ)
    known = [process.name for process in running_topology(settings).here]
    # It says so if no server runs.
    status(settings)
    names = chosen(options.names, known, every=options.all)
    with alone(settings):
        refusal = "" if _is_unchanged(settings) else _refused_configuration(settings)
        if refusal:
            print(
                f"nothing was restarted: Synapse rejects its configuration: {refusal}",
                file=sys.stderr,
            )
            return 1
        return _restart(settings, names, as_json=options.json)


def chosen(names: Sequence[str], known: Sequence[str], *, every: bool) -> list[str]:
    """Return the processes to restart, in order, main last. Raises ConfigError."""
    problems = [
        Problem(
            variable="NAME",
            value=name,
            message="is not a process of Synapse here",
            hint=f"use one of {', '.join(known)}",
        )
        for name in dict.fromkeys(names)
        if name not in known
    ]
    if every == bool(names):
        problems.append(
            Problem(
                variable="NAME",
                value=None,
                message="and --all exclude each other" if every else "is missing",
                hint="name processes, or use --all",
            )
        )
    if problems:
        raise ConfigError(problems)
    wanted = [name for name in known if every or name in names]
    return sorted(wanted, key=lambda name: name == MAIN)


@contextlib.contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Keep other restarts out. Raises ConfigError while one is at work."""
    path = settings.paths.restart_lock
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _problem(path, f"cannot be opened: {error.strerror}", "run this as root") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise _problem(
            path, "is held by another restart or apply", "wait until it has ended"
        ) from error
    try:
        yield
    finally:
        os.close(descriptor)


def _problem(path: str, message: str, hint: str) -> ConfigError:
    return ConfigError([Problem(variable="restart", value=path, message=message, hint=hint)])


def _is_unchanged(settings: Settings) -> bool:
    """Return whether Synapse has accepted this very configuration: to read it takes a second."""
    request = {"do": "compare", "names": [MAIN]}
    try:
        ask(command_socket.path(settings), "the supervisor", request, WITHIN)
    except Refusal:
        return False
    return True


def _refused_configuration(settings: Settings) -> str:
    """Have Synapse read main's configuration, with its own rights. Returns what it rejects."""
    parser = configparser.RawConfigParser()
    parser.read(settings.paths.supervisord_conf, encoding="utf-8")
    section = parser[f"program:{MAIN}"]
    words = shlex.split(section["command"].replace("%%", "%"))
    files = [word for path in config_files(words) for word in ("--config-path", path)]
    command = [
        words[0],
        "-P",
        "-c",
        READ,
        settings.paths.modules,
        "read",
        "server.server_name",
        *files,
    ]
    found = children.run(
        command,
        # Modules of others run in it, so never with the rights of root.
        account=registry.account_here("synapse", settings),
        cwd=Path(settings.paths.run),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if found.returncode == 0:
        return ""
    return " / ".join((found.stderr or found.stdout).strip().splitlines()[-SHOWN:])


def _restart(settings: Settings, names: Sequence[str], *, as_json: bool) -> int:
    took: dict[str, float] = {}
    problem = ""
    for number, name in enumerate(names, start=1):
        began = time.monotonic()
        request = {"do": "restart", "names": [name]}
        try:
            ask(command_socket.path(settings), "the supervisor", request, WITHIN)
        except Refusal as refusal:
            problem = str(refusal)
            break
        took[name] = round(time.monotonic() - began, 2)
        if not as_json:
            print(f"{name} is ready again after {took[name]:.2f} s ({number} of {len(names)})")
    if as_json:
        print_json({"restarted": took, "problem": problem or None})
    if problem:
        left = names[len(took) + 1 :]
        rest = f"; {', '.join(left)} left alone" if left else ""
        print(f"{problem}{rest}", file=sys.stderr)
    return 1 if problem else 0


VERB = Verb(name="restart", manual=__doc__, run=run, options=options, json=True)
