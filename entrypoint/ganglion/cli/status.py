"""Print the state of every process.

Asks the supervisor of the running server. Uptime is in seconds. PROBLEM says
why a process could not be started.
"""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict

from ganglion.cli.output import columns, print_json
from ganglion.cli.verb import Verb
from ganglion.control.status import status
from ganglion.plan import read_settings


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    found = status(read_settings(environ))
    if options.json:
        print_json([asdict(item) for item in found])
        return 0
    rows = [
        (item.name, item.state, str(item.pid or "-"), f"{item.uptime} s", item.description)
        for item in found
    ]
    print(columns(("PROCESS", "STATE", "PID", "UPTIME", "PROBLEM"), rows))
    return 0


VERB = Verb(name="status", manual=__doc__, run=run, json=True)
