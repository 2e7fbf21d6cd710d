"""Read the parts of `listeners` in the operator's files that main's listener keeps.

Each process has listeners that nginx knows, so the addresses of the operator's listeners are not
used. Their `compress`, `additional_resources` and `request_id_header` go to main's listener, and
main opens their manholes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ganglion.errors import Problem

# Resources of main's listener: the others are Ganglion's own or belong to one of these.
COMPRESSIBLE = ("client", "federation", "consent")
HIGHEST_PORT = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """The parts that main's listener takes from the operator's listeners.

    `compress` are the resources whose answers main compresses, `additional_resources` Synapse's
    option of that name, path by path, and `manholes` ports on 127.0.0.1.
    """

    compress: frozenset[str] = frozenset()
    additional_resources: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    request_id_header: str | None = None
    manholes: tuple[int, ...] = ()


def read(options: Mapping[str, Any]) -> Listeners:
    """Read the parts. Those with a problem, see problems(), are left out."""
    compress: set[str] = set()
    additional: dict[str, Any] = {}
    header: str | None = None
    for listener in _mappings(options.get("listeners")):
        for resource in _mappings(listener.get("resources")):
            if resource.get("compress") is True:
                compress.update(name for name in COMPRESSIBLE if name in _names(resource))
        more = listener.get("additional_resources")
        if isinstance(more, Mapping):
            additional.update(more)
        if isinstance(listener.get("request_id_header"), str):
            header = header or listener["request_id_header"]
    return Listeners(
        compress=frozenset(compress),
        additional_resources=MappingProxyType(additional),
        request_id_header=header,
        manholes=tuple(dict.fromkeys(port for port in _manholes(options) if _is_port(port))),
    )


def problems(
    options: Mapping[str, Any], sources: Mapping[str, str], taken: Mapping[str, int]
) -> Iterator[Problem]:
    """Yield what cannot be used. `taken` are the ports that nginx opens, by their variables."""
    listeners = options.get("listeners")
    if listeners is not None and not (
        isinstance(listeners, list) and len(_mappings(listeners)) == len(listeners)
    ):
        yield Problem(
            variable=_of(sources, "listeners"),
            value=None,
            message="sets listeners to something other than a list of mappings",
            hint="write a list, with - port: 8008 and the rest below it, or remove it",
        )
    for port in _manholes(options):
        where = _of(sources, "manhole" if port == options.get("manhole") else "listeners")
        names = [name for name, number in taken.items() if number == port]
        if not _is_port(port):
            message = f"sets a manhole at {port!r}, which is not a port"
        elif names:
            message = f"sets a manhole at {port}, which is {names[0]}"
        else:
            continue
        yield Problem(
            variable=where, value=None, message=message, hint="use a free port such as 9000"
        )


def notes(options: Mapping[str, Any], sources: Mapping[str, str]) -> tuple[str, ...]:
    """Return what becomes of the operator's listeners, and where a manhole is."""
    found: list[str] = []
    kept, where = read(options), _of(sources, "listeners")
    listeners = _mappings(options.get("listeners"))
    if listeners:
        used = [
            name
            for name in ("compress", "additional_resources", "request_id_header")
            if getattr(kept, name)
        ]
        also = f"; main keeps their {', '.join(used)}" if used else ""
        found.append(
            f"{where}: listeners is replaced: nginx answers on HTTP_PORT and"
            f" FEDERATION_PORT, and each process has a socket{also}"
        )
        if any(listener.get("tls") for listener in listeners):
            found.append(
                f"{where}: listeners: tls has no effect: nginx answers HTTPS, with"
                " SYNAPSE_TLS_CERT and SYNAPSE_TLS_KEY"
            )
        if any(_is_metrics(listener) for listener in listeners):
            found.append(
                f"{where}: listeners: metrics has no effect: each process's metrics"
                " are at /metrics/NAME of CONTROL_PORT, if SYNAPSE_ENABLE_METRICS is on"
            )
    found.extend(
        f"main's manhole is at 127.0.0.1:{port}, inside the container" for port in kept.manholes
    )
    return tuple(found)


def _of(sources: Mapping[str, str], option: str) -> str:
    return sources.get(option, "your files")


def _manholes(options: Mapping[str, Any]) -> Iterator[Any]:
    if options.get("manhole"):
        yield options["manhole"]
    for listener in _mappings(options.get("listeners")):
        if listener.get("type") == "manhole":
            yield listener.get("port")


def _is_port(value: object) -> bool:
    return type(value) is int and 1 <= value <= HIGHEST_PORT


def _is_metrics(listener: Mapping[str, Any]) -> bool:
    named = any("metrics" in _names(item) for item in _mappings(listener.get("resources")))
    return listener.get("type") == "metrics" or named


def _names(resource: Mapping[str, Any]) -> tuple[str, ...]:
    names = resource.get("names")
    return tuple(names) if isinstance(names, list) else ()


def _mappings(value: object) -> tuple[Mapping[str, Any], ...]:
    items = value if isinstance(value, list) else []
    return tuple(item for item in items if isinstance(item, Mapping))
