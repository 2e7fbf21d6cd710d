"""The check of the name server behind URL previews."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from ganglion.doctor.finding import Check, Finding, bad, good, notice
from ganglion.doctor.network import NoResolver
from ganglion.doctor.place import Place
from ganglion.doctor.unavailable import Unavailable

# A name that any resolver of the internet knows, and that Synapse asks anyway.
SOME_SERVER = "matrix.org"
# Synapse's default: DEFAULT_IP_RANGE_BLOCKLIST in synapse/config/server.py.
PRIVATE = (
    *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"),
    *("192.0.0.0/24", "169.254.0.0/16", "192.88.99.0/24", "198.18.0.0/15", "192.0.2.0/24"),
    *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "::1/128", "fe80::/10", "fc00::/7"),
    *("2001:db8::/32", "ff00::/8", "fec0::/10"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolver:
    """The addresses of a public server, as this machine resolves it, and those that are blocked."""

    host: str
    addresses: tuple[str, ...]
    blocked: tuple[str, ...]
    failure: str | None = None


def observe_previews(place: Place) -> Resolver:
    """Resolve a public name, and apply Synapse's list of blocked networks."""
    if place.option("url_preview_enabled") is not True:
        raise Unavailable("URL previews are off")
    if place.option("http_proxy", place.settings.http_proxy):
        raise Unavailable("the HTTP proxy resolves names for URL previews")
    networks = [ip_network(text, strict=False) for text in _blocked_networks(place)]
    try:
        addresses = place.network.addresses(SOME_SERVER)
    except NoResolver as error:
        return Resolver(host=SOME_SERVER, addresses=(), blocked=(), failure=str(error))
    blocked = tuple(
        address
        for address in addresses
        if any(ip_address(address) in network for network in networks)
    )
    return Resolver(host=SOME_SERVER, addresses=addresses, blocked=blocked)


def _blocked_networks(place: Place) -> tuple[str, ...]:
    names = ("url_preview_ip_range_blacklist", "url_preview_ip_range_blocklist")
    lists: list[Any] = [place.option(name) for name in names]
    given = next((item for item in lists if isinstance(item, list)), PRIVATE)
    return tuple(str(item) for item in given if _is_network(str(item)))


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def judge_previews(found: Resolver) -> Iterator[Finding]:
    """Judge the resolver."""
    means = "users see no previews of links"
    if found.failure is not None:
        yield bad(
            f"no name server answers: {found.failure}",
            means,
            "cat /etc/resolv.conf    # in Docker: docker run --dns ADDRESS",
        )
    elif not found.addresses:
        yield notice(
            f"the name server knows no address of {found.host}",
            f"{means} of public sites, if it knows no public names at all",
            "cat /etc/resolv.conf    # in Docker: docker run --dns ADDRESS",
        )
    elif len(found.blocked) == len(found.addresses):
        yield bad(
            f"the name server gives {found.host} the address {found.blocked[0]}, which"
            " url_preview_ip_range_blacklist blocks",
            f"{means}: a resolver that rewrites public names, such as one with NAT64 or a filter",
            "use another name server: in Docker, docker run --dns 9.9.9.9",
        )
    else:
        yield good(f"public names resolve, such as {found.host} to {found.addresses[0]}")


CHECKS = (
    Check(
        name="url-previews",
        about="the name server behind URL previews: it answers, and not with addresses that Synapse"
        " blocks",
        observe=observe_previews,
        judge=judge_previews,
    ),
)
