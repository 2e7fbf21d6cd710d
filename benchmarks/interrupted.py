"""First boots that are killed at random moments, and whether the next one makes a whole server."""

import argparse
import random
import time
from collections.abc import Mapping, Sequence
from functools import partial

from benchmarks import results
from benchmarks.faults import Client
from benchmarks.output import deliver
from benchmarks.results import Session, Table
from tests.harness import Server, wait_until
from tests.processes import descendants, identity

LAYOUT = "none"
NOTE = (
    "Each server of {workers} has an empty data directory. At a moment between its start and the "
    "{longest:.1f} s that a whole first boot took, either all of its processes or only the "
    "supervisor are killed (SIGKILL; the others then end by themselves), and it is started again; "
    "every third is killed a second time. It is whole if a start succeeds, a user can register, "
    "make a room, send and read a message, and a stop ends with status 0. The moments come from "
    "the random seed {seed}."
)


def interrupt(server: Server, moments: Sequence[float], *, supervisor_only: bool) -> None:
    """Start a server and kill it, once after each number of seconds."""
    for moment in moments:
        server.launch()
        assert server.process is not None
        time.sleep(moment)
        if supervisor_only:
            family = descendants(server.process.pid)
            server.process.kill()
            server.process.wait()
            # The others end by themselves. Until then the data directory is in use.
            wait_until("end of all processes", partial(all_ended, family))
        else:
            server.kill()


def all_ended(family: Mapping[int, str]) -> bool:
    """Return whether no process of these identities is left."""
    return all(identity(pid) != name for pid, name in family.items())


def is_whole(server: Server) -> None:
    """Start a server and use it. Raises AssertionError where anything fails."""
    server.start()
    client = Client(server.base_url, writes=True)
    client.register()
    client.begin()
    client.ask_once()
    assert client.failed == 0, "a message was not sent"
    assert client.lost() == 0, "a message is not in its room"
    assert client.connection is not None
    client.connection.close()
    server.stop()


def first_boot(workers: str) -> float:
    """Return the seconds of a whole first boot."""
    with Server(workers) as server:
        took = server.start()
        server.stop()
    return took


def main(words: Sequence[str]) -> int:
    """Run the benchmark with the words of a command line. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/bench interrupted", description=__doc__)
    parser.add_argument("--workers", default=LAYOUT, help=f"the layout ({LAYOUT})")
    parser.add_argument("--moments", type=int, default=50, help="how many servers (50)")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10_000, help="for repetition")
    results.add_arguments(parser, rounds=1)
    options = parser.parse_args(words)
    session = Session("interrupted", options, words, [])
    table = session.add(
        Table(title="Interrupted first boots", unit="number", ratios=False, plotted=False)
    )
    longest = first_boot(options.workers)
    chance = random.Random(options.seed)  # noqa: S311 - moments, not secrets
    for number in range(options.moments):
        alone = number % 2 == 1
        moments = [chance.uniform(0, longest) for _ in range(2 if number % 3 == 2 else 1)]
        killed = "the supervisor" if alone else "all processes"
        with Server(options.workers) as server:
            interrupt(server, moments, supervisor_only=alone)
            try:
                is_whole(server)
                failed = 0
            except AssertionError as error:
                failed = 1
                print(f"killed {killed} after {moments}: {error}\n{server.log.tail()}")
        table.add(killed, "servers", 1)
        table.add(killed, "not whole", failed)
    table.add_up()
    note = NOTE.format(workers=options.workers, longest=longest, seed=options.seed)
    deliver(session.result("While it starts for the first time", note), options)
    return 0
