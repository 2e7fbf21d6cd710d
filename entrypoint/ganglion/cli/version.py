"""Print the versions of Ganglion and Synapse.

`ganglion --version` does the same.
"""

from argparse import Namespace
from collections.abc import Mapping
from importlib.metadata import version

from ganglion import __version__
from ganglion.cli.output import print_json
from ganglion.cli.verb import Verb


def run(options: Namespace, _environ: Mapping[str, str]) -> int:
    versions = {"ganglion": __version__, "matrix-synapse": version("matrix-synapse")}
    if options.json:
        print_json(versions)
    else:
        print("\n".join(f"{name} {number}" for name, number in versions.items()))
    return 0


VERB = Verb(name="version", manual=__doc__, run=run, json=True)
