"""The check of the sequences behind Synapse's streams, with their repair."""

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg2.errors

from ganglion.doctor.finding import Check, Finding, bad, good
from ganglion.doctor.place import Place
from ganglion.programs.postgres.sequences import State, forward, states


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Every sequence, and the command that moves those forward that are behind.

    `complete` is False if the tables were too large to look at in the time.
    """

    states: tuple[State, ...]
    repair: str = ""
    complete: bool = True


def observe(place: Place) -> Found:
    """Compare every sequence with the positions of its stream and with its tables."""
    complete = True
    try:
        found = states(place.database.rows)
    except (psycopg2.errors.QueryCanceled, psycopg2.errors.LockNotAvailable):
        complete = False
        found = states(place.database.rows, tables=False)
    statements = [
        statement
        for state in found
        if state.behind
        for statement in forward(state.sequence.name, state.greatest)
    ]
    # One argument is one transaction.
    repair = place.psql("; ".join(statements)) if statements else ""
    return Found(states=found, repair=repair, complete=complete)


def judge(found: Found) -> Iterator[Finding]:
    """Judge the sequences."""
    behind = [state for state in found.states if state.behind]
    for state in behind:
        where = state.where if state.used >= state.position else "stream_positions"
        yield bad(
            f"the sequence {state.sequence.name} is at {state.value}, behind {state.greatest} in"
            f" {where}",
            "Synapse gives a number out twice, and writes fail, until it is moved forward",
            found.repair,
        )
    if not behind:
        partly = "" if found.complete else "; tables were left out for lack of time"
        yield good(f"none of {len(found.states)} sequences is behind its stream{partly}")


CHECKS = (
    Check(
        name="sequences",
        about="the sequences behind stream positions and tables, with the statements that only move"
        " them forward",
        observe=observe,
        judge=judge,
    ),
)
