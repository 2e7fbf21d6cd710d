"""Docker's command line for tests, and containers that are removed afterwards."""

import contextlib
import io
import json
import os
import secrets
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from tests.harness import OPERATOR_FILE, SHARED_SECRET

ROOT = Path(__file__).resolve().parents[2]

# In seconds.
HEALTHY_WITHIN = 240.0
STOP_WITHIN = 60.0

# The first file lifts the rate limits, which the flows would exceed. With the second, the
# background updates of a new database take 1 s instead of 40 s; until they are done, the user
# directory is empty.
OPERATOR_FILES = {
    "00-tests.yaml": OPERATOR_FILE,
    "10-updates.yaml": "background_updates: {sleep_enabled: false}\n",
}
CLIENT_ENVIRONMENT = {
    # Our requests come from the gateway of the container's network.
    "GANGLION_ADMIN_NETWORKS": "private",
    "SYNAPSE_ENABLE_REGISTRATION": "yes",
    "SYNAPSE_REGISTRATION_SHARED_SECRET": SHARED_SECRET,
}

# An engine that runs in a chroot, as CI's may, starts the command of `docker exec` at the root
# of the machine. There, the container's first process has this number, and its root below that.
ENTER = 'cd "/proc/$0/root" 2>/dev/null || cd /; exec chroot . "$@"'


def run(
    *command: str,
    stdin: bytes = b"",
    check: bool = True,
    timeout: float = 300,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command of this machine. Raises AssertionError with its output when it fails."""
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        timeout=timeout,
        check=False,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
    )
    result = subprocess.CompletedProcess(
        command, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode()
    )
    assert not check or result.returncode == 0, (
        f"{' '.join(command)}: exit status {result.returncode}\n{result.stdout}{result.stderr}"
    )
    return result


def docker(*words: str, stdin: bytes = b"", check: bool = True, timeout: float = 300) -> str:
    """Run a docker command. Returns its standard output."""
    return run("docker", *words, stdin=stdin, check=check, timeout=timeout).stdout.strip()


class Container:
    """A container with Ganglion's image."""

    # Shown when a test fails: see conftest.py.
    alive: ClassVar[list["Container"]] = []

    def __init__(self, container_id: str) -> None:
        self.id = container_id

    def inspect(self) -> Any:
        return json.loads(docker("container", "inspect", self.id))[0]

    @property
    def running(self) -> bool:
        return bool(self.inspect()["State"]["Running"])

    @property
    def exit_status(self) -> int:
        return int(self.inspect()["State"]["ExitCode"])

    @property
    def base_url(self) -> str:
        address = self.inspect()["NetworkSettings"]["Ports"]["8008/tcp"][0]
        return f"http://{address['HostIp']}:{address['HostPort']}"

    def log(self) -> str:
        """Return its whole standard output and standard error."""
        output = run("docker", "logs", self.id)
        return output.stdout + output.stderr

    def put(self, directory: str, files: Mapping[str, str], owner: int = 0) -> None:
        """Write files into it, running or not. A mount would need the engine on this machine.

        Those of another owner than root are closed to all others.
        """
        # Only a volume can be written if the root file system is read-only.
        top = "/data" if self.inspect()["HostConfig"]["ReadonlyRootfs"] else "/"
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name, text in files.items():
                content = text.encode()
                entry = tarfile.TarInfo(str(PurePosixPath(directory, name).relative_to(top)))
                entry.size = len(content)
                entry.uid = owner
                entry.mode = 0o600 if owner else 0o644
                tar.addfile(entry, io.BytesIO(content))
        docker("cp", "-", f"{self.id}:{top}", stdin=archive.getvalue())

    def start(self) -> None:
        docker("start", self.id)

    def wait_healthy(self) -> None:
        """Wait until its health check passes."""

        # To ask again and again would take a fifth of the processor time of the start.
        began = self.inspect()["State"]["StartedAt"]
        events = subprocess.Popen(
            [
                *("docker", "events", "--since", began, "--format", "{{.Action}}"),
                *("--filter", f"container={self.id}"),
                *("--filter", "event=health_status", "--filter", "event=die"),
            ],
            stdout=subprocess.PIPE,
        )
        limit = threading.Timer(HEALTHY_WITHIN, events.kill)
        limit.start()
        try:
            while True:
                # The engine repeats only its last 256 events.
                state = self.inspect()["State"]
                assert state["Running"], f"it ended with status {state['ExitCode']}"
                if state["Health"]["Status"] == "healthy":
                    return
                assert events.stdout is not None
                assert events.stdout.readline(), f"no healthy container in {HEALTHY_WITHIN} s"
        finally:
            limit.cancel()
            events.kill()
            events.communicate()

    def wait_end(self) -> int:
        """Wait until it ends by itself. Returns its exit status."""
        return int(docker("wait", self.id, timeout=HEALTHY_WITHIN))

    def stop(self) -> float:
        """Stop it. It must end by itself with status 0. Returns the seconds this took."""
        began = time.monotonic()
        docker("stop", "--time", f"{STOP_WITHIN:.0f}", self.id)
        # 137 if it had to be killed.
        assert self.exit_status == 0
        return time.monotonic() - began

    def inside(
        self, *command: str, stdin: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as `docker exec` does."""
        number = str(self.inspect()["State"]["Pid"])
        enter = ("docker", "exec", "--interactive", self.id, "sh", "-c", ENTER, number)
        return run(*enter, *command, stdin=stdin.encode(), check=check)

    def privileged(self, *command: str) -> str:
        """Run a command in it with all of root's rights, though its own `docker exec` has fewer.

        Returns its standard output. Needs root, or sudo without a password.
        """
        become_root = () if os.geteuid() == 0 else ("sudo", "--non-interactive")
        found = self.inspect()
        number = str(found["State"]["Pid"])
        enter = ("nsenter", "--target", number, "--mount", "--pid", "--net", "--root", "--wdns=/")
        environment = ("env", "--ignore-environment", *found["Config"]["Env"])
        return run(*become_root, *enter, *environment, *command).stdout

    def ganglion(
        self, *words: str, stdin: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a verb of the command line in it."""
        return self.inside("ganglion", *words, stdin=stdin, check=check)

    def pids(self) -> dict[str, int]:
        """Return the process ID inside the container of each process by its name."""
        rows = json.loads(self.ganglion("status", "--json").stdout)
        # Others are parts that do not work at this moment.
        return {row["name"]: row["pid"] for row in rows if row["starts"] is not None}


@contextlib.contextmanager
def volume() -> Iterator[str]:
    """Make a volume for a test. Yields its name."""
    name = docker("volume", "create", f"ganglion-test-{secrets.token_hex(4)}")
    try:
        yield name
    finally:
        docker("volume", "rm", "--force", name)


@contextlib.contextmanager
def network() -> Iterator[str]:
    """Make a network for a test, on which containers find each other by alias. Yields its name."""
    name = f"ganglion-test-{secrets.token_hex(4)}"
    docker("network", "create", name)
    try:
        yield name
    finally:
        docker("network", "rm", name)


@contextlib.contextmanager
def container(
    image: str,
    environment: Mapping[str, str],
    *options: str,
    operator_files: Mapping[str, str] = OPERATOR_FILES,
    files: Mapping[str, Mapping[str, str]] | None = None,
) -> Iterator[Container]:
    """Start a container with a port on 127.0.0.1, and remove it afterwards with its data.

    `files` are put into it before it starts, by their directories.
    """
    settings = (
        word for name, value in environment.items() for word in ("--env", f"{name}={value}")
    )
    made = Container(docker("create", "--publish", "127.0.0.1::8008", *settings, *options, image))
    with watched(made):
        try:
            for directory, texts in {"/data/homeserver.d": operator_files, **(files or {})}.items():
                if texts:
                    made.put(directory, texts)
            made.start()
            yield made
        finally:
            docker("rm", "--force", "--volumes", made.id)


@contextlib.contextmanager
def watched(made: Container) -> Iterator[None]:
    """Show a container's log when a test fails."""
    Container.alive.append(made)
    try:
        yield
    finally:
        Container.alive.remove(made)
