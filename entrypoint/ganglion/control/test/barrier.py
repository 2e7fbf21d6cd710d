"""Waiting until every process has seen what every other had written when it was asked."""

import time
from collections.abc import Mapping

from ganglion.control.refusal import Json, Refusal, only, seconds
from ganglion.control.test.json_lines import GRACE, ask_all
from ganglion.control.test.place import Place

DEFAULT, MOST = 10.0, 600.0
# Positions by stream and writer.
Positions = dict[str, dict[str, int]]
# After so long, in seconds, writers are asked to say their positions again. It is not much longer
# than replication takes, and hardly ever needed: see _announce.
PATIENCE = 0.1


def barrier(place: Place, body: Json) -> Json:
    """Ask every process what it has written, then have all wait until they have seen it."""
    only(body, "timeout")
    within = seconds(body, "timeout", DEFAULT, MOST)
    began = time.monotonic()
    targets = _written(place, within)
    missing = _await(place, targets, min(PATIENCE, within))
    while missing:
        left = within - (time.monotonic() - began)
        if left <= 0:
            raise Refusal(504, f"not in {within:g} s: {_told(missing)}")
        _announce(place, missing, left)
        missing = _await(place, targets, left)
    return {"seconds": round(time.monotonic() - began, 4), "streams": targets}


def _written(place: Place, within: float) -> Positions:
    """How far each writer has come with each of its streams."""
    answers = ask_all(place.agents, {name: {"do": "written"} for name in place.agents}, within)
    targets: Positions = {}
    for name, answer in answers.items():
        for stream, position in answer["streams"].items():
            targets.setdefault(stream, {})[name] = position
    return targets


def _await(place: Place, targets: Positions, within: float) -> dict[str, Positions]:
    """What each process has not seen of it after so many seconds; nothing where all have."""
    request = {"do": "await", "streams": targets, "seconds": within}
    answers = ask_all(place.agents, dict.fromkeys(place.agents, request), within + GRACE)
    return {name: answer["missing"] for name, answer in answers.items() if answer["missing"]}


def _announce(place: Place, missing: Mapping[str, Positions], within: float) -> None:
    """Have writers say where they are.

    Others hear of a position when something is written there. A writer that has written nothing
    since it started stands where it found the database, which nobody was told.
    """
    writers = {name for streams in missing.values() for found in streams.values() for name in found}
    ask_all(place.agents, {name: {"do": "announce"} for name in writers}, within)


def _told(missing: Mapping[str, Positions]) -> str:
    return "; ".join(
        f"{name} has not seen "
        + ", ".join(
            f"{stream} of {writer} up to {position}"
            for stream, found in streams.items()
            for writer, position in found.items()
        )
        for name, streams in missing.items()
    )
