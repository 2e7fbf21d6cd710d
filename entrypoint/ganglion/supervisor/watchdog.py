"""Replace programs that hang: they leave three questions unanswered and do nothing meanwhile."""

import contextlib
import errno
import math
import os
import select
import signal
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from supervisor.states import ProcessStates

from ganglion.supervisor.addresses import destination
from ganglion.supervisor.dispatcher import Reader
from ganglion.supervisor.program import ESSENTIAL, GatedProcess

# The question for each protocol. Any response shows that the program works.
QUESTIONS = {
    "http": b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n",
    # nginx responds to this path itself; /health goes to main.
    "nginx": b"GET /.ganglion/error HTTP/1.0\r\nHost: localhost\r\n\r\n",
    # It asks no other program for this one.
    "control": b"GET /live HTTP/1.0\r\nHost: localhost\r\n\r\n",
    "redis": b"PING\r\n",
    # SSLRequest. The postmaster forks a process that responds with one byte:
    # https://www.postgresql.org/docs/current/protocol-message-formats.html
    "postgres": bytes.fromhex("00000008 04d2162f"),
}
MISSES = 3
# In seconds, from the response to one question until the next.
EVERY = 2.0
# The same for a program that did nothing since: to ask it is what wakes it most. One that is
# stopped, or has worked for more than this share of the time, is asked after EVERY.
IDLE_EVERY, IDLE_SHARE = 10.0, 0.001
# A program that works without responding is left alone for this many times longer.
BUSY_FACTOR = 10
# A program that starts without working is waited for this many times longer.
START_FACTOR = 10
# The share of the time for which a busy program has a processor, or waits for one.
BUSY_SHARE = 0.1
# The state of a process in proc(5) that a signal has stopped.
STOPPED = "T"


@dataclass(slots=True)
class Watch:
    """The state of one program with a process ID.

    `asked_at` is the time of the open question, `unanswered_since` that of the first of those
    without a response in a row, both in seconds. `work` is its work until that time, `rested` until
    the last response. `stopped` are its children that were stopped at the last response.
    """

    pid: int
    next_at: float
    question: "Question | None" = None
    asked_at: float = 0.0
    unanswered_since: float | None = None
    misses: int = 0
    work: float = 0.0
    rested: float = -math.inf
    stopped: frozenset[int] = frozenset()
    is_reported: bool = False

    def rest(self, now: float, work: float) -> None:
        """Wait for the next question, with none unanswered."""
        self.rested = work
        self.misses, self.unanswered_since, self.is_reported = 0, None, False
        self.next_at = now + EVERY


class Question:
    """One connection to a program, which never blocks.

    `answered` is None until it is known. A refused connection, or one that is closed without a
    response, is no answer; but nginx closes new ones at once while clients hold all that it may
    have. To replace it would cut them all, and those that hold them would come again.
    """

    def __init__(self, protocol: str, address: str) -> None:
        self._request = QUESTIONS[protocol]
        self._may_be_full = protocol == "nginx"
        self.answered: bool | None = None
        family, where = destination(address)
        self._socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        code = self._socket.connect_ex(where)
        # EAGAIN: the backlog of a unix socket is full, as of a program that accepts nothing.
        if code not in (0, errno.EINPROGRESS):
            self.answered = False

    def fileno(self) -> int:
        return self._socket.fileno()

    def advance(self) -> None:
        """Send the question once connected; take the first bytes of the response."""
        try:
            if self._request:
                self._request = self._request[self._socket.send(self._request) :]
            else:
                self.answered = bool(self._socket.recv(4096)) or self._may_be_full
        except BlockingIOError:
            return
        except (ConnectionResetError, BrokenPipeError):
            self.answered = self._may_be_full
        except OSError:
            self.answered = False

    @property
    def events(self) -> int:
        """The events of epoll(7) that it waits for."""
        return select.EPOLLOUT if self._request else select.EPOLLIN

    def close(self) -> None:
        self._socket.close()


class Watchdog(Reader):
    """Asks each ready program in turn, in supervisord's event loop.

    `programs` gives all of them. `limit` is how long a program may be silent, in seconds. `work`
    returns the seconds for which a process and its children have had a processor or waited for one,
    and `waits` whether one of them waits for the disk. `state` returns a process's state as a
    letter of proc(5).
    `report` gets a line for each program that is replaced.
    """

    def __init__(
        self,
        programs: Callable[[], Iterable[GatedProcess]],
        limit: float,
        clock: Callable[[], float],
        report: Callable[[str], None],
        *,
        work: Callable[[int], float] | None = None,
        waits: Callable[[int], bool] | None = None,
        state: Callable[[int], str] | None = None,
    ) -> None:
        self._programs = programs
        self._patience = limit / MISSES
        self._limit = limit
        self._clock = clock
        self._report = report
        self._work = work or work_of
        self._waits = waits or waits_for_the_disk
        self._state = state or _state
        self._watches: dict[str, Watch] = {}
        self._questions: dict[int, Question] = {}
        self._epoll = select.epoll()

    def fileno(self) -> int:
        return self._epoll.fileno()

    def close(self) -> None:
        for watch in self._watches.values():
            self._withdraw(watch)
        self._epoll.close()

    def handle_read_event(self) -> None:
        """Go on with each question whose connection is ready."""
        for descriptor, _ in self._epoll.poll(0):
            question = self._questions[descriptor]
            question.advance()
            if question.answered is None:
                self._epoll.modify(descriptor, question.events)
            else:
                self._epoll.unregister(descriptor)

    def forget(self, name: str) -> None:
        """Forget a program that is no more."""
        watch = self._watches.pop(name, None)
        if watch is not None:
            self._withdraw(watch)

    def look(self) -> None:
        """Ask each program that is due, and replace those that hang. Call it every second."""
        now = self._clock()
        for program in self._programs():
            name, pid = program.config.name, program.pid
            watch = self._watches.get(name)
            if watch is not None and (watch.pid != pid or not _is_watched(program)):
                self._withdraw(watch)
                del self._watches[name]
                watch = None
            if watch is None and _is_watched(program):
                watch = self._watches[name] = Watch(pid=pid, next_at=now + EVERY)
            if watch is not None:
                self._go_on(watch, program, now)
            elif _is_starting(program):
                self._look_at_start(program, now)

    def _go_on(self, watch: Watch, program: GatedProcess, now: float) -> None:
        question = watch.question
        if question is None:
            if self._is_due(watch, now):
                self._ask(watch, program, now)
        elif question.answered:
            self._withdraw(watch)
            if watch.is_reported:
                self._report(f"{program.config.name} responds again")
            watch.rest(now, self._work(watch.pid))
            self._look_at_children(watch, program)
        elif now - watch.asked_at >= self._patience:
            self._withdraw(watch)
            watch.misses += 1
            if watch.misses < MISSES or self._is_working(watch, program, now):
                self._ask(watch, program, now)
            else:
                # PostgreSQL's processes have sessions of their own. One that hangs would keep the
                # shared memory, so that the next server could not start.
                for child in children_of(watch.pid):
                    _kill(program, child)
                program.kill_on_purpose()
                watch.rest(now, self._work(watch.pid))

    def _is_due(self, watch: Watch, now: float) -> bool:
        """Return whether to ask a program now: an idle one less often."""
        if now < watch.next_at:
            return False
        resting = now - watch.next_at + EVERY
        worked = self._work(watch.pid) - watch.rested
        return (
            resting >= IDLE_EVERY
            or worked > IDLE_SHARE * resting
            or self._state(watch.pid) == STOPPED
        )

    def _look_at_start(self, program: GatedProcess, now: float) -> None:
        """Have the others go on without a program whose start hangs. It may still get ready."""
        took = now - program.laststart
        if took < START_FACTOR * self._limit or self._work(program.pid) >= BUSY_SHARE * took:
            return
        program.set_late()
        name = program.config.name
        self._report(
            f"{name} has been starting for {took:.0f} s and does nothing: the other"
            " programs go on without it"
        )

    def _look_at_children(self, watch: Watch, program: GatedProcess) -> None:
        """Kill workers of nginx that were stopped at two responses in a row.

        Its master, or another worker, responds in their place, and starts others.
        """
        if not program.config.health.startswith("nginx "):
            return
        stopped = frozenset(pid for pid in children_of(watch.pid) if _state(pid) == STOPPED)
        for pid in stopped & watch.stopped:
            self._report(f"process {pid} of {program.config.name} is stopped, so it is replaced")
            _kill(program, pid)
        watch.stopped = stopped

    def _ask(self, watch: Watch, program: GatedProcess, now: float) -> None:
        protocol, _, address = program.config.health.partition(" ")
        watch.question = Question(protocol, address)
        watch.asked_at = now
        if watch.unanswered_since is None:
            watch.unanswered_since, watch.work = now, self._work(watch.pid)
        if watch.question.answered is None:
            descriptor = watch.question.fileno()
            self._questions[descriptor] = watch.question
            self._epoll.register(descriptor, watch.question.events)

    def _withdraw(self, watch: Watch) -> None:
        """Close the open question.

        To close its descriptor does not take it out of the epoll while a child that was just forked
        holds it too.
        """
        if watch.question is not None:
            descriptor = watch.question.fileno()
            if self._questions.pop(descriptor, None) is not None:
                # It is out already if it was answered.
                with contextlib.suppress(FileNotFoundError):
                    self._epoll.unregister(descriptor)
            watch.question.close()
            watch.question = None

    def _is_working(self, watch: Watch, program: GatedProcess, now: float) -> bool:
        """Say that a silent program is busy, or that it hangs or has been busy for too long."""
        name = program.config.name
        since = watch.unanswered_since or now
        silent = now - since
        work = self._work(watch.pid) - watch.work
        # The disk may stall for seconds. A new process would wait for it as well.
        is_busy = work >= BUSY_SHARE * silent or self._waits(watch.pid)
        if is_busy and silent < BUSY_FACTOR * self._limit:
            if not watch.is_reported:
                watch.is_reported = True
                self._report(f"{name} has not responded for {silent:.0f} s, but it is working")
            return True
        state = "works without an end" if is_busy else "does nothing"
        self._report(f"{name} has not responded for {silent:.0f} s and {state}, so it is replaced")
        return False


def _is_watched(program: GatedProcess) -> bool:
    return bool(program.config.health and program.ready and program.pid and not program.paused)


def _is_starting(program: GatedProcess) -> bool:
    """Whether it starts, and others might do without it: main may migrate a database for hours."""
    starting = program.state == ProcessStates.STARTING and program.pid and not program.late
    return bool(starting and program.config.health and program.config.name not in ESSENTIAL)


def _kill(program: GatedProcess, pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        program.config.options.kill(pid, signal.SIGKILL)


def work_of(pid: int) -> float:
    """Return the seconds for which a process and its children had a processor or waited for one.

    Only main threads count: the others of a Synapse process wait for the database.
    """
    return sum(_own_work(each) for each in (pid, *children_of(pid)))


def waits_for_the_disk(pid: int) -> bool:
    """Return whether a process or one of its children is in an uninterruptible sleep."""
    return any(_state(each) == "D" for each in (pid, *children_of(pid)))


def _state(pid: int) -> str:
    """The letter of proc(5), /proc/PID/stat; empty if the process is gone."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def children_of(pid: int) -> tuple[int, ...]:
    """Return the process IDs of the children; none if the process is gone."""
    with contextlib.suppress(OSError):
        return tuple(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    return ()


def _own_work(pid: int) -> float:
    """The first two numbers, in ns: https://docs.kernel.org/scheduler/sched-stats.html."""
    try:
        running, waiting, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    except (OSError, ValueError):
        return _processor_time(pid)
    return (int(running) + int(waiting)) / 1e9


def _processor_time(pid: int) -> float:
    """The processor time, in seconds, where the kernel has no statistics of its scheduler."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0
