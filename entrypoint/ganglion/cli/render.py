"""Write all rendered files to a directory.

Writes the configuration of every program as `run` would, with placeholders for
secrets. DIR must be new, empty, or written by this verb before: other files in
it are never overwritten or deleted.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from ganglion.cli.verb import Verb
from ganglion.errors import ConfigError, Problem
from ganglion.files.file import File
from ganglion.files.listing import holds_nothing_else, listing
from ganglion.files.write import write_directory
from ganglion.plan import assemble, render
from ganglion.settings.reading import impossible


def options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--output", required=True, type=Path, metavar="DIR", help="the directory to write"
    )


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    files = render(assemble(environ))
    written(options.output, files, "--output")
    print(f"wrote {len(files)} files to {options.output}")
    return 0


def written(output: Path, files: Sequence[File], argument: str) -> None:
    """Write files and their list to a directory that `argument` names.

    Raises ConfigError if the directory has other files, or cannot be written.
    """
    problem = _write(output, files)
    if problem:
        raise ConfigError(
            [
                Problem(
                    variable=argument,
                    value=str(output),
                    message=problem,
                    hint="name a new or empty directory",
                )
            ]
        )


def _write(output: Path, files: Sequence[File]) -> str | None:
    """Write the files. Returns why they cannot be written there, if so."""
    reason = impossible(str(output))
    if reason:
        return reason
    try:
        directory = output.resolve()
        if not holds_nothing_else(directory):
            return "holds other files, which would be lost"
        write_directory(directory, (*files, listing(files)), {})
    except OSError as error:
        return f"cannot be written: {error.strerror}"
    # Links in a circle; a listing that is not text.
    except (RuntimeError, ValueError) as error:
        return f"cannot be written: {error}"
    return None


VERB = Verb(name="render", manual=__doc__, run=run, options=options)
