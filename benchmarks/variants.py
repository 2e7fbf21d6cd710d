"""The things to compare: layouts, changes of variables, and Synapse's own image."""

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

LAYOUT = "complement"
FRESH = "GANGLION_PREFORK=no"
ALONE = "none"
PEER = "Synapse's own image"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One thing to measure: its label, and the server's variables.

    `peer` is the name of an image of Synapse's own, where that is to run the roles of WORKERS.
    """

    label: str
    variables: dict[str, str] = field(default_factory=dict)
    peer: str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options by which a command line names variants, which `chosen` reads."""
    add_changes(parser, layout=LAYOUT)
    parser.add_argument(
        "--workers",
        action="append",
        metavar="WORKERS",
        help=f"a layout; may be repeated, the first is what others are compared with ({LAYOUT})",
    )


def add_changes(parser: argparse.ArgumentParser, *, layout: str) -> None:
    """The same for a benchmark that has a layout of its own."""
    parser.set_defaults(layout=layout, workers=None)
    parser.add_argument(
        "--with",
        action="append",
        type=change,
        dest="changes",
        metavar="'NAME=VALUE …'",
        help="compare with the first layout changed so; may be repeated",
    )
    parser.add_argument(
        "--only",
        action="store_true",
        help="compare with nothing that is not named; otherwise, where neither --with nor a second "
        f"layout nor a peer is given, with {FRESH} and WORKERS={ALONE}",
    )


def change(text: str) -> str:
    """Return the text of --with if it can be read; otherwise an error for the command line."""
    try:
        assignments(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def chosen(options: argparse.Namespace, *, alone: bool = True) -> tuple[Variant, ...]:
    """The variants of a command line. The first is what the others are compared with."""
    layouts: Sequence[str] = options.workers or [options.layout]
    changes: Sequence[str] = options.changes or []
    if len(layouts) == 1 and not changes and not options.only and not options.peer:
        changes = [FRESH]
        if alone and layouts[0] != ALONE:
            layouts = [*layouts, ALONE]
    first, *others = (Variant(label=text, variables={"WORKERS": text}) for text in layouts)
    changed = (
        Variant(label=change, variables=first.variables | assignments(change)) for change in changes
    )
    peers = [replace(first, label=PEER, peer=options.peer)] if options.peer else []
    return (first, *changed, *others, *peers)


def assignments(text: str) -> dict[str, str]:
    """`NAME=VALUE NAME=VALUE`, quoted as in a shell. Raises ValueError for anything else."""
    found = {}
    for word in shlex.split(text):
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise ValueError(f"{word} is not NAME=VALUE")
        found[name] = value
    return found


def add_counts(
    parser: argparse.ArgumentParser,
    default: tuple[int, ...],
    what: str = "with how many client_readers",
) -> None:
    """Add the option for a list of numbers, of workers unless `what` says otherwise."""
    text = ",".join(map(str, default))
    parser.add_argument(
        "--counts",
        type=lambda given: tuple(int(count) for count in given.split(",")),
        default=default,
        metavar="N,N,…",
        help=f"{what} ({text})",
    )


def grown(variant: Variant, count: int) -> Variant:
    """The same with another number of idle workers for its layout; none for 0."""
    workers = f"client_reader:{count}" if count else ALONE
    return replace(variant, variables=variant.variables | {"WORKERS": workers})


def turns(variants: Sequence[Variant], rounds: int) -> list[Variant]:
    """Every variant once a round, every second round the other way about: what drifts, such as
    the machine's temperature or a neighbour's load, then meets all of them alike.
    """
    order = list(variants)
    return [
        each for number in range(rounds) for each in (order if number % 2 == 0 else order[::-1])
    ]
