"""Install Synapse modules and what they need beyond this installation.

PACKAGE is the name of a package on PyPI, or anything else that pip accepts.
Nothing that is installed changes: a package that needs another version of
it is refused. Packages without wheels are built.

With --data the packages go into `modules` in the data directory, from which
every Synapse process imports. Without it they become part of this
installation; that is for a Dockerfile. Restart the server afterwards.

Example, in a Dockerfile:

    FROM ganglion
    RUN ganglion install-module synapse-s3-storage-provider
"""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, MutableMapping, Sequence
from functools import partial
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

from ganglion.cli.verb import Verb
from ganglion.errors import ConfigError, Problem
from ganglion.machine import children, temporary
from ganglion.plan import read_variables


def options(parser: ArgumentParser) -> None:
    parser.add_argument("packages", metavar="PACKAGE", nargs="+", help="what to install")
    parser.add_argument(
        "--data", action="store_true", help="install into the data directory, not for an image"
    )


def run(options: Namespace, environ: MutableMapping[str, str]) -> int:
    temporary.ensure(environ, read_variables(environ).paths.temporary)
    temporary.check()
    with temporary.directory("module") as place:
        constraints = place / "installed.txt"
        lines = "".join(f"{line}\n" for line in _installed(place))
        constraints.write_text(lines, encoding="utf-8")
        pip = partial(_pip, environ, place)
        install = ("install", "--constraint", str(constraints))
        if not options.data:
            return pip(*install, *options.packages)
        directory = Path(read_variables(environ).paths.modules)
        # Only packages that pip would add to this installation go into the directory: Synapse and
        # its dependencies are here already.
        report = place / "report.json"
        status = pip(*install, "--dry-run", "--report", str(report), *options.packages)
        missing = [] if status else _missing(report.read_text(encoding="utf-8"))
        if not missing:
            return status
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        target = ("--no-deps", "--upgrade", "--target", str(directory))
        return pip("install", *target, *missing)


def _installed(place: Path) -> list[str]:
    """Return a constraint for each installed package.

    psycopg2 is here as psycopg2-binary, so `place` gets metadata under the other name too: pip
    would try to compile it for a module that needs it.
    """
    versions = {item.metadata["Name"]: item.version for item in distributions()}
    versions["psycopg2"] = versions["psycopg2-binary"]
    metadata = place / f"psycopg2-{versions['psycopg2']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: psycopg2\nVersion: {versions['psycopg2']}\n", "utf-8"
    )
    return sorted(f"{name}=={version}" for name, version in versions.items())


def _missing(report: str) -> list[str]:
    """Return the address of each package in pip's report of what it would install."""
    found = json.loads(report)["install"]
    return [f"{item['metadata']['name']} @ {item['download_info']['url']}" for item in found]


def _pip(environ: Mapping[str, str], metadata: Path, *words: str) -> int:
    """Run pip for this Python, with more metadata of installed packages. Returns its exit status.

    Raises ConfigError if there is no pip.
    """
    command = [sys.executable, *_program(), *words, "--disable-pip-version-check", "--no-input"]
    environment = {**environ, "PYTHONPATH": str(metadata)}
    return children.run([*command, "--progress-bar", "off"], env=environment).returncode


def _program() -> Sequence[str]:
    if find_spec("pip") is not None:
        return ("-m", "pip")
    # The image has pip as one file: the environment must not import it.
    wheel = Path(sys.prefix) / "pip.whl"
    if wheel.is_file():
        return (str(wheel / "pip"),)
    raise ConfigError(
        [
            Problem(
                variable="pip",
                value=None,
                message=f"is not in {sys.prefix}",
                hint="run scripts/setup, or use the image of Ganglion",
            )
        ]
    )


VERB = Verb(name="install-module", manual=__doc__, run=run, options=options)
