"""The Linux capabilities that a start needs: capabilities(7)."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from ganglion.errors import Problem

Read = Callable[[str], str]

STATUS = "/proc/self/status"
UNPRIVILEGED = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
# Each with its bit (linux/capability.h) and its use. A test in the image layer starts a server with
# exactly these, and shows for each of them that it fails without.
ROOT: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        "CHOWN": (0, "gives files to the accounts of the programs"),
        "DAC_OVERRIDE": (1, "reads your files, whichever account owns them"),
        "FOWNER": (3, "sets the modes of files that belong to the programs' accounts"),
        "KILL": (5, "stops the programs, which run as accounts of their own"),
        "SETGID": (6, "starts the programs as accounts of their own"),
        "SETUID": (7, "starts the programs as accounts of their own"),
    }
)
PORTS = "NET_BIND_SERVICE"
PORTS_BIT = 10


def needed(read: Read, ports: Mapping[str, int], *, root: bool) -> dict[str, tuple[int, str]]:
    """Return the capabilities that this start needs, with their bits and uses.

    Another account than root needs none, except for `ports` below those that the kernel leaves to
    every account.
    """
    found = dict(ROOT) if root else {}
    try:
        free = int(read(UNPRIVILEGED))
    except (OSError, ValueError):
        return found
    low = [f"{name}={port}" for name, port in ports.items() if port < free]
    if low:
        found[PORTS] = (PORTS_BIT, f"opens {', '.join(low)}, below {free}")
    return found


def read_text(path: str) -> str:
    """Return the text of a file. Raises OSError."""
    return Path(path).read_text(encoding="utf-8")


def lacking(ports: Mapping[str, int] = MappingProxyType({}), *, root: bool) -> Iterator[Problem]:
    """The capabilities that a start of this process would lack."""
    yield from missing(read_text, needed(read_text, ports, root=root))


def missing(read: Read, wanted: Mapping[str, tuple[int, str]]) -> Iterator[Problem]:
    """The capabilities of `wanted` that this process lacks. `read` returns the text of a file."""
    try:
        line = next(line for line in read(STATUS).splitlines() if line.startswith("CapEff:"))
    except (OSError, StopIteration):
        # Without /proc nothing is known, and nothing is refused.
        return
    effective = int(line.split()[1], 16)
    lacking = {name: use for name, (bit, use) in wanted.items() if not effective & 1 << bit}
    if lacking:
        uses = "; ".join(f"CAP_{name} {use}" for name, use in lacking.items())
        yield Problem(
            variable="capabilities",
            value=None,
            message=f"this account lacks {', '.join(f'CAP_{name}' for name in lacking)}: {uses}",
            hint=" ".join(_hint(lacking)),
        )


def _hint(lacking: Mapping[str, str]) -> Iterator[str]:
    root = [name for name in lacking if name != PORTS]
    if PORTS in lacking:
        sysctl = "net.ipv4.ip_unprivileged_port_start=0"
        yield f"choose higher ports, or docker run --sysctl {sysctl}"
    if root:
        if PORTS in lacking:
            yield "and"
        options = " ".join(f"--cap-add {name}" for name in root)
        yield f"docker run {options}, or start as another account: docker run --user UID:GID"
