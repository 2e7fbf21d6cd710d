"""Register a user on the running server.

Asks for the password twice at a terminal. Otherwise the first line of standard
input is the password. NAME is the localpart: alice, not @alice:example.org.

Example:

    ganglion register-user alice --admin
"""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping

from ganglion.cli.password_prompt import ask
from ganglion.cli.verb import Verb
from ganglion.control.users import register_user
from ganglion.plan import read_settings, running_topology


def options(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the localpart of the user ID")
    parser.add_argument("--admin", action="store_true", help="make the user an administrator")


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    settings = read_settings(environ)
    topology = running_topology(settings)
    user_id = register_user(settings, topology, options.name, ask(sys.stdin), admin=options.admin)
    print(f"registered {user_id}{' as an administrator' if options.admin else ''}")
    return 0


VERB = Verb(name="register-user", manual=__doc__, run=run, options=options)
