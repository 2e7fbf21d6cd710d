"""A real server for a test: the program as a process, with a controlled environment.

    with Server(workers="small") as server:
        server.start()
        … server.base_url, server.log, server.ganglion("status", "--json") …

Everything of a server is in one directory under /tmp: paths of unix sockets must be short, and
the accounts that its processes run as must be able to enter, which pytest's tmp_path forbids.
"""

import contextlib
import http.client
import json
import logging
import os
import pwd
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

from tests.processes import descendants, identity
from tests.raw_http import Answer, raw_request, unix_request

T = TypeVar("T")
LOG = logging.getLogger(__name__)

# The program that scripts/setup put into the path of this Python: the checkout's, or its copy if
# other accounts cannot read the checkout.
GANGLION = (sys.executable, "-P", "-m", "ganglion")
SHARED_SECRET = "only-for-tests"
# In seconds. These limits detect a server that hangs. They do not judge its speed, which depends on
# the machine and its load; scripts/bench measures that.
WITHIN = 120.0
START_WITHIN = 240.0
STOP_WITHIN = 60.0

# Tests exceed rate limits within a second, and must not call other servers. The background updates
# of a new database take 40 s with their pauses; until they are done the user directory is empty.
OPERATOR_FILE = """\
background_updates: {sleep_enabled: false}
experimental_features: {msc4306_enabled: true}
trusted_key_servers: []
suppress_key_server_warning: true
rc_message: {per_second: 10000, burst_count: 10000}
rc_registration: {per_second: 10000, burst_count: 10000}
rc_login:
  address: {per_second: 10000, burst_count: 10000}
  account: {per_second: 10000, burst_count: 10000}
  failed_attempts: {per_second: 10000, burst_count: 10000}
rc_joins:
  local: {per_second: 10000, burst_count: 10000}
  remote: {per_second: 10000, burst_count: 10000}
rc_joins_per_room: {per_second: 10000, burst_count: 10000}
rc_invites:
  per_room: {per_second: 10000, burst_count: 10000}
  per_user: {per_second: 10000, burst_count: 10000}
  per_issuer: {per_second: 10000, burst_count: 10000}
rc_room_creation: {per_second: 10000, burst_count: 10000}
rc_presence: {per_user: {per_second: 10000, burst_count: 10000}}
rc_media_create: {per_second: 10000, burst_count: 10000}
rc_user_directory: {per_second: 10000, burst_count: 10000}
rc_profile: {per_second: 10000, burst_count: 10000}
"""

# The last part of a line of Synapse's request log:
# https://element-hq.github.io/synapse/latest/usage/administration/request_log.html
ACCESS = re.compile(
    r"^(?P<process>[\w+-]+) \| .*?(?P<ip>\S+) - (?P<site>\S+) - \{(?P<user>[^}]*)\}"
    r" Processed request: .* (?P<status>\d{3})(?P<cut>!?)"
    r' "(?P<method>[A-Z]+) (?P<uri>\S+) HTTP/[\d.]+" "'
)


# In the queries of the requests of Log.settle(), and sockets that are not of Synapse.
SETTLE = "ganglion-tests-settle="
NO_SYNAPSE = ("control", "notify")

# Enough lines to show a traceback.
LINES_SHOWN = 40
DULL = re.compile(
    "background_updates|_expire_old_entries|rotate_notifs|replication_notifier|checkpoint"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request in the log of the process that answered it. `uri` has the query string."""

    process: str
    ip: str
    user: str
    status: int
    method: str
    uri: str

    def __str__(self) -> str:
        return f"{self.method} {self.uri} ({self.status}, by {self.process})"


class Log:
    """The output of a server so far. A mark is a number of bytes into it."""

    def __init__(self, path: Path, sockets: Path) -> None:
        """`sockets` is the directory of the sockets of the server's processes."""
        self.path = path
        self.sockets = sockets

    def settle(self) -> int:
        """Wait until the log has everything that happened before. Returns a mark.

        Processes keep lines for a while, each in order: so each is sent a request, whose line is
        the last one. It works for servers whose processes listen on unix sockets.
        """
        # Sockets of other listeners than that for requests have a second part in their names.
        processes = [path.stem for path in self.sockets.glob("*.sock") if "." not in path.stem]
        processes = [name for name in processes if name not in NO_SYNAPSE]
        assert "main" in processes, f"no process listens on a socket in {self.sockets}"
        token = f"{SETTLE}{secrets.token_hex(8)}"
        for name in processes:
            unix_request(self.sockets / f"{name}.sock", "GET", f"/_matrix/client/versions?{token}")
        for name in processes:
            self.wait_for(rf"^{re.escape(name)} \| .*{token}")
        return self.mark()

    def mark(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def text(self, since: int = 0) -> str:
        if not self.path.exists():
            return ""
        with self.path.open("rb") as file:
            file.seek(since)
            return file.read().decode(errors="replace")

    def tail(self) -> str:
        """The lines to show when a test fails: starts and ends, then the last lines of all."""
        lines = [line for line in self.text().splitlines() if not DULL.search(line)]
        course = [
            line for line in lines if line.startswith(("ganglion |", "supervisor |", "nginx |"))
        ]
        return "\n".join([*course[-LINES_SHOWN:], "…", *lines[-LINES_SHOWN:]])

    def requests(self, since: int = 0) -> list[Request]:
        found = (ACCESS.match(line) for line in self.text(since).splitlines())
        return [
            Request(
                process=line["process"],
                ip=line["ip"],
                user=line["user"],
                status=int(line["status"]),
                method=line["method"],
                uri=line["uri"],
            )
            for line in found
            if line and SETTLE not in line["uri"]
        ]

    def wait_for(self, pattern: str, since: int = 0, within: float = WITHIN) -> re.Match[str]:
        """Wait until a line matches, for at most `within` seconds."""
        return wait_until(
            f"line like {pattern}",
            lambda: re.search(pattern, self.text(since), re.MULTILINE),
            within,
        )


class Server:
    """One server over one data directory, which may be started and stopped several times."""

    # Their logs are shown when a test fails: tests/conftest.py.
    alive: ClassVar[list["Server"]] = []
    # GANGLION_PREFORK, unless a test sets it: pytest's option --prefork.
    prefork: ClassVar[str] = "yes"
    # The program that starts a server with Synapse's tables: tests/prepared.py.
    prepared: ClassVar[Callable[["Server"], tuple[str, ...]] | None] = None

    def __init__(
        self,
        workers: str | None,
        environment: Mapping[str, str] | None = None,
        operator_file: str = "",
        *,
        fresh: bool = False,
    ) -> None:
        """`operator_file` is YAML, read after the file that lifts the rate limits.

        A first start of a `fresh` server makes its database from nothing.
        """
        if os.geteuid() == 0:
            require_account("synapse")
        self.root = Path(tempfile.mkdtemp(prefix="ganglion-", dir="/tmp"))
        self.root.chmod(0o755)
        self.data = self.root / "data"
        self.run = self.root / "run"
        self.log = Log(self.root / "log", self.run / "sockets")
        self.http_port = free_port()
        self.federation_port = free_port()
        self.control_port = free_port()
        self.fresh = fresh
        self.process: subprocess.Popen[bytes] | None = None
        # A command that the next start is run by, with the program as its arguments.
        self.runner: tuple[str, ...] = ()
        # A descriptor that gets the output instead of the log's file.
        self.output: int | None = None
        self.environment: dict[str, str] = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "GANGLION_DATA": str(self.data),
            "GANGLION_RUN": str(self.run),
            "HTTP_PORT": str(self.http_port),
            "FEDERATION_PORT": str(self.federation_port),
            "CONTROL_PORT": str(self.control_port),
            "BIND_ADDRESS": "127.0.0.1",
            "GANGLION_ADMIN_NETWORKS": "127.0.0.1/32",
            "SYNAPSE_ENABLE_REGISTRATION": "yes",
            "SYNAPSE_REGISTRATION_SHARED_SECRET": SHARED_SECRET,
            "GANGLION_PREFORK": Server.prefork,
            **(environment or {}),
        }
        if workers is not None:
            self.environment["WORKERS"] = workers
        operator_files = self.data / "homeserver.d"
        operator_files.mkdir(parents=True)
        (operator_files / "00-tests.yaml").write_text(OPERATOR_FILE)
        if operator_file:
            (operator_files / "50-test.yaml").write_text(operator_file)
        Server.alive.append(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Kill the server and remove its files. Add its log to the error of a failed test."""
        if error is not None:
            error.add_note(f"log of {self.root}:\n{self.log.tail()}")
        self.kill()
        Server.alive.remove(self)
        shutil.rmtree(self.root)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def tls_url(self) -> str:
        return f"https://127.0.0.1:{self.federation_port}"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self, *, within: float = START_WITHIN) -> float:
        """Start the server and wait until it is ready. Returns the seconds this took."""
        began = time.monotonic()
        self.launch()
        self.wait_ready(within)
        return time.monotonic() - began

    def launch(self) -> None:
        """Start the server without waiting."""
        assert not self.running, "it runs already"
        program: tuple[str, ...] = GANGLION
        if Server.prepared is not None and not self.fresh and self._is_new:
            program = Server.prepared(self)
        with self.log.path.open("ab") as log:
            output = log if self.output is None else self.output
            self.process = subprocess.Popen(
                [*self.runner, *program, "run"],
                env=self.environment,
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def _is_new(self) -> bool:
        """Whether it has an embedded database that the next start makes."""
        embedded = "POSTGRES_HOST" not in self.environment
        return embedded and not (self.data / "postgres").exists()

    def wait_ready(self, within: float = START_WITHIN) -> None:
        """Wait, in seconds, until `ganglion ready` says that every process answers."""
        deadline = time.monotonic() + within
        # A Python process for every look would take processor time from the start.
        wait_until("answer through nginx", self._answers, within)
        while (answer := self.ganglion("ready")).returncode != 0:
            self._still_starting()
            assert time.monotonic() < deadline, f"not ready: {answer.stdout}{answer.stderr}"
            time.sleep(0.2)

    def wait_replaced(self, name: str, before: int) -> None:
        """Wait until a program runs in another process than `before`."""

        def running() -> bool:
            return any(
                row["name"] == name and row["state"] == "RUNNING" and row["pid"] != before
                for row in self.status()
            )

        wait_until(f"the next process of {name}", running)

    def _answers(self) -> bool:
        self._still_starting()
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.get("/health").status == 200 and not self._reports_a_lack()
        return False

    def _reports_a_lack(self) -> bool:
        """Return whether the control application, if there is one here, misses something."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return raw_request(self.control_port, "GET", "/ready").status == 503
        return False

    def _still_starting(self) -> None:
        assert self.process is not None
        status = self.process.poll()
        assert status is None, f"it ended with status {status} before it was ready"

    def stop(self) -> float:
        """Stop the server with SIGTERM. Returns the seconds this took.

        It must end with status 0 and leave no process.
        """
        assert self.process is not None
        family = descendants(self.process.pid)
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=STOP_WITHIN)
        took = time.monotonic() - began
        assert status == 0, f"it ended with status {status}"
        left = [name for pid, name in family.items() if identity(pid) == name]
        assert not left, f"left behind: {left}"
        LOG.info("%s: stopped after %.1f s", self.environment.get("WORKERS"), took)
        return took

    def kill(self) -> None:
        """Kill the server and all of its processes."""
        if self.process is None or self.process.poll() is not None:
            return
        family = descendants(self.process.pid)
        self.process.kill()
        self.process.wait()
        for pid, name in family.items():
            if identity(pid) == name:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def ganglion(
        self, *words: str, stdin: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a verb of the command line in this server's environment, with changes to it."""
        return subprocess.run(
            [*GANGLION, *words],
            env={**self.environment, **environment},
            cwd=self.root,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=WITHIN,
            check=False,
        )

    def status(self) -> list[dict[str, Any]]:
        """Return the rows of `ganglion status --json` that are processes.

        Others are parts that do not work at this moment, backups and an applied layout.
        """
        return [row for row in self.all_status() if row["starts"] is not None]

    def all_status(self) -> list[dict[str, Any]]:
        """Return all rows of `ganglion status --json`."""
        answer = self.ganglion("status", "--json")
        assert answer.returncode == 0, answer.stderr
        rows: list[dict[str, Any]] = json.loads(answer.stdout)
        return rows

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """GET a path through nginx, byte for byte as written."""
        return raw_request(self.http_port, "GET", path, headers)

    def pid(self, process: str) -> int:
        """Return the process ID of a process by its name."""
        found = [row["pid"] for row in self.status() if row["name"] == process]
        assert len(found) == 1, f"{process} runs {len(found)} times"
        return int(found[0])


def wait_until(what: str, look: Callable[[], T | None], within: float = WITHIN) -> T:
    """Call `look` ten times a second, for at most `within` seconds, until its result is true."""
    deadline = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < deadline, f"no {what} in {within} s"
        time.sleep(0.1)
    return found


def require_account(name: str) -> None:
    """Fail with a hint if an account is missing."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        raise AssertionError(f"there is no account {name}: scripts/setup makes it") from None


# The sockets that hold the ports of this process's servers. They stay open until it ends.
RESERVED: list[socket.socket] = []


def free_port(span: int = 1) -> int:
    """Reserve `span` ports in a row of 127.0.0.1 until this process ends. Returns the first.

    They are below 32768: the kernel gives those above to outgoing connections.
    """
    for _ in range(100):
        base = random.randrange(20000, 32768 - span)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            sockets = [stack.enter_context(reserve(port)) for port in range(base, base + span)]
            stack.pop_all()
            RESERVED.extend(sockets)
            return base
    raise AssertionError(f"no {span} free ports in a row")


def reserve(port: int) -> socket.socket:
    """Bind a port of 127.0.0.1 so that only a server can take it. Raises OSError if it is taken.

    A server binds with SO_REUSEADDR, and Linux lets it share the port with a socket that has this
    option too and does not listen. The option is set only after the bind here, so two reservations
    exclude each other, in other processes too.
    """
    held = socket.socket()
    try:
        held.bind(("127.0.0.1", port))
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except OSError:
        held.close()
        raise
    return held
