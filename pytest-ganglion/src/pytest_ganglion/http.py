"""JSON over HTTP, with the standard library alone."""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from pytest_ganglion.errors import Refused, Unreachable

# In seconds. Longer than a test's long poll, and than a slowed worker.
TIMEOUT = 60.0
# The server is on this machine: http_proxy does not apply.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def call(
    method: str,
    url: str,
    body: Any = None,  # noqa: ANN401 - JSON
    *,
    headers: Mapping[str, str] | None = None,
    expect: int = 200,
    timeout: float = TIMEOUT,
) -> Any:  # noqa: ANN401 - JSON
    """Send `body` as JSON, if any, and return the response's JSON, or its text if it is not JSON.

    Raises Refused if the status is not `expect`, Unreachable if there is no response.
    """
    request = urllib.request.Request(url, method=method, headers=dict(headers or {}))  # noqa: S310 - our own
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    try:
        status, raw = _send(request, timeout)
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"{method} {url}: {error}") from None
    answer = _parsed(raw)
    if status != expect:
        raise Refused(method, url, status, answer)
    return answer


def _send(request: urllib.request.Request, timeout: float) -> tuple[int, bytes]:
    try:
        with DIRECT.open(request, timeout=timeout) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def _parsed(raw: bytes) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode(errors="replace")
