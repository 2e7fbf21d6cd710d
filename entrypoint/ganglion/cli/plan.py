"""Show the steps from the running layout to another value of WORKERS.

Prints the processes that are added, removed and restarted, those that must
stop together and why, each step, how long each kind of request waits, and the
memory and connections before and after. Nothing is changed: `ganglion apply`
does that. Without a running server, the steps begin at the layout that would
start.

Exit status: 0, or 2 for a value that does not work.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping

from ganglion.changes import words
from ganglion.changes.layout import Layout, layout
from ganglion.changes.steps import between
from ganglion.cli.output import print_json, print_notes
from ganglion.cli.verb import Verb
from ganglion.plan import assemble, read_settings, render, running_workers, with_workers


def options(parser: ArgumentParser) -> None:
    parser.add_argument("workers", metavar="WORKERS", help="the new value of WORKERS")


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    new = planned(environ, options.workers)
    old = planned(environ, running_workers(read_settings(environ)))
    changes = between(old, new)
    if options.json:
        print_json(words.as_json(old, new, changes))
    else:
        print("\n".join(words.lines(old, new, changes)))
    print_notes(new.plan.topology.notes)
    return 0


def planned(environ: Mapping[str, str], workers: str | None) -> Layout:
    """Return the layout with a text of WORKERS; None for that of a start. Raises ConfigError."""
    plan = assemble(environ) if workers is None else assemble(environ, with_workers(workers))
    return layout(plan, render(plan))


VERB = Verb(name="plan", manual=__doc__, run=run, options=options, json=True)
