"""Addresses of listeners, as the programs' settings spell them."""

import socket

UNIX = "unix:"


def destination(address: str) -> tuple[socket.AddressFamily, str | tuple[str, int]]:
    """Return the family of an address, and where its socket is bound or connected.

    An address is a path, with or without `unix:`, or an IP address and a port; brackets around the
    former are left out.
    """
    path = address.removeprefix(UNIX)
    if path.startswith("/"):
        return socket.AF_UNIX, path
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return family, (host.strip("[]"), int(port))
