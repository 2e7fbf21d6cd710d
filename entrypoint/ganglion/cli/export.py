"""Write the server as files of another system.

TARGET is one of the list below. Splits WORKERS into nginx, main, a unit for
each process that must run once and a unit for each pool of readers, and writes
PATH: a new file or directory, or one that an earlier export wrote and nobody
has changed. The configuration of every container is checked first, as `check`
does, and nothing is written unless all of it works.

Reads the variables and the operator's files. No secret is written: a target
refers to them by their names. Without POSTGRES_HOST or REDIS_HOST, the target
runs these servers too. GANGLION_MEMORY is the memory of all containers
together.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path

from ganglion.cli.output import columns, print_notes
from ganglion.cli.verb import Verb
from ganglion.errors import ConfigError, Problem
from ganglion.export.deployment import deployment
from ganglion.export.targets import BY_NAME, TARGETS
from ganglion.export.written import write
from ganglion.plan import assemble


def options(parser: ArgumentParser) -> None:
    rows = [(f"  {target.name}", target.help) for target in TARGETS]
    parser.epilog = columns(("targets:", ""), rows)
    parser.add_argument("target", metavar="TARGET", choices=tuple(BY_NAME), help="see below")
    parser.add_argument("path", metavar="PATH", type=Path, help="the file or directory to write")


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    target = BY_NAME[options.target]
    found = deployment(environ, assemble)
    files = target.render(found, options.path.name)
    problem = write(options.path, files, directory=target.directory)
    if problem is not None:
        raise ConfigError(
            [
                Problem(
                    variable="PATH",
                    value=str(options.path),
                    message=problem,
                    hint="name a new file or directory, or move that one away",
                )
            ]
        )
    units, containers = len(found.units), sum(unit.replicas for unit in found.units)
    print(f"wrote {options.path}: {units} units, {containers} containers")
    print_notes(found.plan.topology.notes)
    return 0


VERB = Verb(name="export", manual=__doc__, run=run, options=options)
