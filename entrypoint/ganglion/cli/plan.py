"""Show the steps from the running layout to another value of WORKERS.

Prints the processes that are added, removed and restarted, those that must
stop together and why, each step, how long each kind of request waits, and the
memory and connections before and after. Nothing is changed: `ganglion apply`
does that. Without a running server, the steps begin at the layout that would
start.

With --export, compares two exports instead, that of the variables and that with
the new value: the units that change, in their order, and the interruption.

Exit status: 0, or 2 for a value that does not work.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ganglion.changes import words
from ganglion.changes.layout import Layout, layout
from ganglion.changes.steps import between
from ganglion.cli.output import print_json, print_notes
from ganglion.cli.verb import Verb
from ganglion.export import rollout
from ganglion.export.deployment import OLD_WORKERS, deployment
from ganglion.export.targets import BY_NAME
from ganglion.plan import assemble, read_settings, render, running_workers, with_workers
from ganglion.programs.postgres import server as postgres
from ganglion.settings.variables import Settings


def options(parser: ArgumentParser) -> None:
    parser.add_argument("workers", metavar="WORKERS", help="the new value of WORKERS")
    parser.add_argument(
        "--export", choices=tuple(BY_NAME), metavar="TARGET", help="plan for an export, as compose"
    )


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    if options.export is not None:
        return _exported(options, environ)
    new = planned(environ, options.workers)
    settings = read_settings(environ)
    old = as_running(planned(environ, running_workers(settings)), settings)
    changes = between(old, new)
    if options.json:
        print_json(words.as_json(old, new, changes))
    else:
        print("\n".join(words.lines(old, new, changes)))
    print_notes(new.plan.topology.notes)
    return 0


def _exported(options: Namespace, environ: Mapping[str, str]) -> int:
    ranges = BY_NAME[options.export].ranges
    old = deployment(environ, assemble, ranges=ranges)
    others = {name: text for name, text in environ.items() if name != OLD_WORKERS}
    new = deployment({**others, "WORKERS": options.workers}, assemble, ranges=ranges)
    found = rollout.between(old, new)
    if options.json:
        print_json(rollout.as_json(found, options.export))
    else:
        print("\n".join(rollout.lines(found, options.export)))
    print_notes(new.plan.topology.notes)
    return 0


def planned(environ: Mapping[str, str], workers: str | None) -> Layout:
    """Return the layout with a text of WORKERS; None for that of a start. Raises ConfigError."""
    plan = assemble(environ) if workers is None else assemble(environ, with_workers(workers))
    return layout(plan, render(plan))


def as_running(found: Layout, settings: Settings) -> Layout:
    """Return a layout with the file that PostgreSQL has read, which may be of an earlier layout."""
    path = Path(settings.paths.conf_file(postgres.CONF))
    if postgres.CONF not in found.files or not path.exists():
        return found
    return replace(found, files={**found.files, postgres.CONF: path.read_text(encoding="utf-8")})


VERB = Verb(name="plan", manual=__doc__, run=run, options=options, json=True)
