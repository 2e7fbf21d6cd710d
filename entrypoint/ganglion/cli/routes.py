"""Print the table of routes for this topology.

The first row that matches a request decides. Each row has the pool that
answers, the pool's workers, the key by which nginx picks one of them, the pool
that takes over if all of them are down, and the pattern of method and path.

With --format, prints the same rows and pools in the syntax of another proxy:
nginx (maps and upstreams), Caddy (directives of a site), HAProxy (a frontend
and backends), Traefik or Envoy (JSON). Keys become the nearest thing that the
proxy has, without fallbacks. Restrict /_synapse/admin there yourself.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from ganglion.cli.output import columns, print_json
from ganglion.cli.verb import Verb
from ganglion.errors import ConfigError, Problem
from ganglion.plan import assemble
from ganglion.routing.proxy_formats import FORMATS
from ganglion.routing.table import Choice, table


def options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--format",
        choices=(*FORMATS, "json"),
        help="print the table for this proxy; json is the same as --json",
    )


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    plan = assemble(environ)
    choices = table(plan.topology, plan.routes.routes)
    if options.json or options.format == "json":
        print_json(as_json(choices))
    elif options.format is not None:
        if options.format == "traefik" and plan.topology.main.http.path is not None:
            raise ConfigError([_sockets()])
        print(FORMATS[options.format](choices, plan.topology))
    else:
        print(as_table(choices))
    return 0


def _sockets() -> Problem:
    return Problem(
        variable="--format",
        value="traefik",
        message="takes no Unix sockets, and the processes listen on these",
        hint="set SYNAPSE_USE_UNIX_SOCKET=no",
    )


def as_table(choices: Sequence[Choice]) -> str:
    """Format every route in the order of the table."""
    rows = [
        (
            choice.route.name,
            choice.pool.name,
            ", ".join(member.name for member in choice.pool.members),
            choice.route.key.value,
            ", ".join(pool.name for pool in choice.fallbacks) or "-",
            choice.route.pattern,
        )
        for choice in choices
    ]
    return columns(("ROUTE", "POOL", "WORKERS", "KEY", "FALLBACK", "PATTERN"), rows)


def as_json(choices: Sequence[Choice]) -> list[dict[str, Any]]:
    """Return the same as values for JSON."""
    return [
        {
            "route": choice.route.name,
            "pattern": choice.route.pattern,
            "roles": list(choice.route.roles),
            "pool": choice.pool.name,
            "workers": [member.name for member in choice.pool.members],
            "key": choice.route.key.value,
            "fallback": None if choice.fallback is None else choice.fallback.name,
            "last_fallback": None if choice.last is None else choice.last.name,
        }
        for choice in choices
    ]


VERB = Verb(name="routes", manual=__doc__, run=run, options=options, json=True)
