"""Keep the memory of forked processes shared: the kernel copies a page when a process writes to it.

CPython stores reference counts in the objects, so even reading an object writes to its page. An
object that lives as long as the process needs no count. Since 3.12 CPython leaves the count of an
object alone if it is marked immortal, as None is (PEP 683). This module marks everything that has
been imported.
"""

import ctypes
import gc
from collections.abc import Iterable
from itertools import chain
from types import CodeType, FunctionType

from ganglion.machine.interpreter import IMMORTAL, can_share_objects

# How many objects are asked for their referents in one call.
STEP = 20_000
# All addresses that a 64-bit process can have, as 32-bit words: 2**47 bytes.
WORDS = 2**45


def immortalise() -> None:
    """Mark every object that Python can reach as immortal, where the interpreter allows it.

    Marked objects are never freed, so call this once, when everything that stays is imported. It
    takes 0.25 s. Marking an object twice costs less than checking whether it is marked.
    """
    if not can_share_objects():
        return
    memory = (ctypes.c_uint32 * WORDS).from_address(0)

    def mark(items: Iterable[object]) -> None:
        for address in map(id, items):
            memory[address >> 2] = IMMORTAL

    tracked = gc.get_objects()
    mark(tracked)
    # The collector does not track code objects, so it does not find their constants either. Running
    # code counts references to both.
    codes = [item.__code__ for item in tracked if type(item) is FunctionType]
    while codes:
        constants = [code.co_consts for code in codes]
        mark(codes)
        mark(constants)
        mark(chain.from_iterable(constants))
        codes = [item for item in chain.from_iterable(constants) if type(item) is CodeType]
    # Strings and numbers are found through the objects that hold them. Functions are done above.
    others = [item for item in tracked if type(item) is not FunctionType]
    for start in range(0, len(others), STEP):
        mark(gc.get_referents(*others[start : start + STEP]))


def prepare_shared_memory() -> None:
    """Prepare all objects for sharing with the processes that are forked from now on.

    Garbage that exists now is kept, 2 MB of it. Freeing it would leave holes, children would put
    new objects there, and each child would get a private page for every hole: 180 MB in all with
    the preset `complement`.
    """
    immortalise()
    # Hide all objects from the collector: a collection in a child would write to every header.
    gc.freeze()
    # preload() disabled the collector. Objects made from now on are few, so collect them.
    gc.enable()
