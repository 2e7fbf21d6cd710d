"""THE table of the symptoms in docs/troubleshooting.md: how each is caused, and what shows it.

A row is a heading of the page or a row of its table of faults, under the words of the page.
"""

import contextlib
import json
import os
import signal
import threading
import xmlrpc.client
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from supervisor.xmlrpc import SupervisorTransport

from ganglion.control import programs
from tests.faults import Fault, frozen, other_clock, read_only, settings_of, sql
from tests.harness import Server, free_port, wait_until
from tests.matrix import CLIENT
from tests.raw_http import Answer, raw_request

WORKERS = "client_reader, event_persister, synchrotron"
VARIABLES = {
    "GANGLION_WATCHDOG": "0",
    "SYNAPSE_ENABLE_METRICS": "yes",
    "GANGLION_ADMIN_NETWORKS": "192.0.2.0/24",
}
# Other homeservers on this machine may be asked.
OPERATOR_FILE = "ip_range_blacklist: []\nfederation_ip_range_blacklist: []\n"
WRITER, SYNC = "event_persister1", "synchrotron1"
PASSWORD = "correct-horse-battery"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A symptom that is caused here, and a piece of what each place says of it.

    `page` is in the facts of the status page, `health` in the words of /health, `metric` a regular
    expression for a line of /metrics, `log` one for a line of the log, and `doctor` a piece of what
    `check` says. None where the page says so, or says nothing.
    """

    fault: Fault
    health: str | None = None
    page: str | None = None
    metric: str | None = None
    log: str | None = None
    check: str | None = None
    doctor: str | None = None


@dataclass(frozen=True, slots=True)
class Proved:
    """A symptom that other tests cause, each as FILE::NAME."""

    tests: tuple[str, ...]


def post(server: Server, path: str, body: Any, token: str = "", method: str = "POST") -> Answer:
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return raw_request(server.http_port, method, path, headers, json.dumps(body).encode())


def get(server: Server, path: str, token: str) -> Answer:
    return server.get(path, {"Authorization": f"Bearer {token}"})


def log_in(server: Server) -> str:
    """Return a token of the user alice. The first call registers her."""
    auth = {"type": "m.login.dummy"}
    post(server, f"{CLIENT}/register", {"username": "alice", "password": PASSWORD, "auth": auth})
    user = {"type": "m.id.user", "user": "alice"}
    login = {"type": "m.login.password", "identifier": user, "password": PASSWORD}
    return str(post(server, f"{CLIENT}/login", login).json()["access_token"])


def stopped(name: str) -> Fault:
    """A process that an administrator has stopped."""

    @contextlib.contextmanager
    def fault(server: Server) -> Iterator[None]:
        path = settings_of(server).paths.supervisor_socket
        transport = SupervisorTransport("", "", f"unix://{path}")
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as proxy:
            known = cast("Any", proxy.supervisor.getAllProcessInfo())
            full = next(f"{item['group']}:{name}" for item in known if item["name"] == name)
            proxy.supervisor.stopProcess(full)
            try:
                yield
            finally:
                proxy.supervisor.startProcess(full, True)

    return fault


@contextlib.contextmanager
def message_without_writer(server: Server) -> Iterator[None]:
    """A client sends a message while its writer is down. Synapse tries for a minute."""
    token = log_in(server)
    room = post(server, f"{CLIENT}/createRoom", {}, token).json()["room_id"]
    path = f"{CLIENT}/rooms/{room}/send/m.room.message/1"
    message = {"msgtype": "m.text", "body": "x"}
    answers: list[Answer] = []
    sending = threading.Thread(
        target=lambda: answers.append(post(server, path, message, token, "PUT"))
    )
    with stopped(WRITER)(server):
        sending.start()
        yield
        assert not answers
    # The writer is back before the minute is over.
    sending.join()
    assert answers[0].status == 200


@contextlib.contextmanager
def main_is_down(server: Server) -> Iterator[None]:
    """A client asks what only main can answer."""
    token = log_in(server)
    with stopped("main")(server):
        answer = post(server, f"{CLIENT}/createRoom", {}, token)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert answer.json()["error"] == "The homeserver cannot answer this at the moment"
        yield


@contextlib.contextmanager
def locked(server: Server) -> Iterator[None]:
    """A session holds a lock that syncs need: they hang, and take the places of others."""
    token = log_in(server)
    threads = [
        threading.Thread(target=get, args=(server, f"{CLIENT}/sync?timeout=0&x={number}", token))
        for number in range(2)
    ]
    with sql(server) as cursor:
        cursor.execute("BEGIN")
        cursor.execute("LOCK TABLE account_data, room_account_data IN ACCESS EXCLUSIVE MODE")
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            cursor.execute("ROLLBACK")
            for thread in threads:
                thread.join()


@contextlib.contextmanager
def unreachable_server(server: Server) -> Iterator[None]:
    """A user asks for the devices of another one, whose homeserver is down."""
    token, name = log_in(server), f"127.0.0.1:{free_port()}"
    asked: dict[str, Any] = {"device_keys": {f"@bob:{name}": []}}
    answer = post(server, f"{CLIENT}/keys/query", asked, token)
    assert answer.status == 200
    assert name in answer.json()["failures"]
    try:
        yield
    finally:
        with sql(server) as cursor:
            cursor.execute("DELETE FROM destinations")


@contextlib.contextmanager
def large_upload(server: Server) -> Iterator[None]:
    headers = {"Authorization": f"Bearer {log_in(server)}", "Content-Length": "99999999999"}
    answer = raw_request(server.http_port, "POST", "/_matrix/media/v3/upload", headers, b"")
    assert answer.status == 413
    yield


@contextlib.contextmanager
def closed_admin_api(server: Server) -> Iterator[None]:
    assert server.get("/_synapse/admin/v1/server_version").status == 403
    yield


@contextlib.contextmanager
def other_host(server: Server) -> Iterator[None]:
    """A browser that was led to the control port by a name that is not the server's."""
    answer = raw_request(server.control_port, "GET", "/health", {"Host": "evil.example"})
    assert answer.status == 403
    assert answer.json()["error"].startswith("this name of a host is not accepted")
    yield


@contextlib.contextmanager
def killed_again_and_again(server: Server) -> Iterator[None]:
    """A worker ends as soon as it runs, until the supervisor pauses between its starts."""
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.1):
            found = programs.ask(settings_of(server).paths.states_socket).programs[SYNC]
            if found.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(found.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield
    finally:
        over.set()
        killer.join()
        wait_until("restart", lambda: server.ganglion("restart", SYNC).returncode == 0)


def killed(name: str) -> Fault:
    @contextlib.contextmanager
    def fault(server: Server) -> Iterator[None]:
        os.kill(server.pid(name), signal.SIGKILL)
        yield

    return fault


def filled(left: int) -> Fault:
    """Let the disk of the data have so many bytes left, and send a message if that is none."""

    @contextlib.contextmanager
    def fault(server: Server) -> Iterator[None]:
        token = log_in(server)
        room = post(server, f"{CLIENT}/createRoom", {}, token).json()["room_id"]
        path = server.data / "filler"
        free = os.statvfs(server.data)
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free.f_bavail * free.f_frsize - left)
        try:
            if not left:
                # Tables have some room left in their last pages.
                wait_until("an error", lambda: _fails(server, room, token))
            yield
        finally:
            path.unlink()

    return fault


def _fails(server: Server, room: str, token: str) -> bool:
    path = f"{CLIENT}/rooms/{room}/send/m.room.message/{os.urandom(8).hex()}"
    message = {"msgtype": "m.text", "body": os.urandom(15_000).hex()}
    return post(server, path, message, token, "PUT").status == 500


GROUND = "tests/live/test_ground.py"
SCRAPE = r'^ganglion_scrape_failed\{{process="{}",[^}}]*\}} 1$'

FAULTS: dict[str, Seen | Proved] = {
    "a worker hangs": Seen(
        fault=frozen(SYNC),
        health="synchrotron1 does not answer at unix:",
        metric=SCRAPE.format(SYNC),
        log=r"^control \| .*health is degraded: .*synchrotron1 does not answer",
        check="processes",
        doctor="runs and does not answer: timed out",
    ),
    "main hangs": Seen(
        fault=frozen("main"),
        health="main does not answer at unix:",
        metric=SCRAPE.format("main"),
        log=r"^control \| .*health is failing: .*main does not answer",
        check="processes",
        doctor="runs and does not answer: timed out",
    ),
    "a process ends again and again": Seen(
        fault=killed_again_and_again,
        health="synchrotron1 is backoff, started ",
        metric=r'^ganglion_process_up\{process="synchrotron1",[^}]*\} 0$',
        log=r"^supervisor \| .*WARN exited: synchrotron1 \(terminated by SIGKILL; not expected\)",
        check="processes",
        doctor="synchrotron1 does not run (BACKOFF): ",
    ),
    "PostgreSQL hangs": Seen(
        fault=frozen("postgres"),
        health="failing: postgres does not answer: no response in time",
        metric=SCRAPE.format("postgres"),
        log=r"^control \| .*health is failing: postgres does not answer",
        check="database",
        doctor="PostgreSQL does not answer (the embedded server): it accepts no connection within ",
    ),
    "PostgreSQL ended": Seen(
        fault=killed("postgres"), log=r"^supervisor \| .*WARN exited: postgres"
    ),
    "the disk is nearly full": Seen(
        fault=filled(40 * 2**20),
        health="disk is full: 40 MB are free",
        page="MB are free",
        metric=r"^ganglion_disk_free_bytes \d",
        # At the first look the disk may not have been filled that far.
        log=r"^control \| .*health is failing: disk is full: .* MB are free",
        check="disk",
        doctor=" MB left of ",
    ),
    "the disk is full: messages get 500": Seen(
        fault=filled(0),
        health="disk ",
        log=r"^postgres \| .*ERROR:  could not extend file .*: No space left on device",
        check="disk",
        doctor=" has 0 MB left of ",
    ),
    "the database takes no writes": Seen(
        fault=read_only,
        health="failing: postgres accepts no writes: it is read-only",
        log=r"^control \| .*health is failing: postgres accepts no writes",
        check="database",
        doctor="the database takes no writes: default_transaction_read_only is on (set by: ",
    ),
    "Redis hangs": Seen(
        fault=frozen("redis"),
        health="failing: redis does not answer: timed out",
        metric=SCRAPE.format("redis"),
        log=r"^control \| .*health is failing: redis does not answer",
        check="streams",
        doctor="Redis does not answer: timed out",
    ),
    "a query holds a lock, and syncs wait for it": Seen(
        fault=locked,
        health="ready: all parts work",
        page="ready",
        metric=r"^ganglion_postgres_longest_transaction_seconds\S* ([3-9]|\d\d)",
        check="locks",
        doctor=" wait for a lock, for up to ",
    ),
    "messages are late on some workers": Proved(
        (
            "tests/live/test_readiness.py::test_a_process_that_does_not_follow_is_behind",
            "tests/live/test_doctor.py::test_a_worker_that_answers_and_whose_streams_stand",
        )
    ),
    "the clock was set back": Seen(
        fault=other_clock,
        health="degraded: clock was set back by at least ",
        log=r"^control \| .*health is degraded: clock was set back",
        check="clock",
        doctor="the data were written ",
    ),
    "nginx ended": Seen(fault=killed("nginx"), log=r"^supervisor \| .*WARN exited: nginx"),
    "another server cannot be reached": Seen(
        fault=unreachable_server,
        health="ready: all parts work",
        page="127.0.0.1:",
        check="destinations",
        doctor="1 server does not answer, none of them for more than a day",
    ),
    "two servers over one volume": Proved(
        ("tests/live/test_lifecycle.py::test_a_second_server_over_the_same_data_is_rejected",)
    ),
}

HEADINGS: dict[str, Seen | Proved] = {
    "It refuses to start": Proved(
        (
            "tests/live/test_lifecycle.py::test_wrong_variable_ends_with_2_and_writes_nothing",
            "tests/unit/test_environment.py::test_all_problems_are_reported_together",
            "tests/image/test_failures.py::test_an_unknown_role_is_named",
        )
    ),
    'It stops: "keeps failing"': Proved(
        (
            "tests/live/test_lifecycle.py::test_a_process_that_keeps_failing_ends_the_server",
            "tests/image/test_failures.py::test_an_option_that_synapse_refuses_ends_it",
        )
    ),
    'The container is "unhealthy"': Proved(
        ("tests/image/test_server.py::test_healthy_means_ready",)
    ),
    '"has not responded … so it is replaced"': Proved(
        (
            f"{GROUND}::test_stopped_processes_are_replaced",
            f"{GROUND}::test_a_worker_whose_start_hangs_takes_nothing_down",
        )
    ),
    '"The sequence … was behind"': Proved(
        (
            "tests/synapse/test_sequences_behind.py::test_the_fix_moves_a_sequence_instead_of_stopping",
        )
    ),
    "502": Seen(
        fault=message_without_writer,
        health="event_persister1 is stopped",
        page="is stopped",
        metric=r'^ganglion_process_up\{process="event_persister1",[^}]*\} 0$',
        log=r"^main \| .*send_events request connection failed; retrying",
        check="processes",
        doctor="event_persister1 does not run (STOPPED)",
    ),
    "503": Seen(
        fault=main_is_down,
        health="main is stopped",
        page="is stopped",
        metric=r'^ganglion_nginx_requests_total\{[^}]*status="503"[^}]*\} ',
        log=r'^nginx \| .*\[access\] .*createRoom HTTP/1.1" 503 ',
        check="processes",
        doctor="main does not run (STOPPED)",
    ),
    "429": Proved(
        (
            "tests/live/test_shedding.py::test_a_worker_that_is_asked_too_much_refuses_and_recovers",
            "tests/live/test_routing.py::test_initial_syncs_are_bounded",
        )
    ),
    "413": Seen(fault=large_upload, log=r"^nginx \| .*client intended to send too large body"),
    "403 from /_synapse/admin": Seen(
        fault=closed_admin_api,
        metric=r'^ganglion_nginx_requests_total\{[^}]*status="403"[^}]*\} ',
    ),
    "Nothing answers on port 9469": Seen(fault=other_host),
    "Which worker answered?": Proved(
        ("tests/live/test_routing.py::test_nginx_and_explain_agree_on_every_client",)
    ),
    "People are not found in the search": Proved(
        ("tests/live/test_import.py::test_tokens_rooms_and_media_are_intact",)
    ),
    "Federation does not work": Proved(
        ("tests/unit/doctor/test_federation.py::test_name_servers_that_do_not_answer",)
    ),
}
