"""Forked processes behave like processes that are started on their own."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.flows import whole_flow
from tests.harness import SHARED_SECRET, Server, free_port, wait_until
from tests.matrix import CLIENT, Clients
from tests.processes import stat_fields
from tests.raw_http import raw_request

WORKERS = "client_reader:2, event_persister, media_repository, stream_writers"
# In seconds: a limit far above the time needed, so that a failure ends.
SOON = 60
FORKED = ("main", "client_reader1", "client_reader2", "event_persister1", "media_repository1")
# A Synapse process may open these: the null device or pipes as stdin, stdout and stderr, log files,
# sockets, one event loop, and pipes or eventfds that wake it.
DESCRIPTORS = re.compile(
    r"(/dev/null|pipe:|socket:|anon_inode:\[(eventpoll|eventfd)\]|/\S*\.log|/\S*/\.lock)"
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(WORKERS, {"GANGLION_PREFORK": "yes"}) as found:
        found.start()
        asyncio.run(whole_flow(found.base_url, SHARED_SECRET))
        yield found


def proc(server: Server, name: str, what: str) -> Path:
    return Path(f"/proc/{server.pid(name)}/{what}")


def preloaded(code: str) -> list[str]:
    """Run code in another Python, after preload(). Return the words that it prints."""
    first = "from ganglion.supervisor.fork.preload import preload; preload()\n"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", first + code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.split()


def inodes(server: Server, name: str) -> dict[str, str]:
    """Return the target of each descriptor of a process."""
    found = {}
    for link in proc(server, name, "fd").iterdir():
        try:
            found[link.name] = str(link.readlink())
        except OSError:
            continue
    return found


def watches_its_own(server: Server, name: str, loop: str) -> bool:
    """Return whether an event loop watches only what its process has open.

    Between the two looks it may open something or close it.
    """
    watched = proc(server, name, f"fdinfo/{loop}").read_text()
    return set(re.findall(r"^tfd:\s+(\d+)", watched, re.MULTILINE)) <= set(inodes(server, name))


def test_each_process_has_its_own_title(server: Server) -> None:
    for name in FORKED:
        app = "homeserver" if name == "main" else "generic_worker"
        title = proc(server, name, "cmdline").read_bytes().rstrip(b"\0").decode()
        assert title == f"{name}: synapse.app.{app}"


def test_each_process_has_its_account_and_its_own_process_group(server: Server) -> None:
    parent = server.process
    assert parent is not None
    for name in FORKED:
        pid = server.pid(name)
        status = Path(f"/proc/{pid}/status").read_text()
        assert re.search(rf"^PPid:\t{parent.pid}$", status, re.MULTILINE)
        assert os.getpgid(pid) == pid
        if os.geteuid() == 0:
            uid = Path(f"/proc/{pid}").stat().st_uid
            assert uid not in (0, os.geteuid())
            assert not re.search(r"^CapEff:\t0*[1-9a-f]", status, re.MULTILINE)


def test_workers_die_first_when_memory_is_short(server: Server) -> None:
    assert server.process is not None
    own = int(Path(f"/proc/{server.process.pid}/oom_score_adj").read_text())
    expected = dict.fromkeys(FORKED, 200) | {"main": 100, "nginx": 50, "redis": 50, "postgres": 0}
    found = {name: int(proc(server, name, "oom_score_adj").read_text()) for name in expected}
    assert found == {name: min(1000, own + points) for name, points in expected.items()}


def test_no_process_keeps_a_descriptor_of_the_parent(server: Server) -> None:
    parent = server.process
    assert parent is not None
    theirs = {str(link.readlink()) for link in Path(f"/proc/{parent.pid}/fd").iterdir()}
    # Pipes are left out: the parent has the other ends of the child's stdin and stdout.
    shared = {item for item in theirs if item.startswith("socket:")}
    seen: set[str] = set()
    for name in FORKED:
        found = inodes(server, name)
        assert len(found) > 5
        assert [item for item in found.values() if not DESCRIPTORS.match(item)] == []
        # The supervisor has the process's own listening sockets: one, or two with replication.
        # After a start that took a busy machine long, the process has sockets of its own.
        own = shared & set(found.values())
        assert len(own) in ((1, 2) if name == "main" else (0, 1, 2))
        assert not seen & own
        seen |= own


def test_each_process_has_its_own_event_loop(server: Server) -> None:
    """With a shared event loop, one process would get the events of another."""
    sockets: list[str] = []
    for name in FORKED:
        found = inodes(server, name)
        loops = [number for number, item in found.items() if item == "anon_inode:[eventpoll]"]
        assert loops, found
        # Twisted's loop, and those of libraries. They watch only descriptors of this process.
        for loop in loops:
            wait_until("loop that watches its own", partial(watches_its_own, server, name, loop))
        sockets += [item for item in found.values() if item.startswith("socket:")]
    assert len(sockets) == len(set(sockets))


def test_signal_handlers_are_the_childs_own(server: Server) -> None:
    for name in FORKED:
        status = proc(server, name, "status").read_text()
        masks = dict(re.findall(r"^(Sig\w+):\t([0-9a-f]+)$", status, re.MULTILINE))
        caught = int(masks["SigCgt"], 16)
        assert int(masks["SigBlk"], 16) == 0
        # Python itself ignores these two.
        ignored = {n for n in range(1, 32) if int(masks["SigIgn"], 16) >> (n - 1) & 1}
        assert ignored <= {signal.SIGPIPE, signal.SIGXFSZ}
        for number in (signal.SIGTERM, signal.SIGHUP):
            assert caught >> (number - 1) & 1, f"{name} does not catch {number}"


def scheduling(server: Server) -> dict[str, int]:
    """Return the scheduling policy of each process."""
    return {row["name"]: os.sched_getscheduler(row["pid"]) for row in server.status()}


def test_synapse_processes_are_scheduled_as_batch_work(server: Server) -> None:
    found = scheduling(server)
    assert {found[name] for name in FORKED} == {os.SCHED_BATCH}
    # All others wait for these two, which need little time.
    assert found["nginx"] == found["redis"] == os.SCHED_OTHER


def test_no_two_children_draw_the_same_random_numbers() -> None:
    """Each child draws from every source that Synapse uses, immediately after the fork."""
    drawn = preloaded(DRAW)
    assert len(drawn) == 6 * CHILDREN
    assert len(set(drawn)) == len(drawn)


CHILDREN = 4
DRAW = f"""
import os, random, secrets, sys, uuid
import nacl.utils
from OpenSSL import SSL
from synapse.util.stringutils import random_string
context = SSL.Context(SSL.TLS_CLIENT_METHOD)

def first_words():
    # The random bytes of a client's first message, of a context made before forking.
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    try:
        connection.do_handshake()
    except SSL.WantReadError:
        return connection.bio_read(4096)[11:43].hex()

for _ in range({CHILDREN}):
    if os.fork() == 0:
        for number in (
            random.random(), secrets.token_hex(), uuid.uuid4(), random_string(20),
            nacl.utils.random(16).hex(), first_words(),
        ):
            print(number, flush=True)
        os._exit(0)
    os.wait()
"""


def test_no_thread_runs_before_forking() -> None:
    assert preloaded("import os; print(len(os.listdir('/proc/self/task')))") == ["1"]


def test_thread_pools_of_a_child_use_a_queue_in_c() -> None:
    assert preloaded(ERRANDS) == ["SimpleQueue", "500", "done"]


# A thread pool like Synapse's for its database, in a child. It does each piece of work once, and it
# ends.
ERRANDS = """
import os, queue, threading, time
if os.fork() == 0:
    from twisted.python.threadpool import ThreadPool
    results = queue.Queue()
    pool = ThreadPool(3, 5)
    pool.start()
    for number in range(500):
        pool.callInThreadWithCallback(lambda _, result: results.put(result), lambda n: n, number)
    found = {results.get(timeout=30) for _ in range(500)}
    while not pool._team._idle:
        time.sleep(0.01)
    kinds = {type(worker._q).__name__ for worker in pool._team._idle}
    pool.stop()
    print(*kinds, len(found), "done" if threading.active_count() == 1 else "threads", flush=True)
    os._exit(0)
os.wait()
"""


def test_every_line_is_logged_once(server: Server) -> None:
    lines = [line for line in server.log.text().splitlines() if "Processed request" in line]
    assert len(lines) > 20
    assert len(lines) == len(set(lines))


def test_a_restart_reads_changed_configuration(server: Server) -> None:
    """The operator's file was read before the fork."""
    path = server.data / "homeserver.d" / "00-tests.yaml"
    text = path.read_text()

    def may_set_names() -> bool:
        found = json.loads(server.get(f"{CLIENT}/capabilities", asker).body)
        return bool(found["capabilities"]["m.set_displayname"]["enabled"])

    asker = {"Authorization": f"Bearer {asyncio.run(token(server))}"}
    assert [may_set_names() for _ in range(4)] == [True] * 4
    try:
        path.write_text(f"{text}enable_set_displayname: false\n")
        restart(server, "client_reader1", "client_reader2")
        assert [may_set_names() for _ in range(4)] == [False] * 4
    finally:
        path.write_text(text)
        restart(server, "client_reader1", "client_reader2")
    assert may_set_names()


async def token(server: Server) -> str:
    async with Clients(server.base_url) as clients:
        session = await clients.register("asker")
        return str(session.nio.access_token)


def restart(server: Server, *names: str) -> None:
    """End processes, and wait until their successors are ready."""
    before = {name: server.pid(name) for name in names}
    for pid in before.values():
        os.kill(pid, signal.SIGTERM)

    def restarted() -> bool:
        return all(server.pid(name) not in (0, pid) for name, pid in before.items())

    wait_until("restart", restarted, SOON)
    wait_until("ready server", lambda: server.ganglion("ready").returncode == 0, SOON)


def test_each_process_has_its_own_metrics() -> None:
    """Synapse creates its metrics when it is imported, before the fork."""
    variables = {"GANGLION_PREFORK": "yes", "SYNAPSE_ENABLE_METRICS": "yes"}
    with Server("client_reader:2", variables) as server:
        port = free_port()
        server.environment |= {"CONTROL_PORT": str(port), "GANGLION_TRACE_HEADERS": "yes"}
        server.start()
        answered = {"client_reader1": 0, "client_reader2": 0}
        before = {name: metrics(port, name) for name in ("main", *answered)}
        for number in range(40):
            answer = server.get(f"{CLIENT}/profile/@nobody{number}:localhost")
            socket = Path(answer.headers["X-Ganglion-Server"].removeprefix("unix:"))
            answered[socket.name.removesuffix(".sock")] += 1
        assert all(answered.values()), answered
        for name, count in answered.items():
            after = metrics(port, name)
            assert after["profiles"] - before[name]["profiles"] == count
            assert after["started"] == before[name]["started"]
        # Each reports its own start, which is always later than main's. The kernel counts it in
        # ticks since boot; two workers may start in the same one.
        ticks = {name: int(stat_fields(server.pid(name))[19]) for name in before}
        assert ticks["main"] < min(ticks[name] for name in answered)
        for name in answered:
            later = before[name]["started"] - before["main"]["started"]
            assert round(later * os.sysconf("SC_CLK_TCK")) == ticks[name] - ticks["main"]
        server.stop()


def metrics(port: int, name: str) -> dict[str, float]:
    """Return a process's count of profiles served, and its start in seconds since the epoch."""
    text = raw_request(port, "GET", f"/metrics/{name}").body.decode()
    wanted = {
        "profiles": r'^synapse_http_server_requests_received_total\{.*servlet="ProfileRestServlet"',
        "started": r"^process_start_time_seconds(?:\{.*\})? ",
    }
    return {
        key: sum(
            float(line.rpartition(" ")[2]) for line in text.splitlines() if re.match(pattern, line)
        )
        for key, pattern in wanted.items()
    }


MODULE = """
from twisted.web.resource import Resource

class Probe:
    def __init__(self, config, api):
        resource = Resource()
        resource.isLeaf = True
        resource.render_GET = lambda request: b"{answer}"
        api.register_web_resource("/_synapse/client/probe", resource)

    @staticmethod
    def parse_config(config):
        return config
"""


def test_a_restart_imports_a_changed_module() -> None:
    modules = "modules: [{module: ganglion_probe.Probe, config: {}}]\n"
    with Server("none", {"GANGLION_PREFORK": "yes"}, modules) as server:
        source = server.root / "modules" / "ganglion_probe.py"
        source.parent.mkdir()
        server.environment |= {"PYTHONPATH": str(source.parent), "PYTHONDONTWRITEBYTECODE": "1"}
        for answer in ("first", "the second"):
            source.write_text(MODULE.replace("{answer}", answer))
            if server.running:
                restart(server, "main")
            else:
                server.start()
            assert server.get("/_synapse/client/probe").body == answer.encode()
        server.stop()


def test_a_killed_process_restarts(server: Server) -> None:
    before = server.pid("client_reader2")
    os.kill(before, signal.SIGKILL)
    wait_until("restart", lambda: server.pid("client_reader2") not in (0, before), SOON)
    wait_until("ready server", lambda: server.ganglion("ready").returncode == 0, SOON)
    asyncio.run(whole_flow(server.base_url, SHARED_SECRET))


@pytest.mark.parametrize("prefork", ["yes", "no"])
def test_processes_can_run_on_asyncio(prefork: str) -> None:
    variables = {"GANGLION_PREFORK": prefork, "SYNAPSE_ASYNC_IO_REACTOR": "yes"}
    with Server("client_reader", {**variables, "SYNAPSE_ENABLE_METRICS": "yes"}) as server:
        server.environment["CONTROL_PORT"] = str(free_port())
        server.start()
        asyncio.run(whole_flow(server.base_url, SHARED_SECRET))
        # Synapse has this metric only for a reactor with a selector, such as asyncio's.
        found = raw_request(
            int(server.environment["CONTROL_PORT"]), "GET", "/metrics/client_reader1"
        )
        assert b"python_twisted_reactor_tick_time_count" in found.body
        server.stop()


def test_without_prefork_each_process_executes_its_own_python() -> None:
    with Server("client_reader", {"GANGLION_PREFORK": "no"}) as server:
        server.start()
        command = proc(server, "client_reader1", "cmdline").read_bytes().split(b"\0")
        start = [b"-m", b"ganglion.in_synapse.start", b"synapse.app.generic_worker"]
        assert command[1:4] == start
        assert scheduling(server)["client_reader1"] == os.SCHED_BATCH
        asyncio.run(whole_flow(server.base_url, SHARED_SECRET))
        server.stop()
