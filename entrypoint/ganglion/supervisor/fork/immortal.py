"""Keep what forked processes share shared: memory that nobody writes to is there once.

CPython counts references in the objects themselves, so that even to look at one writes to its page,
and the kernel then copies the page for that process. Objects that live as long as the process need
no count: since 3.12 CPython leaves a count alone that is marked immortal (PEP 683), as it does for
None. Here everything that was imported is marked so.
"""

import ctypes
import gc
from collections.abc import Iterable
from itertools import chain
from types import CodeType, FunctionType

from ganglion.machine.interpreter import IMMORTAL, can_share_objects

# How many objects are asked at once for what they refer to.
STEP = 20_000
# All addresses that a process can have on 64 bits, as 32-bit words: 2**47 bytes.
WORDS = 2**45


def immortalise() -> None:
    """Mark what can be reached from Python as immortal, where that is possible.

    None of it is ever freed again, so this is for once, when all is imported that stays. It takes
    0.25 s, so nothing is looked at for being marked already: to mark it again costs less.
    """
    if not can_share_objects():
        return
    memory = (ctypes.c_uint32 * WORDS).from_address(0)

    def mark(items: Iterable[object]) -> None:
        for address in map(id, items):
            memory[address >> 2] = IMMORTAL

    tracked = gc.get_objects()
    mark(tracked)
    # The collector does not know code, and so not the constants in it, which running it counts.
    codes = [item.__code__ for item in tracked if type(item) is FunctionType]
    while codes:
        constants = [code.co_consts for code in codes]
        mark(codes)
        mark(constants)
        mark(chain.from_iterable(constants))
        codes = [item for item in chain.from_iterable(constants) if type(item) is CodeType]
    # Strings and numbers are reached from what holds them. All that functions have is marked now.
    others = [item for item in tracked if type(item) is not FunctionType]
    for start in range(0, len(others), STEP):
        mark(gc.get_referents(*others[start : start + STEP]))


def share() -> None:
    """Prepare everything there is for being shared with processes forked from here on.

    What is garbage by now stays, 2 MB of it: where it lay, children would put what they make, and
    each would have a page of its own for every hole. With the preset `complement` that is 180 MB.
    """
    immortalise()
    # Out of the collector's sight, lest a child's collection write to every object's header.
    gc.freeze()
    # Preloading has switched it off; what comes from now on is small, and is collected.
    gc.enable()
