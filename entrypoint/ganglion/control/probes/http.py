"""The health of a process at its own listener, and of each pool through nginx."""

import http.client
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ganglion.control.client import request
from ganglion.control.probes.together import together
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Address

# nginx.conf has one location for each pool, which passes /health on to it.
POOL = re.compile(r"^ *location = (/\.ganglion/health/(\S+)) \{$", re.MULTILINE)


def health(address: Address, timeout: float) -> str | None:
    """Ask a Synapse process at its own listener."""
    try:
        status, _ = request(address, "GET", "/health", timeout=timeout)
    except (OSError, http.client.HTTPException) as error:
        return f"does not answer at {address}: {error}"
    return None if status == 200 else f"answers {status} at {address}"


def listens(path: str, timeout: float) -> str | None:
    """Ask the control application. Any response shows that it listens."""
    try:
        request(Address(path=path), "GET", "/live", timeout=timeout)
    except (OSError, http.client.HTTPException) as error:
        return f"does not answer at {path}: {error}"
    return None


def router(settings: Settings, timeout: float) -> str | None:
    """Ask main through nginx, the whole path of a request, and each pool at the same time."""
    host, port = settings.reachable_at, settings.http_port
    pools = pools_of(_nginx_conf(settings))
    paths = ["/health", *(path for _, path in pools)]
    status, *answers = together(lambda path: _get(host, port, path, timeout), paths)
    if isinstance(status, str):
        return f"does not answer at port {port}: {status}"
    if status != 200:
        return f"answers {status} at port {port}"
    failed = list(_failed([name for name, _ in pools], answers))
    return f"does not reach {', '.join(failed)}" if failed else None


def pools_of(nginx_conf: str) -> tuple[tuple[str, str], ...]:
    """Return the name of each pool in nginx.conf, and the path that asks it."""
    found = dict.fromkeys(POOL.findall(nginx_conf))
    return tuple((name, path) for path, name in found)


def _failed(names: Sequence[str], answers: Sequence[int | str]) -> Iterator[str]:
    for name, answer in zip(names, answers, strict=True):
        if answer != 200:
            yield f"{name} ({answer})"


def _nginx_conf(settings: Settings) -> str:
    try:
        return Path(settings.paths.conf_file("nginx.conf")).read_text(encoding="utf-8")
    except OSError:
        return ""


def _get(host: str, port: int, path: str, timeout: float) -> int | str:
    """Return the status of a response, or why there is none."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
