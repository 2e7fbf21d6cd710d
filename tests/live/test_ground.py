"""The supervisor on a real server: a paused reader, its own death, SIGHUP and a bad role."""

import os
import signal
import subprocess
from pathlib import Path

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

        wait_until("end of all programs", ended, ORPHANS_END_WITHIN)
        server.start()
        server.stop()


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


def test_a_role_that_cannot_start_takes_nothing_down() -> None:
    """The worker's own log file is in the way: it ends at each start, the others serve on."""
    with Server("client_reader, pusher") as server:
        server.environment["SYNAPSE_WORKERS_WRITE_LOGS_TO_DISK"] = "yes"
        (server.data / "logs" / "pusher1.log").mkdir(parents=True)
        server.launch()
        server.log.wait_for(r"pusher1 keeps failing; the other programs go on without it")
        server.log.wait_for(r"nginx is ready")
        assert server.get("/_matrix/client/versions").status == 200
        (server.data / "logs" / "pusher1.log").rmdir()
        server.log.wait_for(r"pusher1 is ready")
        server.stop()
