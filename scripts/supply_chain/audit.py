"""Report the age of the locked Python packages, and the known advisories about them.

audit.py [--advisories FILE] [--max-age DAYS]

The advisories come from the JSON API of the package index, one request for each package, or from
FILE: an export of OSV's database for PyPI, as a zip or a directory of JSON files.

Exit status: 0 if no advisory is known and the locks are young enough, 1 if not, 3 if the advisories
could not be read. scripts/lock --audit runs it.
"""

import argparse
import datetime as dt
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("runtime", "tracing", "dev", "strangers")
PINNED = re.compile(r"(?m)^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)")
# In days: Synapse has a new version every two weeks, and often security fixes.
MAX_AGE = 30
# In seconds.
TIMEOUT = 30
GOOD, BAD, UNKNOWN = 0, 1, 3

Json = dict[str, Any]
# The text at an address. Raises OSError.
Fetch = Callable[[str], bytes]
# All JSON documents of an export.
Documents = Iterable[bytes]


class NotReached(Exception):
    """The advisories could not be read. The text says why."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Package:
    """A pinned package; its name is normalised."""

    name: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Advisory:
    """A known fault of a package. `fixed` are the versions without it, where they are known."""

    package: Package
    names: tuple[str, ...]
    fixed: tuple[str, ...]
    summary: str

    def __str__(self) -> str:
        fixed = f"fixed in {', '.join(self.fixed)}" if self.fixed else "not fixed in any version"
        what = f"{self.package.name} {self.package.version}: {', '.join(self.names)}, {fixed}"
        return f"{what}: {self.summary}" if self.summary else what


def pinned(lock: str) -> set[Package]:
    """Return the packages of a lock file."""
    return {Package(name=_normal(name), version=found) for name, found in PINNED.findall(lock)}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def from_index(packages: Iterable[Package], api: str, fetch: Fetch) -> Iterator[Advisory]:
    """Ask the index's JSON API: https://docs.pypi.org/api/json/#known-vulnerabilities.

    Raises NotReached if it does not answer, as a mirror without this API.
    """
    for package in sorted(packages):
        address = f"{api}/{package.name}/{package.version}/json"
        try:
            found = json.loads(fetch(address))["vulnerabilities"]
        except (OSError, ValueError, KeyError) as error:
            raise NotReached(f"{address}: {error}") from error
        for item in found:
            if not item.get("withdrawn"):
                yield Advisory(
                    package=package,
                    names=(item["id"], *item.get("aliases", ())),
                    fixed=tuple(item.get("fixed_in") or ()),
                    summary=_first_line(item),
                )


def from_export(packages: Iterable[Package], documents: Documents) -> Iterator[Advisory]:
    """Search an export of OSV: https://ossf.github.io/osv-schema/."""
    by_name = {package.name: package for package in packages}
    for document in documents:
        item: Json = json.loads(document)
        if item.get("withdrawn"):
            continue
        for affected in item.get("affected", ()):
            about = affected.get("package", {})
            package = by_name.get(_normal(about.get("name", "")))
            if about.get("ecosystem") == "PyPI" and package and _concerns(affected, package):
                yield Advisory(
                    package=package,
                    names=(item["id"], *item.get("aliases", ())),
                    fixed=tuple(event["fixed"] for event in _events(affected) if "fixed" in event),
                    summary=_first_line(item),
                )


def _events(affected: Json) -> Iterator[Mapping[str, str]]:
    for found in affected.get("ranges", ()):
        if found.get("type") == "ECOSYSTEM":
            yield from found.get("events", ())


def _concerns(affected: Json, package: Package) -> bool:
    """Whether one of the ranges or of the listed versions includes the package's."""
    if package.version in affected.get("versions", ()):
        return True
    ours = Version(package.version)
    for found in affected.get("ranges", ()):
        inside = False
        for event in found.get("events", ()) if found.get("type") == "ECOSYSTEM" else ():
            try:
                # Events are in the order of versions.
                if "introduced" in event:
                    inside = inside or ours >= Version(event["introduced"])
                elif "fixed" in event:
                    inside = inside and ours < Version(event["fixed"])
                elif "last_affected" in event:
                    inside = inside and ours <= Version(event["last_affected"])
            except InvalidVersion:
                continue
        if inside:
            return True
    return False


def _first_line(item: Json) -> str:
    text = str(item.get("summary") or item.get("details") or "").strip()
    return text.splitlines()[0][:200] if text else ""


def read_export(path: Path) -> Iterator[bytes]:
    """Yield each JSON document of a zip or a directory. Raises NotReached."""
    try:
        if path.is_dir():
            for file in sorted(path.rglob("*.json")):
                yield file.read_bytes()
            return
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith(".json"):
                    yield archive.read(name)
    except (OSError, zipfile.BadZipFile) as error:
        raise NotReached(f"{path}: {error}") from error


def ages(now: dt.datetime, committed: Callable[[str], int | None]) -> dict[str, int | None]:
    """The age of each lock in days; None where it is unknown."""
    found = {}
    for name in LOCKS:
        seconds = committed(f"requirements/{name}.lock")
        found[name] = None if seconds is None else int(now.timestamp() - seconds) // 86400
    return found


def _committed(path: str) -> int | None:
    """When a file was last committed, in seconds since 1970; None without its history."""
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct", "--", path]
    try:
        text = subprocess.run(command, capture_output=True, check=False).stdout.decode().strip()
    except OSError:
        return None
    return int(text) if text else None


def _fetch(address: str) -> bytes:
    if not address.startswith(("https://", "http://")):
        raise ValueError(f"{address} is no address of an index")
    with urllib.request.urlopen(address, timeout=TIMEOUT) as answer:  # noqa: S310 - checked above
        content: bytes = answer.read()
    return content


def _api(environ: Mapping[str, str]) -> str:
    """The JSON API beside the index that pip and uv use."""
    index = environ.get("UV_DEFAULT_INDEX") or environ.get("PIP_INDEX_URL")
    if not index:
        from pip._internal.models.index import PyPI  # noqa: PLC0415 - pip knows its own default

        index = str(PyPI.simple_url)
    return index.rstrip("/").removesuffix("/simple") + "/pypi"


def main(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    *,
    fetch: Fetch = _fetch,
    committed: Callable[[str], int | None] = _committed,
) -> int:
    parser = argparse.ArgumentParser(prog="scripts/lock --audit")
    parser.add_argument("--advisories", type=Path, metavar="FILE")
    parser.add_argument("--max-age", type=int, default=MAX_AGE, metavar="DAYS")
    options = parser.parse_args(arguments)
    status = GOOD
    packages: set[Package] = set()
    for name, age in ages(dt.datetime.now(dt.UTC), committed).items():
        text = (ROOT / f"requirements/{name}.lock").read_text(encoding="utf-8")
        packages |= (found := pinned(text))
        said = "of unknown age" if age is None else f"{age} days old"
        print(f"{name}.lock: {len(found)} packages, {said}")
        if age is not None and age > options.max_age:
            print(f"    fix: scripts/lock --upgrade; it is older than {options.max_age} days")
            status = BAD
    try:
        if options.advisories is not None:
            source = str(options.advisories)
            known = sorted(from_export(packages, read_export(options.advisories)))
        else:
            source = _api(environ)
            known = sorted(from_index(packages, source, fetch))
    except NotReached as error:
        print(f"advisories: NOT CHECKED: {error}")
        print("    fix: name an index with a JSON API (PIP_INDEX_URL), or --advisories FILE")
        return UNKNOWN
    for advisory in known:
        print(f"advisory: {advisory}")
    print(f"advisories: {len(known)} known about {len(packages)} packages, by {source}")
    return BAD if known else status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
