"""Find the verb, parse its options, run it, report its errors."""

import errno
import os
import signal
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import MutableMapping, Sequence
from difflib import get_close_matches
from typing import NoReturn

from ganglion.cli.output import columns
from ganglion.cli.verb import VERBS, Verb, add_json, load
from ganglion.errors import ConfigError, Problem
from ganglion.machine import capabilities

# The exit status of argparse, bash and docker for bad input. 1 is for a verb that failed.
BAD_INPUT = 2
# The disk, or the account's part of it, is full or fails.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)


def main(arguments: Sequence[str], environ: MutableMapping[str, str]) -> int:
    """Run one verb. Returns the exit status.

    `arguments` are those after the program's name. `environ` is the environment to read; `run`
    removes secrets from it. Raises SystemExit after --help and for bad options.
    """
    if sys.stdout is None:
        # It was closed before this program began, as by `>&-`.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - until the end
    try:
        try:
            return _dispatch(arguments, environ)
        finally:
            sys.stdout.flush()
    except ConfigError as error:
        return _report(error)
    except BrokenPipeError:
        # The reader closed the pipe, as in `ganglion check | head`.
        _discard_stdout()
        return 0
    except OSError as error:
        if error.errno in FULL and _stdout_fails():
            _discard_stdout()
            error.filename = "standard output"
        if (problems := _refused(error)) is None:
            raise
        return _report(ConfigError(problems))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _stdout_fails() -> bool:
    """Return whether it is standard output that cannot be written. The error has no file's name."""
    try:
        print(flush=True)
    except OSError:
        return True
    return False


def _discard_stdout() -> None:
    """Give standard output a place where Python's last flush of it, at exit, works."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(error: ConfigError) -> int:
    number = len(error.problems)
    print(f"ganglion: {number} problem{'s' if number > 1 else ''}\n{error}", file=sys.stderr)
    return BAD_INPUT


def _refused(error: OSError) -> list[Problem] | None:
    """Describe a file that cannot be used or written. None for another error, which is a bug."""
    if error.errno in FULL and error.filename is not None:
        hint = "make room on its disk, or name a directory on another one"
        message = f"cannot be written: {error.strerror}"
        return [Problem(variable=str(error.filename), value=None, message=message, hint=hint)]
    if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
        return None
    account = os.geteuid()
    lacking = list(capabilities.lacking(root=account == 0))
    if error.filename is None:
        return lacking or None
    refusal = Problem(
        variable=str(error.filename),
        value=None,
        message=f"cannot be used by UID {account}: {error.strerror}",
        hint=f"change its owner or mode; in a container, mount a volume that UID {account} may use",
    )
    return [refusal, *lacking]


def _dispatch(arguments: Sequence[str], environ: MutableMapping[str, str]) -> int:
    if not arguments:
        print(f"ganglion: no verb given\n\n{overview()}", file=sys.stderr)
        return BAD_INPUT
    name, *rest = arguments
    if name in ("-h", "--help", "help"):
        if rest and not rest[0].startswith("-"):
            return _dispatch((rest[0], "--help"), environ)
        print(overview())
        return 0
    if name in ("-V", "--version"):
        name = "version"
    if name not in VERBS:
        print(f"ganglion: {_unknown(name, rest)}", file=sys.stderr)
        return BAD_INPUT
    verb = load(name)
    parser = parser_of(verb)
    options, unknown = parser.parse_known_args(rest)
    if unknown and verb.reject is not None:
        raise ConfigError([verb.reject(unknown)])
    if unknown:
        parser.error(f"unknown argument {unknown[0]!r}")
    return verb.run(options, environ)


class Parser(ArgumentParser):
    """argparse's parser, with errors that end with a command to type."""

    def error(self, message: str) -> NoReturn:
        """Print the error, the usage and the command for help, and exit."""
        usage = self.format_usage()
        self.exit(BAD_INPUT, f"{self.prog}: {message}\n{usage}    fix: type `{self.prog} --help`\n")


def parser_of(verb: Verb) -> ArgumentParser:
    """Make the parser of a verb."""
    parser = Parser(
        prog=f"ganglion {verb.name}",
        description=verb.text,
        formatter_class=RawDescriptionHelpFormatter,
    )
    if verb.json:
        add_json(parser)
    verb.options(parser)
    return parser


def overview() -> str:
    """Describe the program and list its verbs."""
    verbs = [load(name) for name in VERBS]
    table = columns(("verbs:", ""), [(f"  {verb.name}", verb.help) for verb in verbs])
    return f"""\
usage: ganglion VERB [OPTION...]

One Synapse homeserver, split into workers by one variable.

{table}

Type `ganglion VERB --help` for the manual of a verb. Variables configure the server:
docs/variables.md lists them."""


def _unknown(name: str, rest: Sequence[str]) -> str:
    if name.startswith("-"):
        verb = next((word for word in rest if word in VERBS), "VERB")
        return f"unknown option {name!r} before the verb\n    fix: type `ganglion {verb} {name}`"
    near = get_close_matches(name, VERBS, n=1)
    fix = f"type `ganglion {near[0]}`, or " if near else "type "
    return f"unknown verb {name!r}\n    fix: {fix}`ganglion --help` for all verbs"
