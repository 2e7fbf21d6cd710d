"""The ways in which `scripts/bench faults` freezes, fills and starves parts of a server."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.harness import Server
from tests.processes import descendants

# In bytes: the disks of a server whose disks are to be filled.
DATA_DISK, RUN_DISK = 768 * 1024**2, 64 * 1024**2
INODES = 20_000
FILLING = bytes(1024**2)
Harm = Callable[[Server], None]


def signalled(name: str, number: signal.Signals) -> Harm:
    """Send a signal to a program."""
    return lambda server: os.kill(server.pid(name), number)


def reloaded(times: int) -> Harm:
    """Have nginx read its files again, as for a changed certificate, once a second."""

    def reload(server: Server) -> None:
        for _ in range(times):
            os.kill(server.pid("nginx"), signal.SIGHUP)
            time.sleep(1.0)

    return reload


def kill_a_session(server: Server) -> None:
    """Kill a process of PostgreSQL's, as the kernel does where memory is short."""
    children = descendants(server.pid("postgres"))
    sessions = [pid for pid in children if "[local]" in _title(pid)]
    os.kill(sessions[0], signal.SIGKILL)


def frozen(name: str, seconds: float) -> Harm:
    """Stop a program and its children for a while, as a disk that does not answer does."""

    def freeze(server: Server) -> None:
        pid = supervisor_of(server) if name == "supervisor" else server.pid(name)
        # The supervisor's children are the other programs, which go on.
        family = (pid,) if name == "supervisor" else (pid, *descendants(pid))
        for each in family:
            _signal(each, signal.SIGSTOP)
        time.sleep(seconds)
        for each in family:
            _signal(each, signal.SIGCONT)

    return freeze


def without_descriptors(name: str, seconds: float, *, killing: str = "") -> Harm:
    """Let a program open no further file for a while, and kill another one meanwhile."""

    def starve(server: Server) -> None:
        pid = supervisor_of(server) if name == "supervisor" else server.pid(name)
        victim = server.pid(killing) if killing else 0
        before = _limit_of_files(pid)
        # poll(2) refuses more descriptors than the limit.
        _limit_files(pid, len(list(Path(f"/proc/{pid}/fd").iterdir())))
        try:
            if victim:
                os.kill(victim, signal.SIGKILL)
            time.sleep(seconds)
        finally:
            _limit_files(pid, before)

    return starve


def without_inodes(which: str, seconds: float) -> Harm:
    """Take all inodes of the directory `data` or `run` for a while: with_small_disks()."""

    def fill(server: Server) -> None:
        path: Path = getattr(server, which) / "filler"
        path.mkdir()
        with contextlib.suppress(OSError):
            for number in range(INODES):
                (path / f"{number}").touch()
        time.sleep(seconds)
        shutil.rmtree(path)

    return fill


def full(which: str, seconds: float) -> Harm:
    """Fill the disk of the directory `data` or `run` for a while: with_small_disks()."""

    def fill(server: Server) -> None:
        path: Path = getattr(server, which) / "filler"
        with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(FILLING)
        time.sleep(seconds)
        path.unlink()

    return fill


@contextlib.contextmanager
def with_small_disks(server: Server) -> Iterator[None]:
    """Put the data and the run directory on disks of their own, in memory. Needs root."""
    with contextlib.ExitStack() as stack:
        for path, size in ((server.data, DATA_DISK), (server.run, RUN_DISK)):
            path.mkdir(exist_ok=True)
            kept = path.with_name(f"{path.name}.before")
            shutil.copytree(path, kept)
            options = f"size={size},nr_inodes={INODES},mode=0755"
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", path], check=True)
            stack.callback(_unmount, path)
            stack.callback(server.kill)
            shutil.copytree(kept, path, dirs_exist_ok=True)
        yield


def _unmount(path: Path) -> None:
    subprocess.run(["umount", "--lazy", path], check=True)


def supervisor_of(server: Server) -> int:
    """The process ID of the supervisor."""
    assert server.process is not None
    return server.process.pid


def _limit_of_files(pid: int) -> int:
    limits = Path(f"/proc/{pid}/limits").read_text()
    (line,) = (line for line in limits.splitlines() if line.startswith("Max open files"))
    return int(line.split()[3])


def _limit_files(pid: int, number: int) -> None:
    """Set a process's limit, as its own account: root may lack the capability for others."""
    owner = Path(f"/proc/{pid}").stat()
    command = ["prlimit", f"--pid={pid}", f"--nofile={number}:"]
    subprocess.run(command, user=owner.st_uid, group=owner.st_gid, extra_groups=[], check=True)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _title(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    return ""
