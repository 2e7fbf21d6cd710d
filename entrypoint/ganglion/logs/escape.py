r"""Replace everything in a line that a terminal or a reader of lines could interpret.

A login name may hold line breaks and terminal codes, and Synapse logs it.
"""

import re

# C0 without the tab, DEL, C1, line and paragraph separators, and the marks that reverse the
# direction of the text behind them, all in UTF-8.
CONTROL = re.compile(
    rb"[\x00-\x08\x0a-\x1f\x7f]|\xc2[\x80-\x9f]|\xd8\x9c|\xe2\x80[\x8e\x8f\xa8-\xae]"
    rb"|\xe2\x81[\xa6-\xa9]"
)
# A line that follows its record's first one begins with this, so that it cannot pass for a record.
INDENT = "    "


def escaped(line: bytes) -> bytes:
    r"""Replace control characters and bytes that are not UTF-8 by escapes, such as `\x1b`.

    The result is UTF-8, and one line.
    """
    line = line.removesuffix(b"\r")
    if not line.isascii():
        line = line.decode(errors="backslashreplace").encode()
    return CONTROL.sub(lambda found: b"".join(b"\\x%02x" % byte for byte in found[0]), line)


def indented(text: str) -> str:
    """Return a message of several lines, each behind the first one indented.

    Everything that some reader of lines takes for the end of one counts as such.
    """
    if text.isprintable():
        return text
    first, *rest = text.splitlines() or [""]
    return "\n".join([first, *(INDENT + line for line in rest)])
