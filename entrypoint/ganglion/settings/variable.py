"""One row of the table of variables, and how a field of Settings is made from it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One row of the table.

    A row `of_tests` is read in test mode only and is an error outside of it. `aliases_of_tests` are
    further names in test mode, and outside of it somebody else's.
    """

    name: str
    parse: Callable[[str], Any]
    default: Any
    doc: str
    secret: bool = False
    aliases: tuple[str, ...] = ()
    shown_default: str | None = None
    of_tests: bool = False
    aliases_of_tests: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that gives its value directly, the proper one first."""
        return (self.name, *self.aliases)


def row(  # noqa: PLR0913 - a row has as many columns
    name: str,
    parser: Callable[[str], T],
    default: T,
    doc: str,
    *,
    secret: bool = False,
    aliases: tuple[str, ...] = (),
    shown_default: str | None = None,
    of_tests: bool = False,
    aliases_of_tests: tuple[str, ...] = (),
) -> Any:  # noqa: ANN401 - what the field holds, as dataclasses.field itself has it
    """A field of Settings that holds what a variable says."""
    return field(
        default=default,
        metadata={
            "variable": Variable(
                name=name,
                parse=parser,
                default=default,
                doc=doc,
                secret=secret,
                aliases=aliases,
                shown_default=shown_default,
                of_tests=of_tests,
                aliases_of_tests=aliases_of_tests,
            )
        },
    )
