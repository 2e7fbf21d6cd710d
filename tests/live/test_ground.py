"""The supervisor on a real server: a paused reader, its own death, SIGHUP and a bad role."""

import os
import pwd
import signal
import ssl
import subprocess
import sys
from pathlib import Path

from tests.certificates import Authority
from tests.harness import GANGLION, Server, wait_until
from tests.processes import descendants, identity

# Programs that hold a lock of a killed supervisor may take this long, in seconds, to end.
ORPHANS_END_WITHIN = 60.0


def test_a_reader_that_pauses_or_goes_away_stops_nothing() -> None:
    with Server("none") as server:
        # Each request logs SQL at this level, so a pipe of 64 KiB is full at once.
        server.environment["SYNAPSE_LOG_LEVEL"] = "DEBUG"
        reader, writer = os.pipe()
        server.process = subprocess.Popen(
            [*GANGLION, "run"],
            env=server.environment,
            cwd=server.root,
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        os.close(writer)
        # Nothing reads: the start itself logs more than the pipe holds.
        server.wait_ready()
        for _ in range(50):
            assert server.get("/_matrix/client/versions").status == 200
        assert server.get("/health").status == 200
        os.close(reader)
        for _ in range(50):
            assert server.get("/_matrix/client/versions").status == 200
        server.stop()


def test_a_killed_supervisor_leaves_no_process_and_the_next_start_works() -> None:
    with Server("client_reader") as server:
        server.start()
        assert server.process is not None
        family = descendants(server.process.pid)
        assert len(family) > 5
        server.process.kill()
        server.process.wait()

        def ended() -> bool:
            return not [pid for pid, name in family.items() if identity(pid) == name]

        # At once: it waits until the programs of the dead one let go of its locks.
        server.start()
        wait_until("end of all programs", ended, ORPHANS_END_WITHIN)
        server.stop()


def test_a_program_ends_with_a_supervisor_that_acts_as_another_account() -> None:
    """Such as while it reads Synapse's configuration. The kernel then lets it signal its own."""
    code = f"""
import os, signal, time
from ganglion.machine.acting import acting_as
from ganglion.machine.parent_death import end_with_parent
parent = os.getpid()
reader, writer = os.pipe()
if (child := os.fork()) == 0:
    os.closerange(1, 3)
    if os.geteuid() == 0:
        os.setuid({pwd.getpwnam("nobody").pw_uid})
    end_with_parent(parent, signal.SIGTERM)
    os.write(writer, b"x")
    time.sleep({2 * ORPHANS_END_WITHIN})
    os._exit(0)
os.read(reader, 1)
with acting_as("daemon"):
    print(child, flush=True)
    os.kill(parent, signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    child = int(done.stdout)
    name = identity(child)
    wait_until(
        "end of the program", lambda: not name or identity(child) != name, ORPHANS_END_WITHIN
    )


def test_every_program_holds_the_locks_of_the_directories() -> None:
    """So a program that outlives a killed supervisor keeps a second server out."""
    with Server("client_reader") as server:
        server.start()
        locks = {str(server.data / ".lock"), str(server.run / ".lock")}
        for row in server.status():
            descriptors = Path(f"/proc/{row['pid']}/fd")
            held = {str(descriptor.readlink()) for descriptor in descriptors.iterdir()}
            assert locks <= held, row["name"]
        server.stop()


def test_sighup_reloads_and_everything_goes_on() -> None:
    with Server("client_reader") as server:
        server.start()
        assert server.process is not None
        before = {row["name"]: row["pid"] for row in server.status()}
        mark = server.log.mark()
        server.process.send_signal(signal.SIGHUP)
        server.log.wait_for(r"^supervisor \| .* reloaded .*nginx", mark)
        assert server.get("/health").status == 200
        assert {row["name"]: row["pid"] for row in server.status()} == before
        server.stop()


FAILING = """\
from pathlib import Path

class Failing:
    def __init__(self, config, api):
        if api.worker_name == "pusher1" and not Path(__file__).with_name("repaired").exists():
            raise RuntimeError("not repaired")
"""


def test_a_role_that_cannot_start_takes_nothing_down() -> None:
    """A module fails in one worker: it ends at each start, the others serve on."""
    options = "modules: [{module: failing.Failing}]"
    with Server("client_reader, pusher", operator_file=options) as server:
        modules = server.data / "modules"
        modules.mkdir(parents=True)
        (modules / "failing.py").write_text(FAILING)
        repaired = modules / "repaired"
        server.launch()
        server.log.wait_for(r"pusher1 keeps failing; the other programs go on without it")
        server.log.wait_for(r"nginx is ready")
        assert server.get("/_matrix/client/versions").status == 200
        repaired.touch()
        server.log.wait_for(r"pusher1 is ready")
        server.stop()


def test_stopped_processes_are_replaced() -> None:
    """Everything at once, with all children, as if each waited for ever."""
    names = ["client_reader1", "event_persister1", "main", "redis", "postgres", "nginx", "control"]
    with Server("client_reader, event_persister") as server:
        server.start()
        mark = server.log.mark()
        before = {name: server.pid(name) for name in names}
        for pid in before.values():
            for each in (*descendants(pid), pid):
                os.kill(each, signal.SIGSTOP)
        for name in names:
            server.log.wait_for(rf"{name} has not responded for \d+ s and does nothing", mark)
        wait_until(
            "other processes",
            lambda: all(server.pid(name) not in (before[name], 0) for name in names),
            60,
        )
        server.wait_ready()
        assert server.get("/_matrix/client/versions").status == 200
        server.stop()


def test_a_worker_that_stops_is_not_waited_for_by_its_pool() -> None:
    """Requests that wait at it go on to the rest of its pool once it is replaced."""
    with Server("client_reader:2") as server:
        server.start()
        mark = server.log.mark()
        os.kill(server.pid("client_reader2"), signal.SIGSTOP)
        statuses = [server.get("/_matrix/client/versions").status for _ in range(4)]
        assert statuses == [200] * 4
        server.log.wait_for(r"client_reader2 is ready", mark)


def test_a_replaced_certificate_is_taken_up(authority: Authority) -> None:
    with Server("none") as server:
        certificate, key = authority.issue(server.root)
        server.environment |= {"SYNAPSE_TLS_CERT": str(certificate), "SYNAPSE_TLS_KEY": str(key)}
        server.start()
        address = ("127.0.0.1", server.federation_port)
        before = ssl.get_server_certificate(address)
        mark = server.log.mark()
        # First the certificate alone, which does not fit the key.
        kept = key.read_bytes()
        authority.issue(server.root)
        fitting = key.read_bytes()
        key.write_bytes(kept)
        server.log.wait_for("the new TLS certificate is not used: SYNAPSE_TLS_KEY", mark)
        assert ssl.get_server_certificate(address) == before
        key.write_bytes(fitting)
        server.log.wait_for("the TLS certificate was replaced: nginx is reloaded", mark)
        # An old worker of nginx may respond for a moment yet.
        new = certificate.read_text()
        wait_until("new certificate", lambda: ssl.get_server_certificate(address) == new, 60)
        server.stop()


def test_a_stopped_worker_of_nginx_is_replaced() -> None:
    with Server("none", {"GANGLION_CPUS": "2"}) as server:
        server.start()
        mark = server.log.mark()
        master = server.pid("nginx")
        stopped = next(pid for pid in descendants(master) if pid != master)
        os.kill(stopped, signal.SIGSTOP)
        server.log.wait_for(f"process {stopped} of nginx is stopped, so it is replaced", mark)
        wait_until("end", lambda: stopped not in descendants(master), 60)
        assert server.pid("nginx") == master
        server.stop()


WAITING = """\
import time

class Waiting:
    def __init__(self, config, api):
        if api.worker_name == "client_reader1":
            time.sleep(600)
"""


def test_a_worker_whose_start_hangs_takes_nothing_down() -> None:
    """A module that waits for another service."""
    options = "modules: [{module: waiting.Waiting}]"
    with Server("client_reader, pusher", operator_file=options) as server:
        server.environment["GANGLION_WATCHDOG"] = "1s"
        modules = server.data / "modules"
        modules.mkdir(parents=True)
        (modules / "waiting.py").write_text(WAITING)
        server.launch()
        server.log.wait_for("client_reader1 has been starting for .* go on without it")
        server.log.wait_for("nginx is ready")
        assert server.get("/_matrix/client/versions").status == 200
