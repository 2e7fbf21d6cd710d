"""Write the server as files of another system.

TARGET is one of the list below. For containers, splits WORKERS into nginx,
main, a unit for each process that must run once and a unit for each pool of
readers, and writes PATH: a new file or directory, or one that an earlier export
wrote and nobody has changed. The configuration of every container is checked
first, as `check` does, and nothing is written unless all of it works. No secret
is written: a target refers to them by their names. Without POSTGRES_HOST or
REDIS_HOST, the target runs these servers too. GANGLION_MEMORY is the memory of
all containers together.

systemd and synctl are for one machine without containers, and run plain Synapse
and nginx from its packages. Their secrets are in files of mode 0600, and stay
the same: they come from variables, from an earlier export in PATH, or from
GANGLION_DATA, and are generated otherwise. README.md in PATH says how to start.

Reads the variables and the operator's files.
"""

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ganglion import __version__
from ganglion.cli.output import columns, print_notes
from ganglion.cli.render import written
from ganglion.cli.verb import Verb
from ganglion.errors import ConfigError, Problem
from ganglion.export.deployment import deployment
from ganglion.export.kept import secrets_in
from ganglion.export.machine_targets import MACHINE_BY_NAME, MACHINE_TARGETS, MachineTarget
from ganglion.export.place import Place, placed
from ganglion.export.targets import BY_NAME, TARGETS
from ganglion.export.written import write
from ganglion.plan import assemble

PLAIN = re.compile(r"/[A-Za-z0-9._+/-]*[A-Za-z0-9._+-]", re.ASCII)
# The options that only targets of one machine have, with their defaults.
PLACES = {
    "python": ("/opt/venvs/matrix-synapse/bin/python", "the interpreter that has Synapse"),
    "nginx": ("/usr/sbin/nginx", "nginx's program"),
    "data": ("/var/lib/ganglion", "the directory of data"),
    "run": ("/run/ganglion", "the directory of sockets"),
}


def options(parser: ArgumentParser) -> None:
    rows = [(f"  {target.name}", target.help) for target in TARGETS]
    rows += [(f"  {target.name}", target.help) for target in MACHINE_TARGETS]
    parser.epilog = columns(("targets:", ""), rows)
    names = (*BY_NAME, *MACHINE_BY_NAME)
    parser.add_argument("target", metavar="TARGET", choices=names, help="see below")
    parser.add_argument("path", metavar="PATH", type=Path, help="the file or directory to write")
    for name, (default, meaning) in PLACES.items():
        text = f"systemd and synctl: {meaning} there (default: {default})"
        parser.add_argument(f"--{name}", metavar="PATH", help=text)


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    if options.target in MACHINE_BY_NAME:
        return _for_machine(MACHINE_BY_NAME[options.target], options, environ)
    _refuse_places(options)
    target = BY_NAME[options.target]
    found = deployment(environ, assemble, ranges=target.ranges, version=_version())
    files = target.render(found, options.path.name)
    problem = write(options.path, files, directory=target.directory)
    if problem is not None:
        raise ConfigError(
            [
                Problem(
                    variable="PATH",
                    value=str(options.path),
                    message=problem,
                    hint="name a new file or directory, or move that one away",
                )
            ]
        )
    units, containers = len(found.units), sum(unit.at_start for unit in found.units)
    print(f"wrote {options.path}: {units} units, {containers} containers")
    print_notes(found.plan.topology.notes)
    return 0


def _version() -> str:
    """Return the versions of this image, which the containers run."""
    try:
        return f"{__version__} with Synapse {version('matrix-synapse')}"
    except PackageNotFoundError:
        # Exports can be made where Synapse is not installed.
        return __version__


def _for_machine(target: MachineTarget, options: Namespace, environ: Mapping[str, str]) -> int:
    """Write an export for one machine, with its secrets."""
    place = _place(target, options)
    plan = assemble(environ)
    earlier = Path(place.etc)
    if target.etc:
        earlier = _absolute(options.path) / target.etc.lstrip("/")
    secrets = secrets_in(earlier / "secrets", plan.settings, plan.operator)
    files = target.render(placed(plan, place, secrets), place)
    written(options.path, files, "PATH")
    print(f"wrote {len(files)} files to {options.path}; see {options.path / 'README.md'}")
    print_notes(plan.topology.notes)
    return 0


def _place(target: MachineTarget, options: Namespace) -> Place:
    """Return the paths on the machine.

    Raises ConfigError for one that a unit, nginx.conf or tmpfiles.d would not keep whole.
    """
    found = {"etc": target.etc or str(_absolute(options.path))}
    for name, (default, _) in PLACES.items():
        given: str | None = getattr(options, name)
        found[name] = default if given is None else given
    problems = [
        Problem(
            variable="PATH" if name == "etc" else f"--{name}",
            value=path,
            message="is not an absolute path of letters, digits and . _ + - /",
            hint="name a path like /srv/matrix",
        )
        for name, path in found.items()
        if not PLAIN.fullmatch(path)
    ]
    if problems:
        raise ConfigError(problems)
    return Place(**found)


def _refuse_places(options: Namespace) -> None:
    problems = [
        Problem(
            variable=f"--{name}",
            value=given,
            message=f"has no meaning for {options.target}",
            hint=f"leave it out; it is for {' and '.join(MACHINE_BY_NAME)}",
        )
        for name in PLACES
        if (given := getattr(options, name)) is not None
    ]
    if problems:
        raise ConfigError(problems)


def _absolute(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        problem = Problem(
            variable="PATH",
            value=str(path),
            message=f"cannot be written: {error}",
            hint="name a new or empty directory",
        )
        raise ConfigError([problem]) from error


VERB = Verb(name="export", manual=__doc__, run=run, options=options)
