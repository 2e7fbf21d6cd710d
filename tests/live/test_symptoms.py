"""Each symptom of docs/troubleshooting.md is caused on a real server, and seen as the page says."""

import asyncio
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Server, wait_until
from tests.matrix import CLIENT, Clients
from tests.raw_http import raw_request
from tests.symptoms import FAULTS, HEADINGS, OPERATOR_FILE, VARIABLES, WORKERS, Proved, Seen

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
# Headings that are no symptom.
OTHERS = {"By symptom", "Seen from each side"}
ALL = {**FAULTS, **HEADINGS}
CAUSED = [pytest.param(name, case, id=name) for name, case in ALL.items() if isinstance(case, Seen)]
# Of the disk of the data, so that it can be filled.
SIZE = "320m"


def section(heading: str) -> str:
    """Return the text below a heading of the page."""
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def rows() -> dict[str, str]:
    """Return the rows of the table of faults by their first cell, as the reader sees them."""
    lines = [line for line in section("Seen from each side").splitlines() if line.startswith("| ")]
    return {line.split(" | ")[0][2:]: line.replace("\\|", "|") for line in lines[1:]}


def test_each_symptom_of_the_page_has_a_case() -> None:
    headings = set(re.findall(r"(?m)^## (.*)$", PAGE)) - OTHERS
    assert headings == set(HEADINGS)
    assert set(rows()) == set(FAULTS)


@pytest.mark.parametrize("name", FAULTS)
def test_the_page_says_what_is_looked_for(name: str) -> None:
    case, text = FAULTS[name], rows()[name]
    if isinstance(case, Proved):
        return
    for piece in (case.health, case.doctor):
        assert piece is None or piece.strip() in text
    if case.metric is not None:
        series = re.match(r"\^(\w+)", case.metric)
        assert series is not None
        assert series[1] in text
    if case.log is not None:
        for piece in re.split(r"\.\*|\\\||\^", case.log):
            assert piece.replace("\\", "").strip() in text


@pytest.mark.parametrize(
    "test",
    [test for case in ALL.values() if isinstance(case, Proved) for test in case.tests],
)
def test_the_tests_that_cause_other_symptoms_exist(test: str) -> None:
    path, _, name = test.partition("::")
    assert f"\ndef {name}(" in (ROOT / path).read_text()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(WORKERS, VARIABLES, OPERATOR_FILE) as found:
        kept = {path: path.read_bytes() for path in (found.data / "homeserver.d").iterdir()}
        mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=755", "tmpfs", str(found.data)]
        mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0
        if mounted:
            (found.data / "homeserver.d").mkdir()
            for path, content in kept.items():
                path.write_bytes(content)
        try:
            found.start()
            yield found
            found.stop()
        finally:
            found.kill()
            if mounted:
                subprocess.run(["umount", str(found.data)], check=True)


def said(server: Server, path: str) -> str:
    return raw_request(server.control_port, "GET", path).body.decode()


def on_page(server: Server) -> str:
    """Return what the status page gets, and each problem of the health in words."""
    text = said(server, "/status/now")
    health = json.loads(text)["health"] or {"problems": {}}
    return "\n".join([text, *(f"{name} {what}" for name, what in health["problems"].items())])


def wait_ready(server: Server, what: str) -> None:
    def is_ready() -> bool:
        return raw_request(server.control_port, "GET", "/ready").status == 200

    try:
        wait_until(what, is_ready)
    except AssertionError as error:
        error.add_note(said(server, "/health?format=text"))
        raise


def findings(server: Server, check: str) -> str:
    # Half of the seconds would do on an idle machine.
    answer = server.ganglion("doctor", "--json", "--wait", "6", check)
    return "\n".join(item["message"] for item in json.loads(answer.stdout))


@pytest.mark.parametrize(("name", "case"), CAUSED)
def test_a_symptom_is_seen_as_the_page_says(server: Server, name: str, case: Seen) -> None:
    if name.startswith("the disk") and not server.data.is_mount():
        pytest.skip("this account cannot mount a small disk")
    wait_ready(server, "a ready server")
    mark = server.log.mark()
    with case.fault(server):
        if case.health is not None:
            health = case.health
            wait_until(health, lambda: health in said(server, "/health?format=text"))
        if case.page is not None or case.health is not None:
            page = case.page or (case.health or "").rpartition(": ")[2]
            # Without what only words of one line have.
            wait_until(f"{page} on the status page", lambda: page in on_page(server))
        if case.metric is not None:
            metric = re.compile(case.metric, re.MULTILINE)
            wait_until(case.metric, lambda: metric.search(said(server, "/metrics")))
        if case.log is not None:
            server.log.wait_for(case.log, mark)
        if case.check is not None and case.doctor is not None:
            check, doctor = case.check, case.doctor
            wait_until(doctor, lambda: doctor in findings(server, check))
    wait_ready(server, "an end of it")


def test_no_process_is_behind_after_a_crash_of_the_database(server: Server) -> None:
    """Its sequences jump ahead, and positions of `caches` stay behind the numbers never used."""
    wait_ready(server, "a ready server")
    mark = server.log.mark()
    os.kill(server.pid("postgres"), signal.SIGKILL)
    server.log.wait_for("postgres is ready after", mark)
    wait_ready(server, "a recovered database")

    async def write() -> None:
        async with Clients(server.base_url) as clients:
            user = await clients.register("after")
            # The failure of another server is noted in the database, and in that stream.
            asked: dict[str, list[str]] = {"@somebody:127.0.0.1:1": []}
            await user.call("POST", f"{CLIENT}/keys/query", {"device_keys": asked})

    asyncio.run(write())
    # A process that is behind for 5 s is a problem.
    end = time.monotonic() + 12.0
    while time.monotonic() < end:
        assert "behind" not in said(server, "/health?format=text")
        time.sleep(1.0)
