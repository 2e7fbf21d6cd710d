"""Whether nginx knows the addresses of its clients, which networks in variables are compared with.

A reverse proxy, and Docker where it publishes a port, connect from an address of their own. Without
TRUSTED_PROXIES it counts as the address of every client behind it.
"""

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network

from ganglion.settings.parsers import ALL_NETWORKS, PRIVATE_NETWORKS
from ganglion.settings.variables import Settings

Network = IPv4Network | IPv6Network
# Where proxies and Docker's own addresses are: private networks, those of a link, and those that
# providers and overlay networks share (RFC 6598).
NEAR = tuple(map(ip_network, (*PRIVATE_NETWORKS, "169.254.0.0/16", "fe80::/10", "100.64.0.0/10")))


def notes(settings: Settings) -> Iterator[str]:
    """Yield a warning if a proxy, or Docker, could pass for an administrator."""
    networks = settings.admin_networks
    near = [text for text in networks if _is_near(text)]
    everyone = set(ALL_NETWORKS) <= set(networks)
    if everyone or not near or any(map(_is_near, settings.trusted_proxies)):
        return
    yield (
        f"GANGLION_ADMIN_NETWORKS has {', '.join(near)}, where a reverse proxy or Docker itself can"
        " be: without TRUSTED_PROXIES every client that comes through one counts as an"
        " administrator's network, unless the proxy sends X-Forwarded-For. Behind a proxy, set"
        " TRUSTED_PROXIES to its network; publish ports on 127.0.0.1 only. See"
        " docs/reverse-proxy.md"
    )


def _is_near(text: str) -> bool:
    network = ip_network(text)
    return any(network.version == other.version and network.overlaps(other) for other in NEAR)
