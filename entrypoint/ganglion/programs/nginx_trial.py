"""nginx's own judgement of its rendered configuration, without opening a port.

Its regular expressions are not quite Python's, and it limits their size and that of a word. So
nginx reads the files before anything starts, from a directory that is removed afterwards.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

from ganglion.errors import Problem
from ganglion.files.write import write_directory
from ganglion.machine import children, temporary
from ganglion.programs import nginx, peers
from ganglion.programs.program import Plan
from ganglion.routing.table import ROUTES, Route
from ganglion.settings.variables import Settings

# In seconds. nginx takes some 20 ms.
WITHIN = 60.0
# sun_path of unix(7), less the longest path of a socket in the directory.
LONGEST_DIRECTORY = 107 - len("/control/control.sock")
# A worker's name can be long, and only its place in the real run directory is checked.
SOCKET = re.compile(r"unix:\S+/sockets/[^\s:;]+")
LISTEN = re.compile(r"^(\s*listen )\S+?( ssl| http2)*;$", re.MULTILINE)
ERROR = re.compile(
    r"\[(?:emerg|crit|alert)\] (?:\d+#\d+: )?(?P<reason>.*?)(?: in (?P<file>/\S+):(?P<line>\d+))?$"
)
# The variables whose values are in the files, and their fields.
VARIABLES = {
    "TRUSTED_PROXIES": "trusted_proxies",
    "GANGLION_ADMIN_NETWORKS": "admin_networks",
    "CONTROL_HOSTS": "control_hosts",
    "GANGLION_WELL_KNOWN_SERVER": "well_known_server",
}
FORMAT = "write a regular expression of PCRE that is shorter or simpler; see docs/routing.md"


def problems(plan: Plan, binary: str) -> Iterator[Problem]:
    """Yield each route that nginx refuses, and the first of its other errors.

    Nothing is yielded where nginx cannot be tried: where no temporary file can be written. Nor in a
    container without nginx.
    """
    if not plan.settings.runs_nginx:
        return
    try:
        while (refused := _refusal(plan, binary)) is not None:
            problem, route = refused
            yield problem
            if route is None:
                return
            # nginx stops at its first error.
            left = tuple(item for item in plan.routes.routes if item is not route)
            plan = replace(plan, routes=replace(plan.routes, routes=left))
    except OSError:
        return


def _refusal(plan: Plan, binary: str) -> tuple[Problem, Route | None] | None:
    """Return the first error of nginx, with the route that it is about."""
    with temporary.directory("nginx") as place:
        return None if len(str(place)) > LONGEST_DIRECTORY else _judged(plan, binary, place)


def _judged(plan: Plan, binary: str, place: Path) -> tuple[Problem, Route | None] | None:
    """Write the files as they would be in a run directory `place`, and let nginx read them.

    The certificate is checked elsewhere; at this point it may not exist yet.
    """
    settings = replace(plan.settings, run=str(place), tls_cert=None, tls_key=None)
    # The files stay ours: without CAP_CHOWN, root could not give them to nginx's own default.
    own = ((nginx.NAME, "root"),) if os.geteuid() == 0 else ()
    machine = replace(plan.machine, accounts=own)
    files = nginx.SERVICE.files(replace(plan, settings=settings, machine=machine))
    write_directory(
        place / "conf",
        [replace(file, content=_without_ports(file.content, place)) for file in files],
        {},
    )
    (place / "nginx").mkdir()
    if settings.partial:
        # As if no host had an address: they need not be up for a check.
        text = next(file.content for file in files if file.path == peers.CONF)
        nobody = dict.fromkeys(peers.hosts(text), ())
        (place / peers.CONF).write_text(peers.adapted(text, nobody), encoding="utf-8")
    done = children.run(
        [binary, "-t", "-q", "-e", "stderr", "-c", str(place / "conf" / nginx.CONF)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=WITHIN,
    )
    if done.returncode == 0:
        return None
    return _problem(plan, done.stderr.decode("utf-8", "replace"), place)


def _without_ports(text: str, place: Path) -> str:
    """Replace ports by sockets: nginx opens them, and others may use the ports."""
    numbers = count()
    text = SOCKET.sub(f"unix:{place}/worker.sock", text)
    return LISTEN.sub(lambda found: f"{found[1]}unix:{place}/{next(numbers)}.sock;", text)


def _problem(plan: Plan, said: str, place: Path) -> tuple[Problem, Route | None]:
    """Name the route or the variable that an error of nginx is about."""
    found = next(filter(None, map(ERROR.search, said.splitlines())), None)
    reason = said.strip() if found is None else found["reason"]
    line = _line(found["file"], int(found["line"])) if found and found["file"] else ""
    reason = reason.replace(str(place), plan.settings.run)
    own = [route for route in plan.routes.routes if route not in ROUTES]
    route = next((route for route in own if line.rstrip(";").endswith(f'"{route.name}"')), None)
    if route is not None:
        problem = Problem(
            variable=plan.settings.routes_file or plan.settings.paths.routes_yaml,
            value=route.name,
            message=f"has a path that nginx refuses: {reason}",
            hint=FORMAT,
        )
    else:
        problem = Problem(
            variable=_variable(plan.settings, line) or "nginx",
            value=None,
            message=f"makes a configuration that nginx refuses: {reason}",
            hint="correct the value that is named in it; if none is yours, report a bug",
        )
    return problem, route


def _line(path: str, number: int) -> str:
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return lines[number - 1].strip() if number <= len(lines) else ""


def _variable(settings: Settings, line: str) -> str | None:
    for variable, field in VARIABLES.items():
        value = getattr(settings, field) or ()
        for text in (value,) if isinstance(value, str) else value:
            if text in line:
                return variable
    return None
