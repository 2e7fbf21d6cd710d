"""Faults of Synapse that a few lines can mend, one module for each.

A module has `REFERENCE`, the address of the upstream issue or change; `fits()`, which returns
whether the installed Synapse has the fault in the form that the module mends; and `apply()`, which
mends it in this process. Its name is in ganglion.settings.fix_names, with what it cures. A live
test fails without it.

Every Synapse process applies the chosen fixes before its application starts, however it was
started: become() in a forked child, start.py in a fresh process.
"""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Protocol, cast

from ganglion.settings.fix_names import ALL

# The environment variable of a Synapse process that names its fixes, with commas between them. All
# of them without it.
VARIABLE = "GANGLION_FIXES"


class Fix(Protocol):
    """The members of each module in this package."""

    REFERENCE: str

    def fits(self) -> bool:
        """Return whether the installed Synapse has the fault, as the module knows it."""

    def apply(self) -> None:
        """Mend the fault in this process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The names of the fixes: applied, not applied because they do not fit, and not chosen."""

    applied: tuple[str, ...]
    unfit: tuple[str, ...]
    left_out: tuple[str, ...]

    def line(self) -> str:
        """Return a line for the log."""
        parts = [f"applied fixes of Synapse: {', '.join(self.applied) or 'none'}"]
        if self.unfit:
            parts.append(f"this Synapse no longer needs or fits: {', '.join(self.unfit)}")
        if self.left_out:
            parts.append(f"left out by {VARIABLE}: {', '.join(self.left_out)}")
        return "; ".join(parts)


def load(name: str) -> Fix:
    """Return the module of a fix."""
    module: Any = import_module(f"{__name__}.{name}")
    return cast("Fix", module)


@cache
def fitting() -> frozenset[str]:
    """Return the fixes that the installed Synapse needs.

    Reading Synapse's source takes milliseconds, so the supervisor calls this before it forks, and
    the children find the result.
    """
    return frozenset(name for name in ALL if _fits(name))


def apply(text: str | None) -> Outcome:
    """Apply the fixes that `text` names, as settings.fixes.as_text writes it, as far as they fit.

    None means all.
    """
    names = set((text or "all").split(","))
    chosen = tuple(name for name in ALL if name in names or names == {"all"})
    applied = tuple(name for name in chosen if name in fitting())
    for name in applied:
        load(name).apply()
    return Outcome(
        applied=applied,
        unfit=tuple(name for name in chosen if name not in applied),
        left_out=tuple(name for name in ALL if name not in chosen),
    )


def _fits(name: str) -> bool:
    try:
        return load(name).fits()
    except (AttributeError, ImportError):
        # Synapse has moved or renamed something that the fix names.
        return False
