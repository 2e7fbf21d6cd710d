"""Take the screenshots of the status page in docs/, with a real server and a real browser.

From the root of the checkout, after scripts/setup --test, with Debian's package chromium:

    PYTHONPATH=. .venv/bin/python scripts/documents/screenshots.py

The picture with forty workers shows invented facts: tests/pages.py. The others are of a server that
this program starts and sends requests to.
"""

import asyncio
import io
import json
import threading
import urllib.error
import urllib.request
import xmlrpc.client
from pathlib import Path
from typing import Any

from PIL import Image
from supervisor.xmlrpc import SupervisorTransport

from tests.chromium import Page, chromium
from tests.harness import Server
from tests.pages import forty_workers

DOCS = Path(__file__).resolve().parents[2] / "docs"
# In bytes: pictures that are looked at once must not weigh on each clone.
MOST = 150_000
# In pixels: a longer picture is cut off at its end.
AREA = 3_800_000
REQUESTS = (
    ("/_matrix/client/versions", 0.1),
    ("/_matrix/client/v3/login", 0.15),
    ("/_matrix/client/v3/sync", 0.3),
    ("/_matrix/client/v3/publicRooms", 0.2),
    ("/_matrix/key/v2/server", 0.4),
)
# In seconds: until the charts have some points.
LONG_ENOUGH = 200.0


def main() -> None:
    """Start a server, and take all pictures."""
    given = {"SYNAPSE_ENABLE_METRICS": "yes", "SYNAPSE_SERVER_NAME": "example.org"}
    with Server("medium", given) as server:
        server.start()
        end = threading.Event()
        clients = [
            threading.Thread(target=_use, args=(server, path, pause, end))
            for path, pause in REQUESTS
        ]
        for client in clients:
            client.start()
        try:
            asyncio.run(_take(server))
        finally:
            end.set()
            for client in clients:
                client.join()


def _use(server: Server, path: str, pause: float, end: threading.Event) -> None:
    while not end.wait(pause):
        try:
            with urllib.request.urlopen(server.base_url + path, timeout=10) as answer:  # noqa: S310
                answer.read()
        except (urllib.error.URLError, OSError):
            continue


async def _take(server: Server) -> None:
    async with chromium() as tab:
        page: Page = await tab()
        await page.size(1100, 900)
        await page.open(f"http://127.0.0.1:{server.control_port}/status")
        await page.until("state.now && state.now.streams.length > 5")
        await asyncio.sleep(LONG_ENOUGH)
        await _fresh(page)
        await _keep(page, "status-healthy")
        await page.dark(wanted=True)
        await _keep(page, "status-dark")
        await page.dark(wanted=False)
        await page.size(390, 844, phone=True)
        await _fresh(page)
        await _keep(page, "status-phone")
        await page.size(1100, 900, phone=False)
        found: dict[str, Any] = json.loads(await page.run("JSON.stringify(state.now)"))
        await page.pretend("/status/now", forty_workers(found))
        await page.until("document.querySelectorAll('#processes tbody tr').length > 40")
        await _keep(page, "status-forty-workers")
        page = await tab()
        await page.size(1100, 900)
        _supervisor(server, "stopProcess", "workers:sync1")
        await page.open(f"http://127.0.0.1:{server.control_port}/status")
        await page.until("document.getElementById('verdict').textContent.includes('degraded')")
        await _fresh(page)
        await _keep(page, "status-dead-worker")


async def _fresh(page: Page) -> None:
    answered = await page.run("state.answered")
    await page.until(f"state.answered > {answered}")


async def _keep(page: Page, name: str) -> None:
    picture = Image.open(io.BytesIO(await page.picture())).convert("RGB")
    picture = picture.crop((0, 0, picture.width, min(picture.height, AREA // picture.width)))
    path = DOCS / f"{name}.png"
    # The first method keeps the colours of small things, such as a border; the second is smaller.
    methods = (Image.Quantize.MAXCOVERAGE, 128), (Image.Quantize.MEDIANCUT, 64)
    for method, colours in methods:
        dither = Image.Dither.NONE
        picture.quantize(colours, method=method, dither=dither).save(path, optimize=True)
        if path.stat().st_size < MOST:
            break
    print(f"{path.name}: {picture.size}, {path.stat().st_size} bytes")


def _supervisor(server: Server, verb: str, name: str) -> None:
    transport = SupervisorTransport("", "", f"unix://{server.run / 'supervisor.sock'}")
    with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as proxy:
        getattr(proxy.supervisor, verb)(name)


if __name__ == "__main__":
    main()
