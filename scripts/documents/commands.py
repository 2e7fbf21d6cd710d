"""The page of verbs, and the short table of them, from the verbs themselves."""

from argparse import ArgumentParser
from collections.abc import Iterator

from ganglion.cli.main import parser_of
from ganglion.cli.verb import VERBS, load
from scripts.documents.markdown import table

PAGE = """\
<!-- Made by scripts/docs from entrypoint/ganglion/cli/; changes here are lost. -->

# Commands

In a container, type `docker exec NAME ganglion VERB`. In a checkout, type
`scripts/ganglion VERB`. A verb reads the same [variables](variables.md) as the server, so run it
where they are set. `ganglion VERB --help` prints the manual of a verb.

{verbs}

Results go to standard output; notes and errors go to standard error. With `--json`, these verbs
print one JSON document: {json}.

The exit status is 0 for success and 2 for bad input, with all problems and a fix for each. It is 1
if the verb failed for another reason.

{manuals}
"""


def verb_table() -> str:
    """Every verb with the first line of its manual."""
    rows = [(f"`ganglion {verb.name}`", verb.help) for verb in map(load, VERBS)]
    return table(("verb", "purpose"), rows)


def commands_page() -> str:
    """docs/commands.md."""
    verbs = [load(name) for name in VERBS]
    with_json = [f"`{verb.name}`" for verb in verbs if "[--json]" in _usages(parser_of(verb))]
    return PAGE.format(
        verbs=verb_table(),
        json=", ".join(with_json),
        manuals="\n\n".join(part for verb in verbs for part in _manual(verb.name, parser_of(verb))),
    )


def _manual(name: str, parser: ArgumentParser, level: str = "##") -> Iterator[str]:
    """Yield the paragraphs about a verb, and those about each control below `test`."""
    yield f"{level} {name}"
    yield f"    {_usage(parser)}"
    yield parser.description or ""
    if options := _options(parser):
        yield table(("option", "meaning"), options)
    for sub_name, sub_parser in _sub_parsers(parser):
        yield from _manual(f"{name} {sub_name}", sub_parser, f"{level}#")


def _usage(parser: ArgumentParser) -> str:
    """One line, however wide the terminal is."""
    words = parser.format_usage().removeprefix("usage: ").split()
    return " ".join(words).replace(" [-h]", "")


def _usages(parser: ArgumentParser) -> str:
    """The usage of a verb and of all controls below it."""
    return "\n".join(map(_usage, (parser, *(found for _, found in _sub_parsers(parser)))))


def _options(parser: ArgumentParser) -> list[tuple[str, str]]:
    rows = []
    for action in parser._actions:  # noqa: SLF001 - argparse has no public list of them
        if action.dest == "help" or not action.help:
            continue
        metavar = action.metavar or "|".join(action.choices or ()) or action.dest.upper()
        metavar = metavar if isinstance(metavar, str) else " ".join(metavar)
        name = ", ".join(action.option_strings)
        if action.nargs != 0:
            name = f"{name} {metavar}".strip()
        rows.append((f"`{name}`", action.help % {"default": action.default}))
    return rows


def _sub_parsers(parser: ArgumentParser) -> Iterator[tuple[str, ArgumentParser]]:
    for action in parser._actions:  # noqa: SLF001 - argparse has no public list of them
        if isinstance(action.choices, dict):
            yield from action.choices.items()
