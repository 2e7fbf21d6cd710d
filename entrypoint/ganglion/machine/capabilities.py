"""The Linux capabilities that a start as root needs: capabilities(7)."""

from collections.abc import Callable, Iterator

from ganglion.errors import Problem

STATUS = "/proc/self/status"
# Each with its bit (linux/capability.h) and its use. A test in the image layer starts a server with
# exactly these, and without each of them.
NEEDED = {
    "CHOWN": (0, "gives files to the accounts of the programs"),
    "DAC_OVERRIDE": (1, "reads your files, whichever account owns them"),
    "FOWNER": (3, "sets the modes of files that belong to the programs' accounts"),
    "KILL": (5, "stops the programs, which run as accounts of their own"),
    "SETGID": (6, "starts the programs as accounts of their own"),
    "SETUID": (7, "starts the programs as accounts of their own"),
}


def missing(read: Callable[[str], str]) -> Iterator[Problem]:
    """The capabilities that root lacks here. `read` returns the text of a file."""
    try:
        line = next(line for line in read(STATUS).splitlines() if line.startswith("CapEff:"))
    except (OSError, StopIteration):
        # Without /proc nothing is known, and nothing is refused.
        return
    effective = int(line.split()[1], 16)
    lacking = {name: use for name, (bit, use) in NEEDED.items() if not effective & 1 << bit}
    if lacking:
        uses = "; ".join(f"CAP_{name} {use}" for name, use in lacking.items())
        options = " ".join(f"--cap-add {name}" for name in lacking)
        yield Problem(
            variable="capabilities",
            value=None,
            message=f"root lacks {', '.join(f'CAP_{name}' for name in lacking)} here: {uses}",
            hint=f"docker run {options}, or start as another account: docker run --user UID:GID",
        )
