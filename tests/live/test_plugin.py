"""pytest-ganglion with a stand-in for the server: starts, resets, failures and options."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAKE = ROOT / "tests" / "fake_ganglion.py"
SOURCES = ROOT / "pytest-ganglion" / "src"
# In seconds.
RUN_WITHIN = 200
INI = """\
[pytest]
ganglion = native
ganglion_command = {python} {fake}
addopts = -p pytest_ganglion.plugin -p no:cacheprovider -p no:randomly -p no:hypothesispytest
"""


class Run:
    """A directory with a user's tests, and runs of pytest in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.journal = directory / "journal"
        ini = INI.format(python=sys.executable, fake=FAKE)
        (directory / "pytest.ini").write_text(ini)
        self.environment = {
            "PATH": os.defpath,
            "PYTHONPATH": str(SOURCES),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def tests(self, text: str) -> None:
        """Write the tests. The journal is added to the environment of the stand-in."""
        head = (
            "import time\n"
            "import pytest\n"
            "from pytest_ganglion import Refused\n"
            f"told = {{'FAKE_JOURNAL': {str(self.journal)!r}}}\n"
            "pytestmark = pytest.mark.ganglion(environment=told)\n"
        )
        (self.directory / "test_it.py").write_text(head + text)

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "pytest", f"--basetemp={self.directory / 'tmp'}", *words]

    def __call__(self, *words: str, status: int = 0) -> str:
        """Run the tests, which must end with that status. Returns the output of pytest."""
        done = subprocess.run(
            self.command(*words),
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=RUN_WITHIN,
            check=False,
        )
        printed = done.stdout + done.stderr
        assert done.returncode == status, printed
        return printed

    def journalled(self, what: str) -> list[str]:
        """Return the lines of the journal with this first word."""
        text = self.journal.read_text() if self.journal.exists() else ""
        return [line for line in text.splitlines() if line.startswith(f"{what} ")]

    def settled(self, starts: int) -> None:
        """Check the number of servers started, and wait until none is left."""
        began = [line.split()[1] for line in self.journalled("start")]
        assert len(began) == starts
        wait_for(lambda: not [pid for pid in began if Path(f"/proc/{pid}").exists()])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_one_server_is_reset_before_each_test_but_the_first(run: Run) -> None:
    run.tests("""
def test_a(ganglion):
    assert ganglion.register("alice").user_id == "@alice:fake"
    assert ganglion.request("GET", "/users") == {"users": ["@alice:fake"]}
    assert "/test/reset" not in ganglion.logs()

def test_without():
    pass

def test_b(ganglion):
    assert ganglion.request("GET", "/users") == {"users": []}
    ganglion.users(2, prefix="bob")

@pytest.mark.ganglion(reset=False)
def test_c(ganglion):
    assert ganglion.request("GET", "/users") == {"users": ["@bob1:fake", "@bob2:fake"]}
    assert ganglion.logs() == ""
""")
    printed = run()
    assert re.search(r"ganglion: 1 started in \d.\d s; 1 resets of \d.\d\d s each", printed)
    run.settled(1)
    assert len(run.journalled("stop")) == 1


def test_tests_without_the_fixture_start_no_server(run: Run) -> None:
    run.tests("def test_a(): pass\n")
    assert "ganglion:" not in run()
    run.settled(0)


def test_a_test_can_use_every_control(run: Run) -> None:
    run.tests("""
def test_a(ganglion):
    assert ganglion.server_name == "fake"
    assert ganglion.host == "127.0.0.1"
    assert ganglion.barrier() == {"events": {"main": 7}}
    worker = ganglion.worker("sync1")
    for act in (worker.pause, worker.resume, worker.kill, worker.restart):
        act()
    worker.slow(200)
    ganglion.replication_delay(100)
    assert ganglion.reset() == 0.01
    said = [line for line in ganglion.logs().splitlines() if "/test/" in line]
    assert said == [
        "fake | /test/workers/sync1/pause {}",
        "fake | /test/workers/sync1/resume {}",
        "fake | /test/workers/sync1/kill {}",
        "fake | /test/workers/sync1/restart {}",
        'fake | /test/workers/sync1/slow {"milliseconds": 200}',
        'fake | /test/replication/delay {"milliseconds": 100}',
        "fake | /test/reset {}",
    ]

def test_pins(ganglion):
    alice, = ganglion.users(1, prefix="a", admin=True)
    headers = alice.pinned("sync2").request("GET", "/headers")
    assert headers["X-Ganglion-Worker"] == "sync2"
    assert headers["Authorization"] == "Bearer token of a1"
    assert ganglion.pinned("main").headers == {"X-Ganglion-Worker": "main"}
    assert "X-Ganglion-Worker" not in alice.request("GET", "/headers")

def test_refusals(ganglion):
    with pytest.raises(Refused, match="answered 404: {'error': 'not here'}") as refused:
        ganglion.request("GET", "/nowhere")
    assert refused.value.status == 404
    assert ganglion.request("GET", "/nowhere", expect=404) == {"error": "not here"}
""")
    run()


def test_a_failure_shows_only_the_log_of_that_test(run: Run) -> None:
    run.tests("""
def test_good(ganglion):
    ganglion.register("before")

def test_bad(ganglion):
    ganglion.register("during")
    assert False

def test_bad_without():
    assert False
""")
    printed = run(status=1)
    assert printed.count("log of ganglion during the test") == 1
    section = printed.partition("log of ganglion during the test")[2]
    assert '"username": "during"' in section
    assert '"username": "before"' not in section
    assert "/test/reset" not in section


def test_a_long_log_is_cut_and_kept_whole_on_request(run: Run) -> None:
    run.tests("""
def test_bad(ganglion):
    for n in range(10):
        ganglion.register(f"u{n}")
    assert False
""")
    printed = run("--ganglion-log-lines=3", "--ganglion-logs=kept", status=1)
    assert "… 7 lines before" in printed
    assert '"username": "u6"' not in printed
    assert '"username": "u7"' in printed
    log = (run.directory / "kept" / "ganglion-1.log").read_text()
    assert all(f'"username": "u{n}"' in log for n in range(10))


def test_markers_determine_the_number_of_servers(run: Run) -> None:
    run.tests("""
small = pytest.mark.ganglion(workers="small")

def test_default(ganglion):
    pass

@small
def test_small(ganglion):
    pass

@pytest.mark.ganglion(workers="full")
class TestFull:
    def test_full(self, ganglion):
        pass

    @small
    def test_the_nearest_counts(self, ganglion):
        pass

    @pytest.mark.ganglion(environment={"FAKE_MORE": "1"}, files={"homeserver.d/x.yaml": "x: 1"})
    def test_variables_and_files_are_added(self, ganglion):
        assert "WORKERS" not in ganglion.logs()
""")
    printed = run("--ganglion-workers=small", "-v", "--ganglion-logs=kept")
    assert "3 started" in printed
    assert "2 resets" in printed
    workers = [line.split()[2] for line in run.journalled("start")]
    assert workers == ["small", "full", "full"]
    assert "x.yaml: x: 1" in (run.directory / "kept" / "ganglion-3.log").read_text()
    run.settled(3)


@pytest.mark.parametrize(
    ("mark", "says"),
    [
        ("worker='small'", "takes workers=, environment=, files=, reset= and not worker"),
        ("'small'", "and not 'small'"),
    ],
)
def test_a_marker_with_unknown_arguments_is_rejected(run: Run, mark: str, says: str) -> None:
    run.tests(f"@pytest.mark.ganglion({mark})\ndef test_a(ganglion): pass\n")
    assert says in run(status=1)
    run.settled(0)


def test_a_test_that_ends_the_server_fails_and_the_next_one_has_another(run: Run) -> None:
    run.tests("""
def test_kills(ganglion):
    ganglion.request("POST", "/die", {})

def test_next(ganglion):
    assert ganglion.request("GET", "/users") == {"users": []}
""")
    printed = run(status=1)
    assert "1 failed, 1 passed" in printed
    assert "the server ended with status 3; its last lines:" in printed
    assert "a traceback that says why" in printed
    assert "REPLACED, because the server ended with status 3" in printed
    run.settled(2)


def test_a_server_that_cannot_be_reset_is_replaced(run: Run) -> None:
    run.tests("""
@pytest.mark.ganglion(environment={"FAKE_RESET_FAILS": "1"})
@pytest.mark.parametrize("n", [1, 2])
def test_a(ganglion, n):
    assert ganglion.request("GET", "/users") == {"users": []}
    ganglion.register("alice")
""")
    assert "REPLACED, because it could not be reset: POST http://127.0.0.1" in run()
    run.settled(2)


def test_a_server_that_does_not_start_is_tried_once(run: Run) -> None:
    run.tests("""
@pytest.mark.ganglion(environment={"FAKE_LAST_WORDS": "no such role"})
@pytest.mark.parametrize("n", [1, 2])
def test_a(ganglion, n):
    pass
""")
    printed = run(status=1)
    assert "2 errors" in printed
    assert "the server ended with status 1\n" in printed
    assert printed.count("    fix: look for the cause in its log\n") == 2
    assert "fake | no such role" in printed
    # The traceback has no code of the plugin.
    assert "servers.py" not in printed
    run.settled(1)


def test_after_a_port_conflict_it_starts_again_with_other_ports(run: Run) -> None:
    words = "nginx: [emerg] bind() to 127.0.0.1:1 failed (98: Address already in use)"
    run.tests(f"""
@pytest.mark.ganglion(environment={{"FAKE_LAST_WORDS": {words!r}}})
def test_a(ganglion):
    pass
""")
    printed = run(status=1)
    assert "another program has taken its port" in printed
    assert "fix: run the tests again" in printed
    run.settled(3)


def test_a_server_without_test_mode_is_reported(run: Run) -> None:
    run.tests("""
@pytest.mark.ganglion(environment={"FAKE_NO_TEST_MODE": "1"})
def test_a(ganglion):
    pass
""")
    assert "run the server in test mode (GANGLION_TEST_MODE=yes)" in run(status=1)
    run.settled(1)


def test_a_server_that_never_answers_is_reported(run: Run) -> None:
    (run.directory / "sleeper").write_text("import time\nprint('yawn', flush=True)\ntime.sleep(60)")
    run.tests("def test_a(ganglion): pass\n")
    options = ("--ganglion-start-within=0.5", f"--ganglion-command={sys.executable} sleeper")
    run.tests("def test_a(ganglion): pass\n")
    # Without a slash, the path is relative to pytest's directory, where the program runs.
    printed = run(*options, status=1)
    assert "the server is not ready after 0 s" in printed
    assert "yawn" in printed


@pytest.mark.parametrize(
    ("options", "status", "says"),
    [
        (["--ganglion-command=no-such-program"], 1, "the program no-such-program is not installed"),
        (["--ganglion-command=./bin/ganglion"], 1, "/bin/ganglion"),
        (["--ganglion=dokcer"], 4, "--ganglion=dokcer: write docker, native, or the URL"),
        (["--ganglion-log-lines=many"], 4, "ganglion_log_lines=many: write a number, 0 or more"),
        (["--ganglion=docker"], 1, "the program docker is not installed"),
        (["--ganglion=http://127.0.0.1:1", "-n1"], 4, "with -n each process needs its own servers"),
        (["--ganglion=http://127.0.0.1:1"], 1, "a test needs a server with WORKERS=small FAKE_"),
    ],
)
def test_errors_name_a_fix(run: Run, options: list[str], status: int, says: str) -> None:
    run.environment["PATH"] = str(run.directory)
    run.tests("def test_a(ganglion): pass\n")
    assert says in run(*options, status=status)
    run.settled(0)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (
            "Error: No such image: there-is-none",
            (
                "there is no Docker image there-is-none\n",
                "GANGLION_IMAGE=there-is-none scripts/build",
            ),
        ),
        (
            "Cannot connect to the Docker daemon at unix:///run/docker.sock.",
            ("no Docker engine answers: Cannot connect", "--ganglion=native"),
        ),
    ],
)
def test_errors_of_docker_become_a_fix(run: Run, answer: str, says: tuple[str, ...]) -> None:
    docker = run.directory / "docker"
    docker.write_text(f"#!/bin/sh\necho '{answer}' >&2\nexit 1\n")
    docker.chmod(0o755)
    run.environment["PATH"] = f"{run.directory}:{os.defpath}"
    run.tests("def test_a(ganglion): pass\n")
    printed = run("--ganglion=docker", "--ganglion-image=there-is-none", status=1)
    for text in says:
        assert text in printed


def test_the_command_line_overrides_the_environment_which_overrides_the_ini_file(run: Run) -> None:
    run.tests("def test_a(ganglion): pass\n")
    with (run.directory / "pytest.ini").open("a") as ini:
        ini.write("ganglion_workers = of-the-file\n")
    run()
    run.environment["PYTEST_GANGLION_WORKERS"] = "of-the-environment"
    run()
    run("--ganglion-workers=of-the-line")
    workers = [line.split()[2] for line in run.journalled("start")]
    assert workers == ["of-the-file", "of-the-environment", "of-the-line"]


def test_each_process_of_xdist_has_its_own_servers(run: Run) -> None:
    run.tests("""
@pytest.mark.parametrize("n", range(6))
def test_a(ganglion, n):
    assert ganglion.request("GET", "/users") == {"users": []}
    ganglion.register("alice")
    time.sleep(0.2)
    assert ganglion.request("GET", "/users") == {"users": ["@alice:fake"]}
""")
    run("-n2", "--ganglion-logs=kept")
    kept = {path.name for path in (run.directory / "kept").iterdir()}
    assert kept == {"ganglion-gw0-1.log", "ganglion-gw1-1.log"}
    run.settled(2)


def test_a_pytest_that_another_one_started_is_no_process_of_it(run: Run) -> None:
    """It inherits the variables of pytest-xdist."""
    run.tests("def test_a(ganglion): ganglion.register('alice')")
    run.environment["PYTEST_XDIST_WORKER"] = "gw7"
    run("--ganglion-logs=kept")
    assert [path.name for path in (run.directory / "kept").iterdir()] == ["ganglion-1.log"]


SLOW = """
def test_slow(ganglion):
    open("begun", "w").close()
    time.sleep(50)
"""


@pytest.mark.parametrize(
    ("words", "number", "starts"),
    [
        pytest.param([], signal.SIGINT, 1, id="ctrl-c"),
        pytest.param([], signal.SIGKILL, 1, id="killed"),
        pytest.param(["-n1"], signal.SIGINT, 1, id="xdist-ctrl-c"),
    ],
)
def test_no_server_outlives_its_tests(
    run: Run, words: list[str], number: signal.Signals, starts: int
) -> None:
    run.tests(SLOW)
    process = subprocess.Popen(
        run.command(*words),
        cwd=run.directory,
        env=run.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for((run.directory / "begun").exists)
    # To the whole session, as a terminal does.
    os.killpg(process.pid, number)
    process.wait(RUN_WITHIN)
    wait_for(lambda: len(run.journalled("stop")) == starts)
    wait_for(lambda: not list(Path("/proc").glob(f"{run.journalled('start')[0].split()[1]}/fd")))
    run.settled(starts)


def wait_for(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + RUN_WITHIN
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.05)
