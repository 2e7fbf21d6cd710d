"""Print the state of every process.

Asks the supervisor of the running server. Uptime is in seconds. PROBLEM says
why a process could not be started. With GANGLION_BACKUP, the row `backup` says
how the last scheduled backup went.
"""

import time
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import asdict

from ganglion.cli.output import columns, print_json
from ganglion.cli.verb import Verb
from ganglion.control.status import ProcessStatus, status
from ganglion.data.backup import schedule
from ganglion.plan import read_settings
from ganglion.settings.variables import Settings


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    settings = read_settings(environ)
    found = [*status(settings), *_backup(settings)]
    if options.json:
        print_json([asdict(item) for item in found])
        return 0
    rows = [
        (item.name, item.state, str(item.pid or "-"), f"{item.uptime} s", item.description)
        for item in found
    ]
    print(columns(("PROCESS", "STATE", "PID", "UPTIME", "PROBLEM"), rows))
    return 0


def _backup(settings: Settings) -> Iterator[ProcessStatus]:
    """Yield a row for scheduled backups. Its uptime is the time since the last one."""
    if settings.backup_directory is None:
        return
    state = schedule.read_state(settings)
    if state is None:
        yield ProcessStatus(name="backup", state="WAITING", pid=0, uptime=0, description="")
        return
    age = max(0, int(time.time()) - state.at)
    text = state.text
    if state.state == schedule.WAITING:
        text = f"none; the next is due in {max(0, settings.backup_every - age) / 3600:.1f} h"
    yield ProcessStatus(name="backup", state=state.state, pid=0, uptime=age, description=text)


VERB = Verb(name="status", manual=__doc__, run=run, json=True)
