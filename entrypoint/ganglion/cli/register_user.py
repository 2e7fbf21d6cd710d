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
from ganglion.errors import ConfigError, Problem
from ganglion.plan import read_settings, running_topology
from ganglion.settings import operator_files
from ganglion.settings.operator_files import delegates_accounts


def options(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the localpart of the user ID")
    parser.add_argument("--admin", action="store_true", help="make the user an administrator")


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    settings = read_settings(environ)
    topology = running_topology(settings)
    if delegates_accounts(operator_files.load(settings)):
        raise ConfigError([_by_the_service(options.name, admin=options.admin)])
    user_id = register_user(settings, topology, options.name, ask(sys.stdin), admin=options.admin)
    print(f"registered {user_id}{' as an administrator' if options.admin else ''}")
    return 0


def _by_the_service(name: str, *, admin: bool) -> Problem:
    """Say that Synapse registers nobody, because the authentication service does."""
    return Problem(
        variable="NAME",
        value=name,
        message="cannot be registered: your files give all accounts to the Matrix Authentication"
        " Service",
        hint="where that service runs, type"
        f" `mas-cli manage register-user {name}{' --admin' if admin else ''}`",
    )


VERB = Verb(name="register-user", manual=__doc__, run=run, options=options)
