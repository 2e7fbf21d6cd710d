"""Write a homeserver.yaml from the variables, if there is none.

Compatible with the `generate` command of Synapse's own image. Also writes a
signing key and a log configuration beside it. Existing files are left as they
are. Ganglion does not need these files: variables apply at every start. They
are for operators who prefer to edit a file.
"""

import os
from argparse import Namespace
from collections.abc import Mapping

from ganglion.cli.verb import Verb
from ganglion.data.homeserver_yaml import generate
from ganglion.machine import installed
from ganglion.plan import read_variables
from ganglion.programs import registry


def run(_options: Namespace, environ: Mapping[str, str]) -> int:
    settings = read_variables(environ)
    as_root = os.geteuid() == 0
    accounts = installed.accounts(registry.ACCOUNTS, settings.uid, settings.gid) if as_root else ()
    generate(settings, dict(accounts).get("synapse"), print)
    print("You may edit it. docs/drop-in.md lists the options that variables override.")
    print("Start the server with `run`.")
    return 0


VERB = Verb(name="generate", manual=__doc__, run=run)
