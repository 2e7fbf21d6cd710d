"""nginx's consistent hash: which server of an upstream a key goes to.

ngx_http_upstream_hash_module.c, `hash … consistent`: each server has 160 points on a ring of 32
bits, CRC-32 of its address and the point before; a key goes to the first point not before its own
CRC-32.
"""

import bisect
import zlib
from collections.abc import Sequence

POINTS = 160


def pick(servers: Sequence[str], key: str) -> str:
    """The server that nginx asks first for a key. `servers` are as nginx.conf names them."""
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
    """The host and port that nginx makes of an address; a unix socket has no port."""
    if server.startswith("unix:"):
        return server.removeprefix("unix:"), ""
    host, _, port = server.rpartition(":")
    return host, port
