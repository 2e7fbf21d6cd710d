"""Write all rendered files to a directory.

Writes the configuration of every program as `run` would, with placeholders for
secrets. DIR must be new, empty, or written by this verb before: other files in
it are never overwritten or deleted.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path

from ganglion.cli.verb import Verb
from ganglion.errors import ConfigError, Problem
from ganglion.files.listing import holds_nothing_else, listing
from ganglion.files.write import write_directory
from ganglion.plan import assemble, render


def options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--output", required=True, type=Path, metavar="DIR", help="the directory to write"
    )


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    directory: Path = options.output.resolve()
    files = render(assemble(environ))
    problem = ""
    try:
        if holds_nothing_else(directory):
            write_directory(directory, (*files, listing(files)), {})
        else:
            problem = "holds other files, which would be lost"
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
    print(f"wrote {len(files)} files to {options.output}")
    return 0


VERB = Verb(name="render", manual=__doc__, run=run, options=options)
