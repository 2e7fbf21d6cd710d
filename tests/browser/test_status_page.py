"""The status page in a real browser, over a real server."""

import asyncio
import contextlib
import io
import json
import xmlrpc.client
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from nio import UploadResponse
from supervisor.xmlrpc import SupervisorTransport

from tests.chromium import Page, chromium
from tests.harness import Server, wait_until
from tests.matrix import Clients, ok, unused
from tests.pages import forty_workers
from tests.raw_http import raw_request

TOKEN = "token-of-the-control-port"
HOSTILE = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>\u202e"\'`'
ROWS = "document.querySelectorAll('#processes tbody tr').length"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    given = {"SYNAPSE_ENABLE_METRICS": "yes", "CONTROL_TOKEN": TOKEN}
    with Server("client_reader, synchrotron:2", given) as found:
        found.start()
        asyncio.run(upload(found))
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        wait_until("the control application", lambda: (
            raw_request(found.control_port, "GET", "/status/now", bearer).status == 200
        ))  # fmt: skip
        yield found
        found.stop()


async def upload(server: Server) -> None:
    """Upload media of 3000 bytes."""
    async with Clients(server.base_url) as clients:
        user = await clients.register(unused("uploader"))
        answer, _ = await user.nio.upload(io.BytesIO(bytes(3000)), "application/octet-stream")
        ok(answer, UploadResponse)


def address(server: Server) -> str:
    return f"http://127.0.0.1:{server.control_port}/"


@contextlib.asynccontextmanager
async def shown(server: Server) -> AsyncIterator[Page]:
    """Open the page, wait for its first facts, and check at the end that nothing went wrong."""
    async with chromium(TOKEN) as tab:
        page: Page = await tab()
        await page.size(1200, 900)
        await page.open(address(server))
        await page.until(f"{ROWS} >= 7")
        yield page
        assert page.complaints == []
        own = f"http://127.0.0.1:{server.control_port}/"
        assert {url for url in page.requests if not url.startswith((own, "about:"))} == set()


async def now(page: Page) -> dict[str, Any]:
    """Return the facts that the page shows."""
    found: dict[str, Any] = json.loads(await page.run("JSON.stringify(state.now)"))
    return found


def supervisorctl(server: Server, verb: str, name: str) -> None:
    path = server.run / "supervisor.sock"
    transport = SupervisorTransport("", "", f"unix://{path}")
    with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as proxy:
        getattr(proxy.supervisor, verb)(name)


def test_it_shows_every_process_and_follows_without_loading_again(server: Server) -> None:
    async def look() -> None:
        async with shown(server) as page:
            names = await page.run(
                "[...document.querySelectorAll('#processes tbody th')].map(c => c.textContent)"
            )
            assert names == ["postgres", "redis", "main", "client_reader1", "synchrotron1",
                             "synchrotron2", "nginx", "control"]  # fmt: skip
            text = await page.run("document.getElementById('topology').textContent")
            for name in ("Clients", "nginx", "synchrotron2", "PostgreSQL"):
                assert name in text
            await page.until("document.querySelectorAll('#streams tbody tr').length > 5")
            await page.until("document.getElementById('sizes').textContent.includes('media')")
            media = (await now(page))["sizes"]["media"]
            assert media == {"local": 3000, "remote": 0, "new_local": 3000, "new_remote": 0}
            await page.run("window.same = true")
            supervisorctl(server, "stopProcess", "workers:synchrotron2")
            try:
                await page.until(
                    "document.getElementById('problems').textContent.includes('synchrotron2')"
                )
                assert "✓" not in await page.run("document.title")
                assert "good" not in await page.run("document.getElementById('verdict').className")
            finally:
                supervisorctl(server, "startProcess", "workers:synchrotron2")
            await page.until("document.getElementById('problems').hidden")
            await page.until(
                "document.querySelector('#events tbody').textContent.includes('synchrotron2')"
            )
            assert await page.run("window.same")

    asyncio.run(look())


def test_it_asks_nothing_while_nobody_sees_it(server: Server) -> None:
    async def look() -> None:
        async with shown(server) as page:
            await page.hide(wanted=True)
            await page.until("!state.busy")
            before = len(page.requests)
            # Longer than two of its turns.
            await asyncio.sleep(7)
            assert len(page.requests) == before
            await page.hide(wanted=False)
            await page.until("!document.hidden && Date.now() - state.answered < 2000")
            assert len(page.requests) > before

    asyncio.run(look())


def test_names_of_others_are_text(server: Server) -> None:
    async def look() -> None:
        async with shown(server) as page:
            found = await now(page)
            found["server"] = found["version"] = HOSTILE
            for item in found["processes"]:
                item |= {"name": HOSTILE + item["name"], "state": HOSTILE, "end": HOSTILE,
                         "roles": [HOSTILE]}  # fmt: skip
            found["groups"] = [{"name": HOSTILE, "members": [HOSTILE], "routes": [HOSTILE]}]
            found["destinations"] = {
                "number": 99,
                "items": [{"name": HOSTILE, "since": 1.0, "again": 1.0}],
            }
            found["updates"] = [{"name": HOSTILE, "done": 0.5, "rows": None}]
            found["events"] = [{"at": 1.0, "name": HOSTILE, "text": HOSTILE}]
            found["problems"] = {HOSTILE: HOSTILE}
            await page.pretend("/status/now", found)
            await page.until(
                "document.getElementById('destinations').textContent.includes('onerror')"
            )
            assert await page.run("document.querySelectorAll('img, main script').length") == 0
            assert await page.run("window.pwned") is None
            assert await page.run("document.querySelector('#updates progress').value") == 0.5

    asyncio.run(look())


def test_a_server_that_is_gone_is_said_and_so_is_its_return(server: Server) -> None:
    async def look() -> None:
        async with shown(server) as page:
            last = await now(page)
            await page.pretend("/status/now", [])
            await page.until("document.getElementById('verdict').textContent.includes('no answer')")
            assert await page.run("document.body.className") == "old"
            # The last facts stay.
            assert await page.run(ROWS) == 8
            await page.pretend("/status/now", last)
            await page.until("document.body.className === ''")

    asyncio.run(look())


def test_it_can_be_used_by_keyboard_and_screen_reader(server: Server) -> None:
    async def look() -> None:
        async with shown(server) as page:
            await page.press("Tab")
            focus = "document.activeElement.id || document.activeElement.className"
            assert await page.run(focus) == "skip"
            visited = []
            for _ in range(12):
                await page.press("Tab")
                visited.append(await page.run(focus))
            assert {"processes", "streams", "updates", "events"} <= set(visited)
            await page.size(500, 800)
            await page.run("document.getElementById('processes').focus()")
            for _ in range(3):
                await page.press("ArrowRight")
            await page.until("document.getElementById('processes').scrollLeft > 0")
            found = await page.accessible()
            names = {role: {name for own, name in found if own == role} for role, _ in found}
            headings = {
                "Topology",
                "Processes",
                "Streams",
                "Background updates",
                "Restarts and changes",
            }
            assert headings <= names["heading"]
            assert "table" in names
            assert {"restarts", "99th percentile"} <= names["columnheader"]
            assert "client_reader1" in names["rowheader"]
            assert any("All are ready" in name for name in names["image"] | names.get("img", set()))
            # Only the verdict is read out when it changes.
            live = "document.querySelectorAll('[aria-live], [role=status], [role=alert]').length"
            assert await page.run(live) == 1

    asyncio.run(look())


def test_a_row_keeps_its_place_when_numbers_change(server: Server) -> None:
    async def look() -> None:
        async with shown(server) as page:
            await page.run("window.row = document.querySelector('#processes tbody tr')")
            answered = await page.run("state.answered")
            await page.until(f"state.answered > {answered}")
            assert await page.run("window.row === document.querySelector('#processes tbody tr')")

    asyncio.run(look())


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_fits_a_phone(server: Server, dark: bool) -> None:  # noqa: FBT001
    async def look() -> None:
        async with shown(server) as page:
            await page.dark(wanted=dark)
            await page.size(360, 740, phone=True)
            await page.until("document.querySelector('#topology svg').viewBox.baseVal.width < 400")
            assert await page.run("document.documentElement.scrollWidth") <= 360
            ground = await page.run("getComputedStyle(document.body).backgroundColor")
            assert (ground == "rgb(255, 255, 255)") is not dark
            # The picture is not shrunk until its words cannot be read.
            picture = "document.querySelector('#topology svg')"
            scale = await page.run(f"{picture}.clientWidth / {picture}.viewBox.baseVal.width")
            assert scale > 0.95

    asyncio.run(look())


def test_forty_workers_fit(server: Server) -> None:
    async def look() -> None:
        async with shown(server) as page:
            await page.pretend("/status/now", forty_workers(await now(page)))
            await page.until(f"{ROWS} > 40")
            assert await page.run("document.documentElement.scrollWidth") <= 1200
            # No chip of the picture is wider than its pool.
            assert await page.run(
                "[...document.querySelectorAll('#topology svg rect.chip')].every("
                "chip => chip.getBBox().x + chip.getBBox().width <= 1200)"
            )

    asyncio.run(look())
