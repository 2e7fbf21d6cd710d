"""A result for tests."""

from benchmarks.results import Result, Table


def a_result() -> Result:
    """Return a result with two variants, one without a row, and characters to be quoted."""
    bars = Table(title="Start & end", unit="seconds")
    for first, second in ((2.0, 4.0), (4.0, 6.0)):
        bars.add("first <boot>", "a", first)
        bars.add("first <boot>", "b|c", second)
    bars.add("later", "a", 0.5)
    lines = Table(title="Memory", unit="MB", series="workers")
    for count, size in ((1, 100.0), (2, 130.0), (40, 1270.0)):
        lines.add(str(count), "a", size)
    return Result(
        benchmark="start",
        title="Time <to> start",
        note="From here to there.",
        date="2026-11-23 12:00 UTC",
        command="scripts/bench start",
        machine={"cores": "2"},
        tables=[bars, lines],
    )
