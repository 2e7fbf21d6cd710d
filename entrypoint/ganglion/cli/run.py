"""Start the server and stay in the foreground.

Reads the configuration, prepares the data directory, starts every process and
restarts those that fail. SIGTERM stops the server in order. All configuration
errors are reported together, each with a fix, before anything starts.

Exit status: 0 after SIGTERM, 2 for a configuration that does not work, else 1.
"""

import signal
from argparse import Namespace
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from setproctitle import setproctitle

from ganglion.cli.output import print_notes
from ganglion.cli.verb import Verb
from ganglion.data import applied_workers
from ganglion.errors import ConfigError, Problem
from ganglion.in_synapse.imports import MODULES
from ganglion.machine import temporary
from ganglion.machine.installed import Machine, discover
from ganglion.plan import assemble, notes_on, read_variables
from ganglion.programs import nginx, nginx_trial, registry
from ganglion.programs.program import Plan
from ganglion.programs.synapse.logging import role
from ganglion.routing.operator_routes import OperatorRoutes
from ganglion.settings import test_mode
from ganglion.settings.logs import JSON
from ganglion.settings.variables import Settings, variables
from ganglion.supervisor.form import Form, Json, Text
from ganglion.supervisor.history import History


def run(_options: Namespace, environ: MutableMapping[str, str]) -> int:
    # PID 1 ignores signals without a handler.
    signal.signal(signal.SIGTERM, _stop)
    # Before the environment changes: setproctitle writes over the place where the kernel put it.
    setproctitle("ganglion: supervisor")
    # These take the longest to import, so SIGTERM has its handler before.
    if _wants_json(environ):
        from ganglion.supervisor import python_output

        python_output.take_over()
    from ganglion import boot
    from ganglion.supervisor.output import Output, say
    from ganglion.supervisor.start_times import Timeline

    timeline = Timeline()
    timeline.mark("python")
    plan = assemble(environ)
    variables_given = dict(environ)
    machine = this_machine(plan.settings)
    print_notes(notes_on(plan, environ))
    _clean(environ, plan.settings)
    budget = registry.share_out(plan.settings, plan.topology, machine)
    plan = replace(plan, machine=machine, budget=budget)
    # Only routes are free text. Everything else is parsed strictly, and this takes time.
    if plan.routes != OperatorRoutes() and (refused := tuple(_refused(plan))):
        raise ConfigError(refused)
    output = Output(form=_form(plan), history=History(plan.settings.log_memory))

    def report(line: str) -> None:
        say(output, line)

    for line in test_mode.warnings(plan.settings):
        report(line)
    # Only where there is a record: reading all variables again takes time.
    has_record = Path(plan.settings.paths.applied_workers).exists()
    forget = has_record and applied_workers.is_out_of_force(read_variables(variables_given))
    timeline.mark("plan")
    return boot.start(plan, report, timeline, output, forget_applied=forget)


def this_machine(settings: Settings) -> Machine:
    """Find this machine's programs and accounts. Raises ConfigError with all that is missing."""
    return discover(
        Path(settings.paths.postgres),
        registry.requirements(settings),
        registry.accounts(settings),
        postgres=settings.embedded_postgres,
        user=settings.uid,
        group=settings.gid,
        ports=settings.public_ports,
    )


def _wants_json(environ: Mapping[str, str]) -> bool:
    """Return whether errors in the configuration are to be JSON, before it is read."""
    row = next(row for name, row in variables() if name == "log_format")
    return any(environ.get(name, "").strip().lower() == JSON for name in row.names)


def _form(plan: Plan) -> Form:
    if plan.settings.log_format != JSON:
        return Text()
    return Json(roles={process.name: role(process) for process in plan.topology.processes})


def _refused(plan: Plan) -> Iterator[Problem]:
    return nginx_trial.problems(plan, plan.machine.binary(nginx.NAME))


def _stop(_number: int, _frame: object) -> NoReturn:
    # Stopped before anything ran: `docker stop` expects status 0.
    raise SystemExit(0)


def _clean(environ: MutableMapping[str, str], settings: Settings) -> None:
    """Change the environment into the one that processes inherit.

    Secrets leave it. SYNAPSE_ASYNC_IO_REACTOR leaves it too, because Synapse takes any value for
    yes; the rendered files have its meaning. Proxies enter it: their URL may hold a password, so it
    is in no file. The directory of modules, Synapse's plain version and, where /tmp cannot be
    written, a directory for temporary files enter it too.
    """
    for _, variable in variables():
        if variable.secret:
            for name in (*variable.names, f"{variable.name}_FILE"):
                environ.pop(name, None)
    environ.pop("SYNAPSE_ASYNC_IO_REACTOR", None)
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        value: str | None = getattr(settings, name)
        if value is not None:
            environ[name] = value
    environ[MODULES] = settings.paths.modules
    temporary.ensure(environ, settings.paths.temporary)
    # Otherwise Synapse asks git, which finds the checkout of Ganglion around its virtual
    # environment. Modules parse the version.
    environ["SYNAPSE_VERSION_STRING"] = version("matrix-synapse")


def _reject(arguments: Sequence[str]) -> Problem:
    """Describe arguments that Synapse's own image takes for its single process."""
    return Problem(
        variable="run",
        value=" ".join(arguments),
        message="takes no arguments, because it starts several processes of Synapse",
        hint="set WORKERS instead of -m, and SYNAPSE_CONFIG_PATH instead of --config-path; see"
        " docs/drop-in.md",
    )


VERB = Verb(name="run", manual=__doc__, run=run, reject=_reject)
