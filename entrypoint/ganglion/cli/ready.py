"""Succeed if every part of the server works, else print which does not.

Asks all parts at the same time, each for at most 5 seconds: every Synapse
process, each pool of workers through nginx, a read and a write in PostgreSQL,
Redis and the processes that listen to replication in it, the control
application, free disk space, the certificate and the clock. With
SYNAPSE_ENABLE_METRICS, `streams` says which process is further behind than
--lag.

Exit status: 0 if all works, 1 if something does not, 2 for a configuration
that does not work. In JSON, each part has null or its problem.
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping

from ganglion.cli.output import print_json
from ganglion.cli.verb import Verb
from ganglion.control.health import MOST_LAG, readiness
from ganglion.errors import ConfigError, Problem
from ganglion.plan import read_settings, running_topology
from ganglion.settings import parsers


def options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--lag",
        metavar="TIME",
        default=f"{MOST_LAG:g}s",
        help="how far a process may be behind, such as 5s",
    )


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    settings = read_settings(environ)
    found = readiness(settings, running_topology(settings), lag(options.lag))
    waiting = [item for item in found if item.problem is not None]
    if options.json:
        print_json({item.name: item.problem for item in found})
    elif waiting:
        for item in waiting:
            print(f"{item.name} {item.problem}", file=sys.stderr)
    else:
        print(f"ready: all {len(found)} parts work")
    return 1 if waiting else 0


def lag(text: str) -> float:
    """Read --lag, in seconds. Raises ConfigError."""
    try:
        return parsers.duration(text)
    except parsers.Invalid as error:
        problem = Problem(variable="--lag", value=text, message=error.message, hint=error.hint)
        raise ConfigError([problem]) from error


VERB = Verb(name="ready", manual=__doc__, run=run, options=options, json=True)
