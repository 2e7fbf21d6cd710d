"""Debian's Chromium without a window, driven by its own protocol.

https://chromedevtools.github.io/devtools-protocol/
"""

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Self

import aiohttp

from tests.harness import WITHIN, wait_until

Json = dict[str, Any]
# A page gets no more than this from a server that hangs, in seconds.
ANSWER_WITHIN = 60.0
# In seconds: until the page is drawn anew.
PAINTED = 0.5


class Page:
    """One tab. `requests` are the URLs that it asked for, `complaints` what its console says."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Json]] = {}
        self._reader = asyncio.create_task(self._read())
        self._answers: dict[str, bytes] = {}
        self._size = 800, 600
        self._is_phone = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self.requests: list[str] = []
        self.complaints: list[str] = []

    async def begin(self) -> Self:
        """Have the browser tell of requests and errors."""
        for domain in ("Page", "Runtime", "Network", "Log"):
            await self.call(f"{domain}.enable")
        return self

    async def close(self) -> None:
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader

    async def call(self, method: str, **parameters: Any) -> Json:
        """Call a method of the protocol, and return its result."""
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        answer = await asyncio.wait_for(self._waiting[number], ANSWER_WITHIN)
        del self._waiting[number]
        assert "error" not in answer, f"{method}: {answer['error']}"
        return dict(answer.get("result", {}))

    async def _read(self) -> None:
        async for message in self._socket:
            found = json.loads(message.data)
            waiting = self._waiting.get(found.get("id", 0))
            if waiting is not None and not waiting.done():
                waiting.set_result(found)
            elif "method" in found:
                self._note(found["method"], found["params"])

    def _note(self, method: str, given: Json) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(given["request"]["url"])
        elif method == "Log.entryAdded":
            self.complaints.append(f"{given['entry']['text']} {given['entry'].get('url', '')}")
        elif method == "Runtime.exceptionThrown":
            details = given["exceptionDetails"]
            self.complaints.append(details.get("exception", details).get("description", "error"))
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(str(given["args"]))
        elif method == "Fetch.requestPaused":
            task = asyncio.create_task(self._fulfil(given))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _fulfil(self, given: Json) -> None:
        path = given["request"]["url"].partition("://")[2].partition("/")[2]
        body = self._answers.get(f"/{path}")
        if body is None:
            await self.call("Fetch.continueRequest", requestId=given["requestId"])
            return
        headers = [{"name": "Content-Type", "value": "application/json"}]
        await self.call(
            "Fetch.fulfillRequest",
            requestId=given["requestId"],
            responseCode=200,
            responseHeaders=headers,
            body=base64.b64encode(body).decode(),
        )

    async def pretend(self, path: str, answer: Any) -> None:
        """Give the page this answer, as JSON, in place of the server's."""
        self._answers[path] = json.dumps(answer).encode()
        await self.call("Fetch.enable", patterns=[{"urlPattern": f"*{p}"} for p in self._answers])

    async def open(self, url: str) -> None:
        await self.call("Page.navigate", url=url)

    async def run(self, script: str) -> Any:
        """Return the value of an expression of JavaScript."""
        found = await self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    async def until(self, script: str, within: float = WITHIN) -> Any:
        """Wait until an expression is true, and return its value."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        while True:
            with contextlib.suppress(AssertionError):
                if found := await self.run(script):
                    return found
            assert loop.time() < deadline, f"not in {within} s: {script}; {self.complaints[-3:]}"
            await asyncio.sleep(0.1)

    async def size(self, width: int, height: int, *, phone: bool | None = None) -> None:
        """Set the size of the window, in pixels. It stays a phone's or none by default."""
        self._size = width, height
        self._is_phone = self._is_phone if phone is None else phone
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=self._is_phone,
        )

    async def dark(self, *, wanted: bool) -> None:
        value = "dark" if wanted else "light"
        features = [{"name": "prefers-color-scheme", "value": value}]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def hide(self, *, wanted: bool) -> None:
        """Let the page believe that nobody sees it, or that somebody does again."""
        await self.run(
            "Object.defineProperty(document, 'hidden', {configurable: true, get: () => "
            f"{json.dumps(wanted)}}}); document.dispatchEvent(new Event('visibilitychange'))"
        )

    async def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode={"Tab": 9, "ArrowRight": 39, "ArrowLeft": 37}[key],
            )

    async def picture(self) -> bytes:
        """Return a PNG of the whole page.

        The window is made as high as the page: beyond it, Chromium leaves out what stays in place
        while the page is scrolled.
        """
        width, height = self._size
        await self.size(width, await self.run("document.documentElement.scrollHeight"))
        await asyncio.sleep(PAINTED)
        found = await self.call("Page.captureScreenshot")
        await self.size(width, height)
        return base64.b64decode(found["data"])

    async def accessible(self) -> list[tuple[str, str]]:
        """Return the role and name of everything that a screen reader finds."""
        await self.call("Accessibility.enable")
        found = await self.call("Accessibility.getFullAXTree")
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in found["nodes"]
            if not node.get("ignored")
        ]


@contextlib.asynccontextmanager
async def chromium(token: str | None = None) -> AsyncIterator[Callable[[], Any]]:
    """Start the browser. Yields a function that opens a tab, which sends `token` by HTTP Basic."""
    profile = Path(tempfile.mkdtemp(prefix="chromium-"))
    process = await asyncio.create_subprocess_exec(
        "chromium",
        "--headless=new",
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        port = await asyncio.to_thread(_port, profile / "DevToolsActivePort")
        timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            contextlib.AsyncExitStack() as tabs,
        ):

            async def tab() -> Page:
                url = f"http://127.0.0.1:{port}/json/new?about:blank"
                async with session.put(url) as answer:
                    address = (await answer.json())["webSocketDebuggerUrl"]
                socket = await tabs.enter_async_context(session.ws_connect(address, max_msg_size=0))
                page = Page(socket)
                tabs.push_async_callback(page.close)
                await page.begin()
                if token is not None:
                    secret = base64.b64encode(f"any:{token}".encode()).decode()
                    headers = {"Authorization": f"Basic {secret}"}
                    await page.call("Network.setExtraHTTPHeaders", headers=headers)
                return page

            yield tab
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        shutil.rmtree(profile, ignore_errors=True)


def _port(path: Path) -> int:
    """Wait for the file in which the browser says its port."""
    found = wait_until("Chromium", lambda: path.read_text().split() if path.exists() else [])
    return int(found[0])
