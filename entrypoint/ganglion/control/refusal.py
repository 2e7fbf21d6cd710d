"""Error responses, and checks of a request's body that raise them."""

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]
# In milliseconds.
LONGEST_DELAY = 60_000


class Refusal(Exception):
    """Ends a request with this HTTP status, this text as its error, and further headers."""

    def __init__(
        self, status: int, message: str, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers


def only(body: Mapping[str, Any], *names: str) -> None:
    """Reject unknown fields: a misspelt one would be ignored."""
    unknown = sorted(set(body) - set(names))
    if unknown:
        known = f"write {', '.join(names)}" if names else "send no body"
        raise Refusal(400, f"unknown field {unknown[0]!r}; {known}")


def whole(body: Mapping[str, Any], name: str, least: int, most: int, default: int | None) -> int:
    """Return a field that is a whole number from `least` to `most`."""
    value = body.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise Refusal(
            400, f'{name} must be a whole number from {least} to {most}; write {{"{name}": N}}'
        )
    return value


def text(body: Mapping[str, Any], name: str, default: str | None) -> str | None:
    """Return a field that is text, and not empty."""
    value = body.get(name, default)
    if value is not None and (not isinstance(value, str) or not value):
        raise Refusal(400, f'{name} must be text that is not empty; write {{"{name}": "…"}}')
    return value


def truth(body: Mapping[str, Any], name: str) -> bool:
    """Return a field that is true or false; false by default."""
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise Refusal(400, f'{name} must be true or false; write {{"{name}": true}}')
    return value


def seconds(body: Mapping[str, Any], name: str, default: float, most: float) -> float:
    """Return a field that is a time in seconds, above 0 and up to `most`."""
    value = body.get(name, default)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= most:
        raise Refusal(
            400,
            f'{name} must be a number of seconds above 0 and up to {most:g}; write {{"{name}": N}}',
        )
    return float(value)


def milliseconds(body: Mapping[str, Any]) -> int:
    """Return the field `milliseconds`, a delay."""
    return whole(body, "milliseconds", 0, LONGEST_DELAY, None)
