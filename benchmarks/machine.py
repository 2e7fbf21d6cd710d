"""The machine and the versions that a result was measured with."""

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from ganglion import __version__


def describe(images: Sequence[str]) -> dict[str, str]:
    """The machine and the versions of the programs: in the first image, or on this machine."""
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "processor": _found(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text()),
        "memory": f"{_memory() / 1e9:.1f} GB",
        "kernel": platform.release(),
        "runs": "in Docker" if images else "without Docker",
        "Ganglion": _commit(),
        **(_versions_of_image(images[0], PYTHON) if images else _versions()),
        **{f"image {peer}": _peer(peer) for peer in images[1:]},
    }


def _peer(image: str) -> str:
    versions = _versions_of_image(image, "python")
    return f"({', '.join(f'{name} {version}' for name, version in versions.items())})"


def load_average() -> float:
    """How many processes wanted to run, as the mean of the last minute."""
    return os.getloadavg()[0]


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1].strip() if found else "unknown"


def _versions() -> dict[str, str]:
    postgres = max(Path("/usr/lib/postgresql").glob("*/bin/postgres"), default=Path("postgres"))
    return {
        "Synapse": metadata.version("matrix-synapse"),
        "Python": platform.python_version(),
        "PostgreSQL": _said(str(postgres), "--version"),
        "Redis": _said("redis-server", "--version"),
        "nginx": _said("nginx", "-v"),
    }


PYTHON = "/opt/ganglion/venv/bin/python"
# Run in the image by its Python.
ASK = """
import platform, subprocess, glob
from importlib.metadata import version
def said(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    print(done.stdout + done.stderr)
print("Python", platform.python_version())
print("Synapse", version("matrix-synapse"))
said(max(glob.glob("/usr/lib/postgresql/*/bin/postgres")), "--version")
said("redis-server", "--version")
said("nginx", "-v")
"""


def _versions_of_image(image: str, python: str) -> dict[str, str]:
    said = _output("docker", "run", "--rm", "--entrypoint", python, image, "-P", "-c", ASK)
    version = r"\D*?(\d+(?:\.\d+)+)"
    names = {"Synapse": "Synapse", "Python": "Python", "PostgreSQL": r"postgres \(PostgreSQL\)"}
    names |= {"Redis": "Redis server v=", "nginx": "nginx version"}
    return {name: _found(f"^{pattern}{version}", said) for name, pattern in names.items()}


def _commit() -> str:
    """The version, and the commit of the checkout, which the image is built from too."""
    commit = _output("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty")
    return f"{__version__} ({commit.strip()})" if commit else __version__


def _said(*command: str) -> str:
    return _found(r"(\d+(?:\.\d+)+)", _output(*command))


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout + done.stderr if done.returncode == 0 else ""
