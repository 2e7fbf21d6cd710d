"""Recognise code of the installed Synapse."""

import hashlib
import inspect
import textwrap
from collections.abc import Callable
from typing import Any


def digest(function: Callable[..., Any]) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a function's source.

    A fix compares it with the source that it was written for: any change upstream, the cure among
    them, drops the fix until somebody has looked at it again.
    """
    source = textwrap.dedent(inspect.getsource(function))
    return hashlib.sha256(source.encode()).hexdigest()[:16]
