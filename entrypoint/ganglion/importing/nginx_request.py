"""The destination that nginx gives a request: locations, rewrites, conditions, variables.

Sources: ngx_http_core_find_location in src/http/ngx_http_core_module.c, and
https://nginx.org/en/docs/http/ngx_http_core_module.html#location
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from ganglion.errors import ConfigError, Problem
from ganglion.importing.nginx_file import Directive
from ganglion.routing.nginx_maps import decoded

# ngx_http_core_main_conf's limit of internal redirects.
MOST_REDIRECTS = 10
VARIABLE = re.compile(r"\$(?:\{(?P<braced>\w+)\}|(?P<plain>\w+))")
NAMED_GROUP = re.compile(r"\(\?<(?=[A-Za-z_])")
NOBODY = "nginx itself"


@dataclass(slots=True)
class _State:
    """A request on its way through a server block."""

    method: str
    uri: str
    values: dict[str, str]
    maps: Mapping[str, Directive]
    path: list[Directive] = field(default_factory=list)
    broken: bool = False


class Answer(Exception):
    """The end of a request: the address that it is passed to, or an `own` answer of nginx."""

    def __init__(self, to: str, *, own: bool = False) -> None:
        super().__init__(to)
        self.to = to
        self.own = own


def destination(http: Directive, server: Directive, method: str, target: str) -> Answer:
    """Return where a request goes. `target` is a raw path, with a query or without.

    Raises ConfigError for an expression that Python cannot evaluate as nginx does.
    """
    path, _, query = target.partition("?")
    # merge_slashes is on by default, and both are the same for the server.
    merges = _last(server, "merge_slashes") or _last(http, "merge_slashes")
    uri = decoded(path)
    if merges != "off":
        uri = re.sub("//+", "/", uri)
    state = _State(
        method=method,
        uri=uri,
        values={
            "request_method": method,
            "request_uri": target,
            "args": query,
            "is_args": "?" if query else "",
            "query_string": query,
            "remote_addr": "192.0.2.1",
            "scheme": "https",
            "host": "example.org",
        },
        maps={
            item.words[1].lstrip("$"): item for item in _blocks(http, "map") if len(item.words) == 2
        },
    )
    for part in query.split("&"):
        name, equals, value = part.partition("=")
        if equals:
            state.values.setdefault(f"arg_{name.lower()}", value)
    try:
        _rewrites(server, state)
        for _ in range(MOST_REDIRECTS):
            state.path, state.broken = [server], False
            found, _ = _location(server, state)
            before = state.uri
            if found is not server:
                _rewrites(found, state)
            if state.uri == before or state.broken:
                _content(state)
        return Answer(f"{NOBODY}: too many redirects", own=True)
    except Answer as answer:
        return answer


def _blocks(block: Directive, name: str) -> Iterator[Directive]:
    for item in block.block:
        if item.name == name:
            yield item
        elif item.name in ("http", ""):
            yield from _blocks(item, name)


def _last(block: Directive, name: str) -> str | None:
    found = [item.words[0] for item in _blocks(block, name) if item.words]
    return found[-1] if found else None


def _location(block: Directive, state: _State) -> tuple[Directive, bool]:
    """Find the location as ngx_http_core_find_location does, and note the path to it.

    Returns it, and whether that is final: after a prefix, the expressions of the levels above are
    still tried.
    """
    locations = [_parts(item) for item in block.all("location")]
    for kind, name, item in locations:
        if kind == "=" and state.uri == name:
            state.path.append(item)
            return item, True
    before = list(state.path)
    best = _prefix(locations, state.uri)
    found = block
    if best is not None:
        state.path.append(best[1])
        found, final = _location(best[1], state)
        if final:
            return found, True
    if best is None or best[0] != "^~":
        for kind, name, item in locations:
            if kind not in ("~", "~*"):
                continue
            match = _expression(name, kind == "~*", item.where).search(state.uri)
            if match:
                _capture(match, state)
                state.path[:] = [*before, item]
                found, _ = _location(item, state)
                return found, True
    return found, False


def _prefix(locations: list[tuple[str, str, Directive]], uri: str) -> tuple[str, Directive] | None:
    """Return the longest prefix. Raises Answer for a redirect to a slash at the end."""
    best: tuple[str, str, Directive] | None = None
    for kind, name, item in locations:
        if kind not in ("", "^~") or name.startswith("@"):
            continue
        if uri.startswith(name) and (best is None or len(name) > len(best[1])):
            best = (kind, name, item)
        passes = any(inner.name.endswith("_pass") for inner in item.block)
        if name == f"{uri}/" and passes and all(other[1] != uri for other in locations):
            raise Answer(f"{NOBODY}: 301 to {name}", own=True)
    return None if best is None else (best[0], best[2])


def _parts(location: Directive) -> tuple[str, str, Directive]:
    words = location.words
    if len(words) == 2:
        return words[0], words[1], location
    name = words[0] if words else "/"
    for kind in ("^~", "~*", "=", "~"):
        if name.startswith(kind) and len(name) > len(kind):
            return kind, name.removeprefix(kind), location
    return "", name, location


def _rewrites(block: Directive, state: _State) -> None:
    """Run set, if, rewrite and return in their order. Raises Answer for an end."""
    for item in block.block:
        if state.broken:
            return
        words = item.words
        if item.name == "set" and len(words) == 2:
            state.values[words[0].lstrip("$")] = _filled(words[1], state)
        elif item.name == "return":
            raise Answer(f"{NOBODY}: {_filled(' '.join(words), state)}", own=True)
        elif item.name == "break":
            state.broken = True
        elif item.name == "rewrite" and len(words) >= 2:
            if _rewrite(item, state):
                return
        elif item.name == "if" and _condition(item, state):
            state.path.append(item)
            _rewrites(item, state)


def _rewrite(item: Directive, state: _State) -> bool:
    """Apply a rewrite. Returns whether it ends the block's rewrites."""
    expression, replacement, *flags = item.words
    found = _expression(expression, False, item.where).search(state.uri)
    if not found:
        return False
    _capture(found, state)
    text = _filled(replacement, state)
    if "redirect" in flags or "permanent" in flags or re.match("https?://|\\$scheme", text):
        raise Answer(f"{NOBODY}: redirect to {text}", own=True)
    state.uri = text.partition("?")[0]
    state.broken = "break" in flags
    return bool(flags)


def _condition(item: Directive, state: _State) -> bool:
    """Evaluate the words of `if`."""
    text = " ".join(item.words).strip()
    text = text.removeprefix("(").removesuffix(")").strip()
    found = re.fullmatch(r"(\$\{?\w+\}?)(?:\s*(!=|=|!~\*|!~|~\*|~)\s*(.*))?", text, re.DOTALL)
    if found is None:
        # -f, -d, -e and -x: files of the old machine, which are not there.
        return text.startswith("!-")
    value, operator, right = _filled(found[1], state), found[2], (found[3] or "").strip("\"'")
    if operator is None:
        return value not in ("", "0")
    if operator in ("=", "!="):
        return (value == _filled(right, state)) is (operator == "=")
    match = _expression(right, operator.endswith("*"), item.where).search(value)
    if match:
        _capture(match, state)
    return bool(match) is not operator.startswith("!")


def _content(state: _State) -> None:
    """Raise Answer with the content handler of the location, or of an `if` in it."""
    for block in reversed(state.path):
        for item in block.block:
            if item.name in ("proxy_pass", "grpc_pass", "fastcgi_pass", "uwsgi_pass"):
                raise Answer(_filled(item.words[0] if item.words else "", state))
        if block.name == "location":
            break
    raise Answer(f"{NOBODY}: a file, or 404", own=True)


def _filled(text: str, state: _State) -> str:
    def value(found: re.Match[str]) -> str:
        return _value(found["braced"] or found["plain"], state)

    return VARIABLE.sub(value, text)


def _value(name: str, state: _State, depth: int = 0) -> str:
    if name in state.values:
        return state.values[name]
    if name in ("uri", "document_uri"):
        return state.uri
    if name not in state.maps or depth > MOST_REDIRECTS:
        # A header that the request does not have, or a variable of another module.
        return ""
    table = state.maps[name]
    source = VARIABLE.sub(
        lambda found: _value(found["braced"] or found["plain"], state, depth + 1), table.words[0]
    )
    result = _mapped(table, source, state)
    return VARIABLE.sub(
        lambda found: _value(found["braced"] or found["plain"], state, depth + 1), result
    )


def _mapped(table: Directive, source: str, state: _State) -> str:
    """Look a source up: words first, then the first expression, then the default."""
    default = ""
    for item in table.block:
        if item.name == "default" and item.words:
            default = item.words[0]
        elif item.name.lstrip("\\").lower() == source.lower() and item.words:
            return item.words[0]
    for item in table.block:
        if item.name.startswith("~") and item.words:
            ignores = item.name.startswith("~*")
            expression = item.name[2:] if ignores else item.name[1:]
            found = _expression(expression, ignores, item.where).search(source)
            if found:
                _capture(found, state)
                return item.words[0]
    return default


def _capture(found: re.Match[str], state: _State) -> None:
    for number, group in enumerate(found.groups(), start=1):
        state.values[str(number)] = group or ""
    for name, group in found.groupdict().items():
        state.values[name] = group or ""


@lru_cache(maxsize=2000)
def _expression(text: str, ignores_case: bool, where: str) -> re.Pattern[str]:  # noqa: FBT001
    """Compile PCRE's expression. Raises ConfigError if Python has no such syntax."""
    try:
        return re.compile(
            NAMED_GROUP.sub("(?P<", text), re.ASCII | (re.IGNORECASE if ignores_case else 0)
        )
    except re.error as error:
        raise ConfigError(
            [
                Problem(
                    variable=where,
                    value=None,
                    message=f"has an expression that cannot be evaluated: {text}: {error}",
                    hint="write it in another way in a copy of the file, and give the copy",
                )
            ]
        ) from error
