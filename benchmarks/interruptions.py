"""Changes of a running server that are interrupted in the middle, for the table of faults."""

import shutil
import subprocess
from collections.abc import Callable

from tests.harness import GANGLION, Server, wait_until

# Part of a restore that is half done: PostgreSQL's directory is there, its content is not.
HALF_RESTORED = ".restoring/postgres/PG_VERSION"


def apply(further: str) -> Callable[[Server], None]:
    """Return the fault of a change to `further` processes, and back."""

    def fault(server: Server) -> None:
        _must(server, "apply", _more(server, further))
        _must(server, "apply", "--reset")

    return fault


def interrupted_apply(further: str) -> Callable[[Server], None]:
    """Return the fault of a change whose supervisor is killed once some processes have stopped.

    The server starts again, as a container does that restarts on failure.
    """

    def fault(server: Server) -> None:
        since = server.log.mark()
        command = _launched(server, "apply", _more(server, further))
        server.log.wait_for("change of the layout: stop ", since)
        server.kill()
        command.wait()
        server.start()
        _must(server, "apply", "--reset")

    return fault


def interrupted_restore(server: Server) -> None:
    """Back the server up and restore it elsewhere: killed in the middle, and then to its end."""
    backup = server.root / "backup.tar"
    backup.unlink(missing_ok=True)
    _must(server, "backup", str(backup))
    with Server("none") as other:
        shutil.rmtree(other.data)
        command = _launched(other, "restore", str(backup))
        half = other.data / HALF_RESTORED
        wait_until("half of a restore", lambda: half.exists() or command.poll() is not None)
        command.kill()
        command.wait()
        refused = other.ganglion("check")
        assert "holds a restore that has not ended" in refused.stderr, refused.stderr
        _must(other, "restore", str(backup))


def _more(server: Server, further: str) -> str:
    return f"{server.environment['WORKERS']}, {further}"


def _launched(server: Server, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*GANGLION, *words],
        env=server.environment,
        cwd=server.root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _must(server: Server, *words: str) -> None:
    answer = server.ganglion(*words)
    assert answer.returncode == 0, answer.stderr
