"""Start a Synapse application in a fresh process, with the fixes applied.

`python -m ganglion.in_synapse.start synapse.app.homeserver --config-path …` does what
`python -m synapse.app.homeserver --config-path …` does, and mends Synapse's faults first. Forked
processes do not come here: see ganglion.supervisor.fork.become.
"""

import os
import sys
from importlib import import_module
from typing import Any

from ganglion.in_synapse.fixes import VARIABLE, apply
from ganglion.in_synapse.imports import TRACERS, TRACING, absent, add_modules
from ganglion.in_synapse.listening import take_over


def main() -> None:
    """Run the application that the first argument names."""
    name = sys.argv.pop(1)
    add_modules(os.environ)
    with absent(*(() if os.environ.get(TRACING) else TRACERS)):
        application: Any = import_module(name)
    sys.argv[0] = application.__file__
    take_over(os.environ)
    memory: Any = import_module("ganglion.in_synapse.memory_metrics")
    memory.prepare()
    draining: Any = import_module("ganglion.in_synapse.draining")
    draining.prepare()
    view: Any = import_module("ganglion.in_synapse.view")
    view.prepare()
    shedding: Any = import_module("ganglion.in_synapse.shedding")
    shedding.prepare(os.environ)
    request_id: Any = import_module("ganglion.in_synapse.request_id")
    request_id.prepare(os.environ)
    replication_tls: Any = import_module("ganglion.in_synapse.replication_tls")
    replication_tls.prepare(os.environ)
    outcome = apply(os.environ.get(VARIABLE))
    if name == "synapse.app.homeserver":
        # One line for all processes, since all have the same Synapse and the same choice.
        sys.stderr.write(f"{outcome.line()}\n")
    application.main()


if __name__ == "__main__":
    main()
