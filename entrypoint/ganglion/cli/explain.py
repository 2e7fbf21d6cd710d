"""Say which process answers a request, and why.

METHOD and PATH are those of the request. Write PATH as a client sends it, with
the query and percent-encoded. Prints the first row of the table of routes that
matches, the key by which nginx picks a worker, the worker, and the fallback if
the worker is down.

Example:

    ganglion explain GET '/_matrix/client/v3/sync?since=s1' \\
        --header 'Authorization: Bearer syt_YWxpY2U_x_y'
"""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import asdict

from ganglion.cli.output import print_json
from ganglion.cli.verb import Verb
from ganglion.errors import ConfigError, Problem
from ganglion.plan import assemble
from ganglion.routing.explain import Explanation, explain

# A client outside every private network: https://www.rfc-editor.org/rfc/rfc5737
SOME_CLIENT = "192.0.2.1"


def options(parser: ArgumentParser) -> None:
    parser.add_argument("method", metavar="METHOD", help="GET, PUT, …")
    parser.add_argument("path", metavar="PATH", help="the path with the query")
    parser.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help="a header of the request; may be given several times",
    )
    parser.add_argument(
        "--from",
        dest="address",
        default=SOME_CLIENT,
        metavar="ADDRESS",
        help="the client's IP address (default: %(default)s)",
    )


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    plan = assemble(environ)
    found = explain(
        _as_nginx(options.method).upper(),
        _as_nginx(options.path),
        dict(_header(_as_nginx(text)) for text in options.header),
        _as_nginx(options.address),
        plan.topology,
        plan.routes,
        test_mode=plan.settings.test_mode,
    )
    if options.json:
        print_json(asdict(found))
    else:
        print(as_text(found))
    return 0


def _as_nginx(argument: str) -> str:
    """Return the bytes of an argument, each as one character, as nginx compares and hashes them."""
    return os.fsencode(argument).decode("latin-1")


def as_text(explanation: Explanation) -> str:
    """Format an explanation for a person."""
    keyed = explanation.key_value is not None
    worker = explanation.worker or f"{', '.join(explanation.workers)} in turn"
    lines = (
        ("request", f"{explanation.method} {explanation.path}"),
        ("rule", f"{explanation.rule}    {explanation.pattern}"),
        ("why", explanation.why),
        ("key", f"{explanation.key} = {explanation.key_value}" if keyed else "none"),
        ("pool", f"{explanation.pool} ({', '.join(explanation.workers)})"),
        ("worker", worker),
        ("fallback", explanation.fallback or "none: no other process can serve it"),
    )
    return "\n".join(f"{name:<9} {text}" for name, text in lines)


def _header(text: str) -> tuple[str, str]:
    """Parse a header `Name: value`. Raises ConfigError if there is no colon."""
    name, colon, value = text.partition(":")
    if not colon:
        raise ConfigError(
            [
                Problem(
                    variable="--header",
                    value=text,
                    message="has no colon",
                    hint="write --header 'Authorization: Bearer syt_…'",
                )
            ]
        )
    return name.strip(), value.strip()


VERB = Verb(name="explain", manual=__doc__, run=run, options=options, json=True)
