"""nginx's consistent hash in Python: it selects the server of an upstream for a key.

This is `hash … consistent` of ngx_http_upstream_hash_module.c. Each server has 160 points on a ring
of 32-bit numbers. Each point is the CRC-32 of the server's address and the previous point. A key
belongs to the first point that is not below the key's CRC-32.
"""

import bisect
import zlib
from collections.abc import Sequence

POINTS = 160


def pick(servers: Sequence[str], key: str) -> str:
    """Return the server that nginx tries first for a key. `servers` are as nginx.conf has them."""
    ring = sorted((point, server) for server in servers for point in _points(server))
    place = bisect.bisect_left(ring, (zlib.crc32(key.encode("latin-1", "surrogateescape")), ""))
    return ring[place % len(ring)][1]


def _points(server: str) -> list[int]:
    host, port = _parts(server)
    base = zlib.crc32(host.encode() + b"\0" + port.encode())
    points, previous = [], 0
    for _ in range(POINTS):
        previous = zlib.crc32(previous.to_bytes(4, "little"), base)
        points.append(previous)
    return points


def _parts(server: str) -> tuple[str, str]:
    """Split an address into host and port as nginx does; a Unix socket has no port."""
    if server.startswith("unix:"):
        return server.removeprefix("unix:"), ""
    host, _, port = server.rpartition(":")
    return host, port
