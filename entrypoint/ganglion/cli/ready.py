"""Succeed if every process answers, else print which does not.

Asks PostgreSQL, Redis, every Synapse process and nginx, one after the other,
each for at most 5 seconds.

Exit status: 0 if all answer, 1 if one does not, 2 for a configuration that
does not work. In JSON, each process has null or its problem.
"""

import sys
from argparse import Namespace
from collections.abc import Mapping

from ganglion.cli.output import print_json
from ganglion.cli.verb import Verb
from ganglion.control.health import readiness
from ganglion.plan import read_settings, running_topology


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    settings = read_settings(environ)
    found = readiness(settings, running_topology(settings))
    waiting = [item for item in found if item.problem is not None]
    if options.json:
        print_json({item.name: item.problem for item in found})
    elif waiting:
        for item in waiting:
            print(f"{item.name} {item.problem}", file=sys.stderr)
    else:
        print(f"ready: all {len(found)} processes answer")
    return 1 if waiting else 0


VERB = Verb(name="ready", manual=__doc__, run=run, json=True)
