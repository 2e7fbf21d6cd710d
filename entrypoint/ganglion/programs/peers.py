"""The hosts of other containers, which nginx resolves when it reads its files, and only then.

nginx would not start if a name did not resolve, and would not notice that a container which was
made anew has another address. So a helper resolves all names every two seconds. After a change it
writes the upstreams again and has nginx read them. Upstreams keep the names, not their addresses,
because nginx distributes keys by the text of a member. nginx of Debian 13 (1.26) has no `resolve`
parameter: that came with 1.27.3. https://nginx.org/en/docs/http/ngx_http_upstream_module.html#server
"""

import re
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path

from ganglion.files.file import PUBLIC
from ganglion.files.write import write_file
from ganglion.settings.variables import Settings

CONF = "upstreams.conf"
# In seconds, between two looks.
EVERY = 2.0
# A name is given up after so many failures in a row: a name server fails now and then.
FAILURES = 3
SERVER = re.compile(r"^( *server )(\[[^]]+\]|[^:\s]+)(:\d+)( [^;]*)?;$", re.MULTILINE)

# The addresses of each host, none for one that does not resolve.
Addresses = Mapping[str, tuple[str, ...]]
Resolve = Callable[[str], tuple[str, ...]]


def resolve(host: str) -> tuple[str, ...]:
    """Return the addresses of a host, in order; none if it has none at the moment."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(sorted({str(item[4][0]) for item in found}))


def hosts(text: str) -> tuple[str, ...]:
    """Return the host names in nginx's upstreams, without addresses, each once."""
    names = dict.fromkeys(found[2] for found in SERVER.finditer(text))
    return tuple(name for name in names if not _is_address(name))


def adapted(text: str, addresses: Addresses) -> str:
    """Return the upstreams with every member marked down whose host has no address."""

    def line(found: re.Match[str]) -> str:
        if addresses.get(found[2], ("known",)):
            return found[0]
        # nginx wants an address here that it can resolve.
        return f"{found[1]}127.0.0.1{found[3]} down; # {found[2]} does not resolve"

    return SERVER.sub(line, text)


class Peers:
    """The addresses of all hosts, as they were last seen."""

    def __init__(self, names: Iterable[str], resolve: Resolve = resolve) -> None:
        self._resolve = resolve
        self._failures = dict.fromkeys(names, FAILURES)
        self.addresses: dict[str, tuple[str, ...]] = dict.fromkeys(self._failures, ())
        self.look()

    def look(self) -> tuple[str, ...]:
        """Resolve all names. Return those whose addresses have changed."""
        changed = []
        for name in self._failures:
            found = self._resolve(name)
            self._failures[name] = 0 if found else self._failures[name] + 1
            given_up = not found and self._failures[name] >= FAILURES
            if (found or given_up) and found != self.addresses[name]:
                self.addresses[name] = found
                changed.append(name)
        return tuple(changed)


def write(settings: Settings, peers: Peers) -> None:
    """Write the upstreams as nginx reads them."""
    text = Path(settings.paths.conf_file(CONF)).read_text(encoding="utf-8")
    content = adapted(text, peers.addresses)
    write_file(Path(settings.paths.upstreams), content, PUBLIC, None, lasting=False)


def watch(settings: Settings, peers: Peers, tell: Callable[[str], None]) -> None:
    """Look at the hosts for ever, and tell to reload nginx after a change. It may block."""
    while True:
        time.sleep(EVERY)
        changed = peers.look()
        if changed:
            write(settings, peers)
            tell(f"reload nginx {_told(changed, peers.addresses)}")


def _told(changed: Iterable[str], addresses: Addresses) -> str:
    words = [f"{name} is at {', '.join(addresses[name]) or 'no address'}" for name in changed]
    return "; ".join(words)


def _is_address(text: str) -> bool:
    try:
        ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True
