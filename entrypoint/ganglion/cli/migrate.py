"""Make or upgrade the tables of an external database, without a server.

Main does the same at its start. With several containers of a new version, a
job can do it first, while the old ones serve: the export for Kubernetes has
one. Waits for another migration, and is refused while a server in one
container uses the database. Nothing happens if the tables are up to date.

With --wait, only waits until that is so, for GANGLION_WAIT at most.

Exit status: 0 if the tables are up to date, 2 for a configuration that does not
work, or one of the waits in vain, else 1.
"""

import os
import signal
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import MutableMapping
from typing import NoReturn

import yaml

from ganglion.cli.verb import Verb
from ganglion.data.identity import server_name
from ganglion.data.secrets import new_signing_key
from ganglion.errors import ConfigError, Problem
from ganglion.files.write import write_file
from ganglion.machine import children, temporary
from ganglion.plan import assemble
from ganglion.programs import registry
from ganglion.programs.program import Plan
from ganglion.programs.synapse import schema
from ganglion.programs.synapse.options import shared_lists
from ganglion.settings.fixes import as_text
from ganglion.settings.variables import Settings


def options(parser: ArgumentParser) -> None:
    parser.add_argument("--wait", action="store_true", help="wait for the migration of another one")


def run(options: Namespace, environ: MutableMapping[str, str]) -> int:
    # PID 1 ignores signals without a handler.
    signal.signal(signal.SIGTERM, _stop)
    # It imports psycopg2.
    from ganglion.programs.postgres import external  # noqa: PLC0415

    plan = assemble(environ)
    settings = plan.settings
    if not settings.external_postgres:
        raise ConfigError([_embedded(settings)])
    if options.wait:
        external.await_schema(settings, _say, by="`ganglion migrate`")
        return 0
    temporary.ensure(environ, settings.paths.temporary)
    temporary.check()
    return _migrate(plan)


def _migrate(plan: Plan) -> int:
    from ganglion import boot  # noqa: PLC0415
    from ganglion.programs.postgres import database_lock, external  # noqa: PLC0415

    settings = plan.settings
    external.await_postgres(
        settings, _say, any_locale=plan.operator.any_locale, mode=boot.mode_of(plan, None)
    )
    part = database_lock.Part(
        processes=(database_lock.MIGRATION,), lists=shared_lists(plan.topology)
    )
    with database_lock.held(settings, part, _say):
        left = external.lacking(settings)
        where = f"{settings.postgres_db} at {settings.postgres_host}"
        if not left:
            _say(f"{where}: the tables are up to date, with version {schema.installed()}")
            return 0
        _say(f"{where}: {left}; migrating")
        if _synapse(plan) or external.lacking(settings):
            _say(f"{where}: the migration has failed, as printed above")
            return 1
        _say(f"{where}: the tables have version {schema.installed()}")
        return 0


def _synapse(plan: Plan) -> int:
    """Run Synapse's migration as its account. Returns its exit status."""
    from ganglion.programs.postgres import external  # noqa: PLC0415

    settings = plan.settings
    account = registry.account_here("synapse", settings)
    with temporary.directory("migration") as directory:
        # The account enters it, and reads its own file.
        directory.chmod(0o711)
        database = {
            "name": "psycopg2",
            "allow_unsafe_locale": plan.operator.any_locale,
            "args": external.arguments(settings),
        }
        values = {
            "server_name": server_name(settings, plan.operator),
            "report_stats": False,
            # Nothing is signed.
            "signing_key": new_signing_key(),
            "macaroon_secret_key": "unused",
            "media_store_path": str(directory),
            "enable_media_repo": False,
            "trusted_key_servers": [],
            "suppress_key_server_warning": True,
            "database": database,
        }
        file = directory / "homeserver.yaml"
        write_file(file, yaml.safe_dump(values), 0o600, account, lasting=False)
        done = children.run(
            [
                *(sys.executable, "-P", "-m", "ganglion.in_synapse.migrate"),
                *(str(file), as_text(settings.fixes)),
            ],
            cwd=directory,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            account=account,
        )
    return done.returncode


def _embedded(settings: Settings) -> Problem:
    return Problem(
        variable="POSTGRES_HOST",
        value=settings.postgres_host,
        message="names no external database; main migrates its own one at each start",
        hint="start the server, or set POSTGRES_HOST",
    )


def _say(line: str) -> None:
    print(line, flush=True)


def _stop(_number: int, _frame: object) -> NoReturn:
    raise SystemExit(1)


VERB = Verb(name="migrate", manual=__doc__, run=run, options=options)
