"""One row of the table of variables, as a field of Settings."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One row of the table.

    `parse` raises parsers.Invalid. `shown_default` is the default as the documentation shows it, if
    that differs from the value. A variable that is `test_mode_only` is an error outside test mode.
    `test_mode_aliases` are further names in test mode; outside test mode they are ignored, because
    other programs use them too.
    """

    name: str
    parse: Callable[[str], Any]
    default: Any
    doc: str
    secret: bool = False
    aliases: tuple[str, ...] = ()
    shown_default: str | None = None
    test_mode_only: bool = False
    test_mode_aliases: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that gives the value directly, starting with the preferred one."""
        return (self.name, *self.aliases)


def row(  # noqa: PLR0913 - one argument for each column
    name: str,
    parser: Callable[[str], T],
    default: T,
    doc: str,
    *,
    secret: bool = False,
    aliases: tuple[str, ...] = (),
    shown_default: str | None = None,
    test_mode_only: bool = False,
    test_mode_aliases: tuple[str, ...] = (),
) -> Any:  # noqa: ANN401 - as in dataclasses.field
    """Make a field of Settings that holds the value of a variable."""
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
                test_mode_only=test_mode_only,
                test_mode_aliases=test_mode_aliases,
            )
        },
    )
