"""The line that tells how long a start took."""

import re

from ganglion.supervisor.start_times import Timeline


def test_stages_are_told_in_the_order_of_their_ends_and_come_to_the_total() -> None:
    timeline = Timeline()
    for stage in ("python", "postgres", "main"):
        timeline.mark(stage)
    timeline.mark("postgres")
    found = re.fullmatch(
        r"everything runs after (\S+) s: python (\S+), postgres 0\.00, main 0\.00", timeline.line()
    )
    assert found
    assert found[1] == found[2] != "0.00"
