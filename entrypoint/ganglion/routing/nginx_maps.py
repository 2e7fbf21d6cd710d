"""The table of routes as nginx's variables, which nginx and Python both evaluate.

Each Map becomes a `map` block in nginx.conf, and evaluate() computes the values that nginx would.
So `ganglion explain` and nginx use the same rows.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from ganglion.routing.table import Choice, Key, Pin
from ganglion.topology.names import MAIN

KEY_VARIABLES = {
    Key.USER: "$ganglion_user",
    Key.ROOM: "$ganglion_room",
    Key.ORIGIN: "$ganglion_origin",
}
# The part of a decoded path that precedes the room.
CLIENT_ROOM = "~^/_matrix/client/.*?/(?:rooms|join|knock|room_summary|summary)/"
FEDERATION_ROOM = r"~^/_matrix/federation/(?:unstable/[^/]*\.[^/]*|[^/]+)/[^/]+/"
# In a raw request target. Synapse decodes a path as ASCII and fails at other bytes. nginx ends a
# path at `#`. Dots as a whole segment are resolved by clients and proxies, never by Synapse.
MALFORMED = r"[^!-~]|[#\\]|^[^/]|^[^?]*/(\.|%2[Ee]){1,2}(/|\?|$)"
# Twisted finds the first parts of a path decoded, Synapse's servlets find them raw. So only those
# that mean the same in both.
PLAIN = r"/([A-Za-z0-9_.~-]+/)?[A-Za-z0-9_.~-]*(\?|$)|/[A-Za-z0-9_.~-]+/[A-Za-z0-9_.~-]+/"
# UploadServlet and AsyncUploadServlet in synapse/rest/media/upload_resource.py.
UPLOAD = r"/_matrix/media/[^/]+/upload(/|$)"
UPLOAD_SERVLETS = r"/_matrix/media/((r0|v3|v1)/upload|v3/upload/[^/]*/[^/]*)$"
# The start of a user's access token: Synapse's, Matrix Authentication Service's, or a macaroon.
OF_A_USER = "(?:sy[a-z]_|m[a-z]t_|MDA)"
VARIABLE = re.compile(r"\$\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """A variable whose value depends on others.

    The first column of a row is a word that must equal the source, or a regular expression in
    nginx's notation: it starts with `~` if it is case-sensitive, with `~*` if not. Words are looked
    up first; then the first matching expression wins. Results are text that can contain variables,
    including the named groups of the expression.
    """

    variable: str
    source: str
    rows: tuple[tuple[str, str], ...]
    default: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as nginx sees it: the raw path with its query, header names in lowercase."""

    method: str
    uri: str
    headers: Mapping[str, str] = field(default_factory=dict)
    address: str = "127.0.0.1"

    def variables(self) -> dict[str, str]:
        """Return the built-in variables of nginx that the maps use."""
        path, _, query = self.uri.partition("?")
        return {
            "$request_method": self.method,
            "$request_uri": self.uri,
            "$uri": decoded(path),
            "$remote_addr": self.address,
            "$http_authorization": self.headers.get("authorization", ""),
            "$http_x_ganglion_worker": self.headers.get("x-ganglion-worker", ""),
            **{f"$arg_{name}": _argument(query, name) for name in ARGUMENTS},
        }


ARGUMENTS = ("since", "full_state", "access_token", "user_id")
# The target of a request that names an unknown worker.
NOBODY = "nobody"


def _argument(query: str, name: str) -> str:
    """Return the raw value of a query's first parameter of a name, like nginx's $arg_NAME."""
    for part in query.split("&"):
        found, equals, value = part.partition("=")
        if equals and found.lower() == name:
            return value
    return ""


def decoded(path: str) -> str:
    """Decode a path and resolve `.` and `..`, like nginx's $uri with merge_slashes off.

    ngx_http_parse_complex_uri in src/http/ngx_http_parse.c.
    """
    text = unquote_to_bytes(path.encode("latin-1")).decode("latin-1")
    kept: list[str] = []
    segments = text.split("/")[1:]
    for index, segment in enumerate(segments):
        last = index == len(segments) - 1
        if segment == "..":
            if kept:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
            continue
        if last:
            kept.append("")
    return "/" + "/".join(kept)


def named_upstream(name: str) -> str:
    """Return nginx's name of the upstream for requests that name a process."""
    return f"worker.{name}"


def maps(
    choices: Sequence[Choice], pins: Sequence[Pin], nameable: Sequence[str] = ()
) -> tuple[Map, ...]:
    """Return every map, each after those that it uses.

    `nameable` are the processes that a request may select with its header X-Ganglion-Worker: all of
    them in test mode, otherwise none.
    """
    return (
        # The path as the client sent it: Synapse matches its servlets against that.
        Map(
            variable="$ganglion_path",
            source="$request_uri",
            rows=(("~^(?P<raw_path>[^?]*)", "$raw_path"),),
            default="",
        ),
        Map(
            variable="$ganglion_method",
            source="$request_method",
            rows=(("HEAD", "GET"),),
            default="$request_method",
        ),
        # Which requests are open to whom, decided on the same raw target as Synapse's own decision.
        Map(
            variable="$ganglion_gate",
            source="$request_uri",
            rows=(
                (f"~{MALFORMED}", "malformed"),
                (f"~^(?!{PLAIN})", "closed"),
                ("~*^/_synapse/(replication|metrics)", "closed"),
                ("~*^/_synapse/admin", "admin"),
            ),
            default="",
        ),
        Map(
            variable="$ganglion_upload",
            source="$request_method $ganglion_path",
            rows=(
                (f"~^(POST|PUT|OPTIONS) {UPLOAD}", "yes"),
                # Rejected as Synapse does, but without the body.
                (f"~^[^ ]+ {UPLOAD_SERVLETS}", "other"),
            ),
            default="",
        ),
        # The table of routes.
        Map(
            variable="$ganglion_matched",
            source="$ganglion_method $ganglion_path",
            rows=tuple(
                (f"~{choice.route.pattern}", choice.route.name)
                for choice in choices
                if choice.route.name != MAIN
            ),
            default=MAIN,
        ),
        # A /sync without `since` is the first of a device. One with full_state takes as long, since
        # it computes the whole state of every room. /events never has either.
        Map(
            variable="$ganglion_rule",
            source="$ganglion_matched $ganglion_path?$arg_since&$arg_full_state",
            rows=((r"~^sync [^?]*/sync\?(&|.*&true$)", "initial_sync"),),
            default="$ganglion_matched",
        ),
        *_keys(),
        Map(
            variable="$ganglion_key",
            source="$ganglion_rule",
            rows=tuple(
                (choice.route.name, KEY_VARIABLES[choice.route.key])
                for choice in choices
                if choice.route.key is not Key.NONE
            ),
            default="",
        ),
        Map(
            variable="$ganglion_pool",
            source="$ganglion_rule",
            rows=tuple(
                (choice.route.name, choice.pool.upstream)
                for choice in choices
                if choice.pool.name != MAIN
            ),
            default=MAIN,
        ),
        Map(
            variable="$ganglion_fallback",
            source="$ganglion_rule",
            rows=tuple(
                (choice.route.name, choice.fallback.upstream)
                for choice in choices
                if choice.fallback is not None
            ),
            default="",
        ),
        Map(
            variable="$ganglion_last",
            source="$ganglion_rule",
            rows=tuple(
                (choice.route.name, choice.last.upstream)
                for choice in choices
                if choice.last is not None
            ),
            default="",
        ),
        Map(
            variable="$ganglion_routed" if nameable else "$ganglion_target",
            source="$ganglion_pool $ganglion_key",
            rows=tuple(_pinned(choices, pins)),
            default="$ganglion_pool",
        ),
        *(_named(nameable) if nameable else ()),
    )


def _named(nameable: Sequence[str]) -> tuple[Map, ...]:
    """Return the maps for requests that name a process, which override everything else."""
    return (
        Map(
            variable="$ganglion_named",
            source="$http_x_ganglion_worker",
            rows=(("", ""), *((name, named_upstream(name)) for name in nameable)),
            default=NOBODY,
        ),
        Map(
            variable="$ganglion_target",
            source="$ganglion_named",
            rows=(("", "$ganglion_routed"),),
            default="$ganglion_named",
        ),
    )


def _keys() -> tuple[Map, ...]:
    """Return the maps for the user, the room and the origin of a request."""
    return (
        # In a token made by Synapse, the localpart is between syt_ and the next underscore.
        Map(
            variable="$ganglion_query_user",
            source="$arg_access_token",
            rows=(
                ("~^syt_(?P<query_localpart>[^_]+)_", "$query_localpart"),
                ("~^(?P<query_token>.+)$", "$query_token"),
            ),
            default="$remote_addr",
        ),
        Map(
            variable="$ganglion_token_user",
            source="$http_authorization",
            rows=(
                ("~*^Bearer +syt_(?P<localpart>[^_]+)_", "$localpart"),
                ("~*^Bearer +(?P<token>[^ ]+)", "$token"),
            ),
            default="$ganglion_query_user",
        ),
        # An application service names the user that it acts for. A user's own token leaves no
        # choice: otherwise a client could direct its load at any worker.
        Map(
            variable="$ganglion_user",
            source="$http_authorization $arg_access_token $arg_user_id",
            rows=(
                (f"~^(?i:Bearer) +{OF_A_USER}", "$ganglion_token_user"),
                (f"~^ {OF_A_USER}", "$ganglion_token_user"),
                (
                    "~*^(?:Bearer +[^ ]+ [^ ]*| [^ ]+) (?:@|%40)(?P<service_localpart>[^:%]+)",
                    "$service_localpart",
                ),
            ),
            default="$ganglion_token_user",
        ),
        # From the decoded path, so that every spelling of an ID gives the same key. The ID ends at
        # the next slash, because that of a version 12 room has no colon to look for.
        Map(
            variable="$ganglion_room",
            source="$uri",
            rows=(
                (
                    f"{CLIENT_ROOM}(?P<client_room>[^/]+)",
                    "$client_room",
                ),
                (
                    f"{FEDERATION_ROOM}(?P<federation_room>[^/]+)",
                    "$federation_room",
                ),
            ),
            default="$uri",
        ),
        Map(
            variable="$ganglion_origin",
            source="$http_authorization",
            rows=(('~*^X-Matrix(?:.*?,| ) *origin *= *"?(?P<origin>[^", ]+)', "$origin"),),
            default="$remote_addr",
        ),
    )


def _pinned(choices: Sequence[Choice], pins: Sequence[Pin]) -> Iterator[tuple[str, str]]:
    for pin in pins:
        pools = {
            choice.pool.upstream
            for choice in choices
            if choice.route.key is pin.key and pin.worker in {m.name for m in choice.pool.members}
        }
        for upstream in sorted(pools):
            for value in pin.values:
                yield f"~^{re.escape(upstream)} {re.escape(value)}$", pin.upstream


def evaluate(tables: Sequence[Map], request: Request) -> dict[str, str]:
    """Compute the value of every variable for a request, as nginx does."""
    values = request.variables()
    for table in tables:
        result, groups = _result(table, _filled(table.source, values))
        values[table.variable] = _filled(result, values | groups)
    return values


def match(method: str, uri: str, choices: Sequence[Choice]) -> Choice:
    """Return the row of the table for a request without headers."""
    rule = evaluate(maps(choices, ()), Request(method=method, uri=uri))["$ganglion_rule"]
    return next(choice for choice in choices if choice.route.name == rule)


def _result(table: Map, source: str) -> tuple[str, dict[str, str]]:
    """Return a map's result for a source, with the groups that can appear in the result."""
    # nginx compares words without regard to case.
    words = {first.lower(): result for first, result in table.rows if not first.startswith("~")}
    if source.lower() in words:
        return words[source.lower()], {}
    for first, result in table.rows:
        found = first.startswith("~") and _compiled(first).search(source)
        if found:
            return result, {f"${name}": text or "" for name, text in found.groupdict().items()}
    return table.default, {}


def _compiled(expression: str) -> re.Pattern[str]:
    if expression.startswith("~*"):
        return re.compile(expression[2:], re.IGNORECASE)
    return re.compile(expression[1:])


def _filled(text: str, values: Mapping[str, str]) -> str:
    return VARIABLE.sub(lambda found: values[found[0]], text)
