"""Read another Synapse installation, and print what Ganglion needs to do the same.

PATH is a homeserver.yaml, the file of a worker, a unit of systemd, a compose
file, or a directory with such files: Synapse's own layouts, the data volume of
its images, or the directory of the Ansible playbook. Several PATHs are read
together. Nothing is changed.

Prints the variables with WORKERS, the workers with their roles and new names,
the options that are left for homeserver.d, and the fate of every option: taken,
replaced (by what), dropped (why) or not understood. Values of options are not
printed, as many are secret. Notes go to standard error.

Exit status: 0, or 2 with all problems if a file cannot be understood.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path

from ganglion.cli.output import print_json, print_notes
from ganglion.cli.verb import Verb
from ganglion.importing import report
from ganglion.importing.imported import interpret
from ganglion.importing.sources import find


def options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help="a file or a directory to read"
    )


def run(options: Namespace, environ: Mapping[str, str]) -> int:  # noqa: ARG001 - a verb's
    found = interpret(find(options.paths))
    if options.json:
        print_json(report.as_json(found))
    else:
        print(report.as_text(found))
    print_notes(found.notes)
    return 0


VERB = Verb(name="import", manual=__doc__, run=run, options=options, json=True)
