"""Wait until every process has seen everything that any process had written."""

import time
from collections.abc import Callable, Mapping

from ganglion.control.config import ControlConfig
from ganglion.control.refusal import Json, Refusal, only, seconds
from ganglion.control.test.json_lines import GRACE, ask_all

# In seconds.
DEFAULT, MOST = 10.0, 600.0
# Positions by stream and writer.
Positions = dict[str, dict[str, int]]
# In seconds: how long to wait before writers announce their positions again. Replication takes
# hardly less, and the announcement is hardly ever needed: see _announce.
PATIENCE = 0.1


def barrier(config: ControlConfig, body: Json, clock: Callable[[], float] = time.monotonic) -> Json:
    """Ask every process for its positions, then wait until all processes have seen them.

    `clock` gives the time in seconds.

    Raises Refusal with status 504 and the missing positions if that takes longer than the body's
    `timeout`.
    """
    only(body, "timeout")
    within = seconds(body, "timeout", DEFAULT, MOST)
    began = clock()
    targets = _written(config, within)
    missing = _await(config, targets, min(PATIENCE, within))
    while missing:
        left = within - (clock() - began)
        if left <= 0:
            raise Refusal(
                504, f"not every process caught up within {within:g} s: {_listed(missing)}"
            )
        _announce(config, missing, left)
        missing = _await(config, targets, left)
    return {"seconds": round(clock() - began, 4), "streams": targets}


def _written(config: ControlConfig, within: float) -> Positions:
    """Return the position of each writer in each of its streams."""
    answers = ask_all(config.agents, {name: {"do": "written"} for name in config.agents}, within)
    targets: Positions = {}
    for name, answer in answers.items():
        for stream, position in answer["streams"].items():
            targets.setdefault(stream, {})[name] = position
    return targets


def _await(config: ControlConfig, targets: Positions, within: float) -> dict[str, Positions]:
    """Return the positions that each process has not seen after `within` seconds."""
    request = {"do": "await", "streams": targets, "seconds": within}
    answers = ask_all(config.agents, dict.fromkeys(config.agents, request), within + GRACE)
    return {name: answer["missing"] for name, answer in answers.items() if answer["missing"]}


def _announce(config: ControlConfig, missing: Mapping[str, Positions], within: float) -> None:
    """Let the writers of missing positions send them to all processes again.

    Processes learn of a position when its stream is written to. A writer that has written nothing
    since its start has the position it read from the database, which it has sent to no process.
    """
    writers = {name for streams in missing.values() for found in streams.values() for name in found}
    ask_all(config.agents, {name: {"do": "announce"} for name in writers}, within)


def _listed(missing: Mapping[str, Positions]) -> str:
    return "; ".join(
        f"{name} has not seen "
        + ", ".join(
            f"{stream} of {writer} up to {position}"
            for stream, found in streams.items()
            for writer, position in found.items()
        )
        for name, streams in missing.items()
    )
