"""Name a change of log context by a number.

Each time that Synapse changes the context of its log, it draws a random name of five letters, which
it writes when this mechanism itself is debugged. A message draws some 200 of them. A number that
counts up names it as well.
"""

from itertools import count
from typing import Any

from synapse.logging import context
from synapse.util import clock, stringutils

from ganglion.in_synapse.fixes.source import digest

# It introduced the names.
REFERENCE = "https://github.com/element-hq/synapse/pull/18966"


def fits() -> bool:
    """Return whether both modules draw their names by the same function."""
    drawn = stringutils.random_string_insecure_fast
    return (
        digest(drawn) == "ceb961b7d423f387"
        and context.random_string_insecure_fast is drawn
        and clock.random_string_insecure_fast is drawn
    )


def apply() -> None:
    """Count instead."""
    numbers = count(1)

    def name(_length: int) -> str:
        return str(next(numbers))

    modules: tuple[Any, ...] = (context, clock)
    for module in modules:
        module.random_string_insecure_fast = name
