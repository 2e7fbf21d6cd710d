"""The record of a verb, and the list of all verbs."""

import importlib
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from inspect import cleandoc
from keyword import iskeyword

from ganglion.errors import Problem

# In the order of the help. The verb register-user is the module register_user in this package.
# Only the module of the verb in use is imported, so that `run` starts fast.
VERBS = (
    "check",
    "explain",
    "budget",
    "routes",
    "render",
    "run",
    "generate",
    "migrate_config",
    "migrate",
    "import",
    "export",
    "ready",
    "status",
    "logs",
    "doctor",
    "restart",
    "plan",
    "apply",
    "backup",
    "restore",
    "register-user",
    "install-module",
    "test",
    "version",
)


def no_options(_parser: ArgumentParser) -> None:
    """Add nothing, for verbs without options of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One verb of the command line.

    `manual` is the docstring of its module; `ganglion VERB --help` prints it. `run` gets the parsed
    options and the environment, prints the result and returns the exit status; it may raise
    ConfigError. `options` adds options to the verb's parser. A verb with `json` has --json as well.
    `reject` describes arguments that the verb does not know, if argparse's message does not help.
    """

    name: str
    manual: str | None
    run: Callable[[Namespace, MutableMapping[str, str]], int]
    options: Callable[[ArgumentParser], None] = no_options
    json: bool = False
    reject: Callable[[Sequence[str]], Problem] | None = None

    @property
    def help(self) -> str:
        """The first line of the manual, without its full stop."""
        return self.text.partition("\n")[0].removesuffix(".")

    @property
    def text(self) -> str:
        """The manual without the indentation of the source."""
        return cleandoc(self.manual or "")


def load(name: str) -> Verb:
    """Import the module of a verb. Raises ModuleNotFoundError if `name` is not in VERBS."""
    word = name.replace("-", "_")
    # `import` is a word of Python, so its module is import_.
    module = importlib.import_module(f"ganglion.cli.{word}{'_' if iskeyword(word) else ''}")
    verb: Verb = module.VERB
    return verb


def add_json(parser: ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
