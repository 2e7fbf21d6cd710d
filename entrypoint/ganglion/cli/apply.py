"""Change the running server to another value of WORKERS.

Carries out the steps that `ganglion plan` shows. Processes that do not change
are not touched. If a step fails, the layout before comes back. The new value
outlives a restart until the variable WORKERS changes; --reset goes back to the
variable. The supervisor does the work: it goes on if this command is stopped.

Exit status: 0 if the layout was changed, 1 if a step failed and the layout
before is back, 2 for a value that does not work, and while another change or
restart is at work.
"""

import contextlib
import re
import shutil
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from ganglion.changes import words
from ganglion.changes.layout import Layout, Views, layout
from ganglion.changes.steps import Changes, between
from ganglion.cli import restart
from ganglion.cli.output import print_json, print_notes
from ganglion.cli.plan import as_running
from ganglion.cli.run import this_machine
from ganglion.cli.verb import Verb
from ganglion.control.client import not_running
from ganglion.control.refusal import Refusal
from ganglion.control.status import status
from ganglion.control.test.json_lines import ask
from ganglion.data import applied_workers
from ganglion.data.applied_workers import Applied
from ganglion.data.paths import Paths
from ganglion.data.secrets import keep_secrets
from ganglion.data.usable_files import usable
from ganglion.errors import ConfigError, Problem
from ganglion.files.disk import flush_entry
from ganglion.files.write import write_directory
from ganglion.plan import (
    assemble,
    read_settings,
    read_variables,
    render,
    running_workers,
    with_workers,
)
from ganglion.programs import nginx, nginx_trial, supervisord_conf
from ganglion.programs.program import Plan
from ganglion.programs.registry import share_out
from ganglion.settings.variables import Settings
from ganglion.supervisor import command_socket

# In seconds: longer than all time limits of the steps together.
WITHIN = 900.0
ELSEWHERE = Problem(
    variable="GANGLION_ONLY",
    value=None,
    message="excludes `ganglion apply`: other containers would keep the lists of before",
    hint="change WORKERS in all containers, as docs/several-machines.md says",
)


def options(parser: ArgumentParser) -> None:
    parser.add_argument("workers", nargs="?", metavar="WORKERS", help="the new value of WORKERS")
    parser.add_argument("--reset", action="store_true", help="go back to the variable WORKERS")


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    variables = read_variables(environ)
    if variables.partial:
        raise ConfigError([ELSEWHERE])
    new = assemble(environ, _chosen(options, variables))
    render(new)
    settings = read_settings(environ)
    # It says so if no server runs.
    status(settings)
    running = running_workers(settings)
    if running is None:
        raise not_running(settings, f"{settings.paths.workers} is missing")
    with restart.alone(settings):
        old_layout, new_layout = _complete(assemble(environ, with_workers(running)), new)
        _check_files(old_layout)
        old_layout = as_running(old_layout, settings)
        changes = between(old_layout, new_layout)
        refused = _refused(new_layout.plan)
        if refused:
            print(f"nothing was changed: {refused}", file=sys.stderr)
            return 1
        record = (
            None
            if options.reset
            else Applied(
                workers=options.workers,
                variable=variables.workers,
                old_types=variables.repeats_add_up,
            )
        )
        return _carry_out(new_layout, changes, record, as_json=options.json)


def _chosen(options: Namespace, variables: Settings) -> Callable[[Settings], Settings]:
    """Return a function that gives settings the WORKERS that are asked for. Raises ConfigError."""
    if options.reset == (options.workers is not None):
        raise ConfigError(
            [
                Problem(
                    variable="WORKERS",
                    value=options.workers,
                    message="and --reset exclude each other" if options.reset else "is missing",
                    hint="give the new value, or use --reset to go back to the variable",
                )
            ]
        )
    if options.reset:
        return lambda settings: replace(
            settings, workers=variables.workers, repeats_add_up=variables.repeats_add_up
        )
    return with_workers(options.workers)


def _complete(*plans: Plan) -> tuple[Layout, ...]:
    """Return the layouts of plans with this machine, and with the server's secrets."""
    first = plans[0]
    machine = this_machine(first.settings)
    secrets = keep_secrets(first.settings, first.operator)
    account = machine.account("synapse")
    operator = usable(first.operator, account, lambda _: None, make=False)
    found = []
    for plan in plans:
        complete = replace(
            plan,
            machine=machine,
            secrets=secrets,
            operator=operator,
            budget=share_out(plan.settings, plan.topology, machine),
        )
        found.append(layout(complete, render(complete)))
    return tuple(found)


def _check_files(old: Layout) -> None:
    """Compare the files of the running server with those that a start would write now.

    Raises ConfigError for others: a change of the layout would bring in other changes, unseen.
    """
    conf = Path(old.plan.settings.paths.conf)
    found = Layout(
        plan=old.plan,
        files={
            str(path.relative_to(conf)): path.read_text(encoding="utf-8")
            for path in sorted(conf.rglob("*"))
            if path.is_file()
        },
    )
    other = sorted(found.files.keys() ^ old.files.keys())
    if not other:
        seen, made = Views(found), Views(old)
        other = [
            name for name in (supervisord_conf.CONF, "maps.conf") if _differs(found, old, name)
        ]
        if _without_numbers(found.files[nginx.CONF]) != _without_numbers(old.files[nginx.CONF]):
            other.append(nginx.CONF)
        other += [
            name for name, process in old.processes.items() if seen.of(process) != made.of(process)
        ]
    if other:
        raise ConfigError(
            [
                Problem(
                    variable="configuration",
                    value=", ".join(other[:5]),
                    message="is not what the running server started with: a variable or a file"
                    " has changed since",
                    hint="restart the server first, or undo that change",
                )
            ]
        )


def _differs(one: Layout, other: Layout, name: str) -> bool:
    return one.files[name] != other.files[name]


def _without_numbers(text: str) -> str:
    """Return nginx.conf without its part of the budget, which may be of another time."""
    return re.sub(r"\d+", "0", text)


def _refused(plan: Plan) -> str:
    """Return the first thing that nginx rejects, if any. Synapse reads its own: changing.py."""
    for problem in nginx_trial.problems(plan, plan.machine.binary(nginx.NAME)):
        return f"nginx rejects its files: {problem}"
    return ""


def _carry_out(new: Layout, changes: Changes, record: Applied | None, *, as_json: bool) -> int:
    settings = new.plan.settings
    paths = settings.paths
    request = {
        "do": "apply",
        "names": [],
        "steps": [(step.action.value, step.names) for step in changes.steps],
        "added": changes.added,
        "removed": changes.removed,
        "together": changes.together,
        "keep": record is not None,
    }
    # They may be of an earlier layout than the present one.
    kept = {path: Path(paths.conf_file(path)).read_text(encoding="utf-8") for path in changes.kept}
    files = [replace(file, content=kept.get(file.path, file.content)) for file in render(new.plan)]
    problem, took = "", []
    try:
        write_directory(Path(paths.conf_next), files, dict(new.plan.machine.accounts))
        if record is not None:
            applied_workers.stage(paths, record)
    except BaseException:
        _discard(paths)
        raise
    try:
        answer = ask(command_socket.path(settings), "the supervisor", request, WITHIN)
        took = answer["took"]
        flush_entry(Path(paths.applied_workers))
    except Refusal as refusal:
        problem = str(refusal)
        # Taken already if the supervisor began.
        _discard(paths)
    except KeyboardInterrupt:
        print(
            "the supervisor goes on with the change; `ganglion status` shows the layout in force",
            file=sys.stderr,
        )
        raise
    steps = [words.in_words(step) for step in changes.steps]
    if as_json:
        shown = [{"text": text, "seconds": each} for text, each in zip(steps, took, strict=False)]
        print_json({"steps": shown, "problem": problem or None})
    elif not problem:
        for text, each in zip(steps, took, strict=True):
            print(f"{each:6.2f} s  {text}")
        print(f"WORKERS in force: {new.plan.topology.text or 'none'}")
    if problem:
        print(problem, file=sys.stderr)
        return 1
    print_notes(new.plan.topology.notes)
    return 0


def _discard(paths: Paths) -> None:
    """Remove the staged files, unless the supervisor has taken them: never half of them."""
    applied_workers.discard(paths)
    gone = Path(paths.conf_next).with_name(".conf.next.new")
    shutil.rmtree(gone, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        Path(paths.conf_next).rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


VERB = Verb(name="apply", manual=__doc__, run=run, options=options, json=True)
