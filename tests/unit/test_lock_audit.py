"""scripts/lock --audit: the age of the locks, and the advisories about their packages."""

import json
import time
import zipfile
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from scripts.supply_chain.audit import Package, from_export, main, pinned

DAY = 86400
LOCK = """\
--only-binary :all:

Jinja2==3.1.2 \\
    --hash=sha256:00
zope.interface==7.0 ; python_full_version < '3.12' \\
    --hash=sha256:11
    # via twisted
"""
JINJA = Package(name="jinja2", version="3.1.2")
ZOPE = Package(name="zope-interface", version="7.0")


def days_ago(days: int) -> int:
    return int(time.time()) - days * DAY - 60


def document(**values: Any) -> bytes:
    return json.dumps(
        {"id": "GHSA-1", "aliases": ["CVE-1"], "summary": "Bad.\nMore", **values}
    ).encode()


def affected(name: str = "jinja2", **values: Any) -> list[dict[str, Any]]:
    return [{"package": {"ecosystem": "PyPI", "name": name}, **values}]


def between(*events: dict[str, str]) -> list[dict[str, Any]]:
    return [{"type": "ECOSYSTEM", "events": list(events)}]


def silent(_address: str) -> bytes:
    return b'{"vulnerabilities": []}'


def test_packages_of_a_lock() -> None:
    assert pinned(LOCK) == {JINJA, ZOPE}


def test_no_advisory_is_status_0(capsys: pytest.CaptureFixture[str]) -> None:
    environ = {"PIP_INDEX_URL": "https://index.example/simple/"}
    assert main([], environ, fetch=silent, committed=lambda _: days_ago(3)) == 0
    said = capsys.readouterr().out
    assert said.startswith("runtime.lock: ")
    assert " packages, 3 days old\n" in said
    assert "advisories: 0 known about " in said
    assert said.endswith("by https://index.example/pypi\n")


def test_an_advisory_is_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    def fetch(address: str) -> bytes:
        if "/jinja2/" not in address:
            return silent(address)
        known = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fixed_in": ["99.1"], "summary": "Bad."}
        gone = {**known, "id": "PYSEC-2", "withdrawn": "2026-01-01T00:00:00Z"}
        return json.dumps({"vulnerabilities": [known, gone]}).encode()

    assert main([], {}, fetch=fetch, committed=lambda _: days_ago(3)) == 1
    said = capsys.readouterr().out
    assert ": PYSEC-1, CVE-1, fixed in 99.1: Bad.\n" in said
    assert "PYSEC-2" not in said
    assert "advisories: 1 known" in said


def test_an_old_lock_is_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], {}, fetch=silent, committed=lambda _: days_ago(31)) == 1
    assert "fix: scripts/lock --upgrade; it is older than 30 days" in capsys.readouterr().out
    assert main(["--max-age", "31"], {}, fetch=silent, committed=lambda _: days_ago(31)) == 0


def test_a_checkout_without_history_has_no_age(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], {}, fetch=silent, committed=lambda _: None) == 0
    assert "packages, of unknown age\n" in capsys.readouterr().out


@pytest.mark.parametrize("answer", [b"<html>", b"{}", None])
def test_an_index_without_advisories_is_status_3(
    answer: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def fetch(address: str) -> bytes:
        asked.append(address)
        if answer is None:
            raise HTTPError(address, 404, "Not Found", None, None)  # type: ignore[arg-type]
        return answer

    assert main([], {}, fetch=fetch, committed=lambda _: days_ago(3)) == 3
    # One question is enough.
    assert len(asked) == 1
    said = capsys.readouterr().out
    assert f"advisories: NOT CHECKED: {asked[0]}: " in said
    assert "fix: name an index with a JSON API" in said


@pytest.mark.parametrize(
    ("found", "known"),
    [
        (affected(versions=["3.1.1", "3.1.2"]), True),
        (affected(versions=["3.1.1"]), False),
        (affected("zope.interface", versions=["7.0"]), True),
        (affected("other", versions=["3.1.2"]), False),
        (affected(ranges=between({"introduced": "0"}, {"fixed": "3.1.3"})), True),
        (affected(ranges=between({"introduced": "0"}, {"fixed": "3.1.2"})), False),
        (affected(ranges=between({"introduced": "3.1.10"})), False),
        (affected(ranges=between({"introduced": "0"}, {"last_affected": "3.1.2"})), True),
        (affected(ranges=between({"introduced": "0"}, {"last_affected": "3.1.1"})), False),
        (
            affected(
                ranges=between(
                    {"introduced": "0"}, {"fixed": "2"}, {"introduced": "3"}, {"fixed": "4"}
                )
            ),
            True,
        ),
    ],
)
def test_an_export_names_the_versions(found: list[dict[str, Any]], *, known: bool) -> None:
    advisories = list(from_export([JINJA, ZOPE], [document(affected=found)]))
    assert bool(advisories) == known
    for advisory in advisories:
        assert advisory.names == ("GHSA-1", "CVE-1")
        assert advisory.summary == "Bad."


def test_another_ecosystem_and_a_withdrawn_advisory_do_not_count() -> None:
    item = affected(versions=["3.1.2"])
    withdrawn = document(affected=item, withdrawn="2026-01-01T00:00:00Z")
    item[0]["package"]["ecosystem"] = "npm"
    assert list(from_export([JINJA], [withdrawn, document(affected=item)])) == []


def test_an_export_is_a_zip_or_a_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (synapse,) = (item for item in pinned(runtime()) if item.name == "matrix-synapse")
    content = document(affected=affected("matrix-synapse", versions=[synapse.version]))
    (tmp_path / "one.json").write_bytes(content)
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("GHSA-1.json", content)
    for path in (tmp_path, archive):
        words = ["--advisories", str(path)]
        assert main(words, {}, committed=lambda _: days_ago(3)) == 1
        said = capsys.readouterr().out
        assert f"advisory: matrix-synapse {synapse.version}: GHSA-1, CVE-1, not fixed" in said


def test_an_export_that_is_none_is_status_3(tmp_path: Path) -> None:
    (tmp_path / "all.zip").write_text("no zip")
    words = ["--advisories", str(tmp_path / "all.zip")]
    assert main(words, {}, committed=lambda _: days_ago(3)) == 3


def runtime() -> str:
    root = Path(__file__).resolve().parents[2]
    return (root / "requirements/runtime.lock").read_text(encoding="utf-8")
