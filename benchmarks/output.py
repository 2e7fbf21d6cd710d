"""Where results go: the terminal, a file of values, a picture."""

import argparse

from benchmarks.plot import draw
from benchmarks.results import Result, as_text


def deliver(result: Result, options: argparse.Namespace) -> None:
    """Print a result, and write what the command line asks for."""
    print(as_text(result))
    if options.json is not None:
        options.json.write_text(result.as_json(), encoding="utf-8")
    if options.plot is not None:
        options.plot.write_text(draw(result), encoding="utf-8")
