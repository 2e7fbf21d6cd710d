"""Which of Synapse's faults are mended."""

from ganglion.settings.fix_names import ALL, FIXES, NONE
from ganglion.settings.parsers import Invalid


def fixes(text: str) -> tuple[str, ...]:
    """Return the chosen fixes: `all`, `none`, names, or all but those that follow a `-`.

    Raises Invalid for an unknown name and for a list that has names both with and without `-`.
    """
    words = text.replace(",", " ").split()
    if words in (["all"], [NONE]):
        return ALL if words == ["all"] else ()
    names = [word for word in words if word != "all"]
    unknown = [name for name in names if name.removeprefix("-") not in FIXES]
    if unknown:
        raise Invalid(
            f"has {unknown[0]!r}, which is no fix",
            f"write all, none, or names out of {', '.join(ALL)}, each with - before it to leave"
            " it out",
        )
    left_out = {name[1:] for name in names if name.startswith("-")}
    if left_out and len(left_out) < len(set(names)):
        raise Invalid(
            "has names both with and without -",
            "write either the fixes to apply, or those to leave out with - before each",
        )
    if left_out:
        return tuple(name for name in ALL if name not in left_out)
    return tuple(name for name in ALL if name in names)


def as_text(chosen: tuple[str, ...]) -> str:
    """Return the choice as the environment of Synapse's processes has it: names and commas."""
    return ",".join(chosen) or NONE
