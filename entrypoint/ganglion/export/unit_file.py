"""The syntax of systemd's unit files: systemd.syntax(7)."""

from collections.abc import Sequence

# The settings of one section. A name may occur more than once.
Section = Sequence[tuple[str, str]]


def unit(comment: str, **sections: Section) -> str:
    """Return the text of a unit with its sections in order."""
    lines = [f"# {comment}"]
    for name, settings in sections.items():
        lines += ["", f"[{name}]", *(f"{key}={value}" for key, value in settings)]
    return "\n".join(lines) + "\n"


def command(*words: str) -> str:
    """Return a command line, with every word quoted that needs it."""
    return " ".join(quoted(word) for word in words)


def quoted(word: str) -> str:
    """Return a word in which neither a specifier, a variable nor an escape is expanded."""
    escaped = word.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$").replace('"', '\\"')
    plain = escaped == word and word and not set(word) & set(" \t';")
    return word if plain else f'"{escaped}"'


def assignment(name: str, value: str) -> str:
    """Return a value of Environment=, which expands specifiers but no variables."""
    escaped = value.replace("\\", "\\\\").replace("%", "%%").replace('"', '\\"')
    return f'"{name}={escaped}"'
