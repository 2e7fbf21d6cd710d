"""The variables of a container that runs a part of the topology, and what they require.

Decision 0039: docs/decisions/0039-parts-of-one-topology.md.
"""

import re
from dataclasses import dataclass

from ganglion.settings import parsers
from ganglion.settings.stores import StoreSettings
from ganglion.settings.variable import row

# The word of GANGLION_ONLY for the proxy; every other names processes.
NGINX = "nginx"
# The entry of GANGLION_HOSTS for all processes without one of their own.
OTHERS = "*"
WORD = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*", re.ASCII)
PLACEHOLDER = re.compile(r"\{(process|group|number)\}")


def only(text: str) -> tuple[str, ...]:
    """Parse words separated by commas, spaces or line breaks."""
    words = tuple(dict.fromkeys(text.replace(",", " ").split()))
    for word in words:
        if not WORD.fullmatch(word):
            raise parsers.Invalid(
                f"{word!r} is not a name",
                "write names of processes, entries of WORKERS or roles, and nginx, with commas",
            )
    return words


def hosts(text: str) -> tuple[tuple[str, str], ...]:
    """Parse entries NAME=HOST, separated by commas or line breaks.

    A HOST may contain {process}, {group} and {number}: host_of() replaces them.
    """
    found: dict[str, str] = {}
    for part in filter(None, (item.strip() for item in re.split(r"[,\n]", text))):
        name, equals, template = (item.strip() for item in part.partition("="))
        if not equals or not (name == OTHERS or WORD.fullmatch(name)):
            raise parsers.Invalid(
                f"{part!r} is not NAME=HOST",
                "write entries such as main=10.0.0.1, or *={process} for all other processes",
            )
        if name in found:
            raise parsers.Invalid(f"names {name!r} twice", "keep one of the two entries")
        try:
            parsers.host(PLACEHOLDER.sub("x", template))
        except parsers.Invalid as invalid:
            raise parsers.Invalid(
                f"{template!r}, of {name}, is not a host name or IP address",
                "write a host such as 10.0.0.1; it may contain {process}, {group} and {number}",
            ) from invalid
        found[name] = template
    return tuple(found.items())


def host_of(template: str, process: str, group: str) -> str:
    """Return the host of a process. Names become valid in DNS: lowercase, with - for _ and +."""
    values = {"process": process, "group": group, "number": process.removeprefix(group)}
    host = PLACEHOLDER.sub(lambda found: re.sub("[_+]", "-", values[found[1]].lower()), template)
    return parsers.host(host)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSettings(StoreSettings):
    """The rows of Settings for several containers."""

    only: tuple[str, ...] = row(
        "GANGLION_ONLY",
        only,
        tuple[str, ...](),
        "The part of WORKERS that this container runs: names of processes, of entries or of roles,"
        " `main` and `nginx`, with commas. Others run in other containers; see"
        " docs/several-machines.md.",
        shown_default="everything",
    )
    hosts: tuple[tuple[str, str], ...] = row(
        "GANGLION_HOSTS",
        hosts,
        tuple[tuple[str, str], ...](),
        "With GANGLION_ONLY, the host of each process: `NAME=HOST` with commas. NAME is a process,"
        " an entry of WORKERS, a role, or `*` for all others; HOST may contain `{process}`,"
        " `{group}` and `{number}`. The same in all containers.",
        shown_default="none",
    )

    replication_cert: str | None = row(
        "GANGLION_REPLICATION_CERT",
        parsers.certificates,
        None,
        "With GANGLION_ONLY, the certificate, in PEM, by which replication between processes is"
        " encrypted. The same in all containers, unless GANGLION_REPLICATION_CA is set.",
        secret=True,
    )
    replication_key: str | None = row(
        "GANGLION_REPLICATION_KEY",
        parsers.private_key,
        None,
        "The key of GANGLION_REPLICATION_CERT, in PEM.",
        secret=True,
    )
    replication_ca: str | None = row(
        "GANGLION_REPLICATION_CA",
        parsers.certificates,
        None,
        "The authorities, in PEM, that sign a certificate for the hosts of each container. Only"
        " replication trusts them, and it trusts no other.",
        secret=True,
    )

    @property
    def encrypts_replication(self) -> bool:
        """Whether requests of replication go over TLS."""
        return self.replication_cert is not None and self.replication_key is not None

    @property
    def partial(self) -> bool:
        """Whether other containers run the rest of the topology."""
        return bool(self.only)

    @property
    def uses_stores(self) -> bool:
        """Whether a process runs here that needs PostgreSQL and Redis."""
        return set(self.only) != {NGINX}

    @property
    def runs_nginx(self) -> bool:
        """Whether nginx runs here."""
        return not self.only or NGINX in self.only
