"""An answer that is no success, and the checks of what was sent that come to one."""

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]
LONGEST_DELAY = 60_000


class Refusal(Exception):
    """The request is answered with this status, and this text as its error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def only(body: Mapping[str, Any], *names: str) -> None:
    """See that nothing else was sent: a misspelt name would count for nothing."""
    unknown = sorted(set(body) - set(names))
    if unknown:
        known = f"write {', '.join(names)}" if names else "send no body"
        raise Refusal(400, f"there is no {unknown[0]} here; {known}")


def whole(body: Mapping[str, Any], name: str, least: int, most: int, default: int | None) -> int:
    """A whole number of the body."""
    value = body.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise Refusal(400, f'write {{"{name}": N}} with a whole number from {least} to {most}')
    return value


def text(body: Mapping[str, Any], name: str, default: str | None) -> str | None:
    """A text of the body."""
    value = body.get(name, default)
    if value is not None and (not isinstance(value, str) or not value):
        raise Refusal(400, f'write {{"{name}": "…"}} with some text')
    return value


def truth(body: Mapping[str, Any], name: str) -> bool:
    """Whether something is asked for."""
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise Refusal(400, f'write {{"{name}": true}} or {{"{name}": false}}')
    return value


def seconds(body: Mapping[str, Any], name: str, default: float, most: float) -> float:
    """A time in seconds."""
    value = body.get(name, default)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= most:
        raise Refusal(400, f'write {{"{name}": N}} with a number of seconds up to {most:g}')
    return float(value)


def milliseconds(body: Mapping[str, Any]) -> int:
    """A delay in milliseconds."""
    return whole(body, "milliseconds", 0, LONGEST_DELAY, None)
