"""Describe an image from its inside. scripts/build runs this file there, with the image's Python.

image.py sbom NAME ID CREATED BASE SNAPSHOT
    prints the bill of materials: CycloneDX 1.6 as JSON, https://cyclonedx.org/docs/1.6/json/
image.py release
    prints everything that a release must not have, one finding a line; status 1 if there is one

The same image gives the same bytes. Needs nothing but Python's standard library.
"""

import json
import os
import re
import stat
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from email.message import Message
from email.parser import HeaderParser
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

Json = dict[str, Any]

GANGLION = Path("/opt/ganglion")
# Written by the Dockerfile: name, version, architecture and SHA-256 of each package's file, from
# Debian's signed index; name, version and SHA-256 of each file that pip installed.
DEBIAN = GANGLION / "debian-packages"
PYTHON = GANGLION / "venv/artifacts"
PIP = GANGLION / "venv/pip.whl"
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
CONFIGURED = Path("/etc/ca-certificates.conf")
AUTHORITIES = Path("/usr/share/ca-certificates")
LOCAL_AUTHORITIES = Path("/usr/local/share/ca-certificates")
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
# https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
LICENCE = re.compile(r"(?m)^License: *(\S.*)$")
FORMAT = re.compile(r"\AFormat:", re.IGNORECASE)
DPKG_FIELDS = ("binary:Package", "Version", "Architecture", "Maintainer", "Homepage", "Package")


def main(words: list[str]) -> int:
    match words:
        case ["sbom", name, identity, created, base, snapshot]:
            about = {"image": name, "id": identity, "base": base, "snapshot": snapshot}
            print(json.dumps(bill(about, created), indent=1, ensure_ascii=False))
            return 0
        case ["release"]:
            found = list(findings())
            print("\n".join(found), file=sys.stderr)
            return 1 if found else 0
    print(__doc__, file=sys.stderr)
    return 2


def bill(about: Mapping[str, str], created: str) -> Json:
    """Make the bill of materials. `about` are facts of the image that it does not know itself."""
    version = next(iter(re.findall(r'__version__ = "(.*?)"', _ganglion())))
    root = {
        "type": "container",
        "bom-ref": "image",
        "name": "ganglion",
        "version": version,
        "licenses": [{"expression": "AGPL-3.0-or-later"}],
        "properties": [
            {"name": f"ganglion:{name}", "value": value} for name, value in about.items() if value
        ],
    }
    components = [operating_system(), *debian_packages(), *python_packages()]
    components.sort(key=lambda item: str(item["bom-ref"]))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, about['id'])}",
        "version": 1,
        "metadata": {
            "timestamp": created,
            "tools": {"components": [{"type": "application", "name": "scripts/build --sbom"}]},
            "component": root,
        },
        "components": components,
        "dependencies": [
            {"ref": "image", "dependsOn": [str(item["bom-ref"]) for item in components]}
        ],
    }


def _ganglion() -> str:
    return (GANGLION / "entrypoint/ganglion/__init__.py").read_text(encoding="utf-8")


def operating_system() -> Json:
    """The component of Debian itself."""
    version = Path("/etc/debian_version").read_text(encoding="utf-8").strip()
    return {
        "type": "operating-system",
        "bom-ref": f"debian@{version}",
        "name": "debian",
        "version": version,
    }


def debian_packages() -> Iterator[Json]:
    """A component for each installed Debian package."""
    hashes = known_hashes(DEBIAN)
    pattern = "\\t".join(f"${{{field}}}" for field in DPKG_FIELDS) + "\\n"
    listed = subprocess.run(
        ["dpkg-query", "--show", "--showformat", pattern], capture_output=True, check=True
    ).stdout.decode()
    for line in listed.splitlines():
        _, version, architecture, maintainer, homepage, name = line.split("\t")
        purl = f"pkg:deb/debian/{name}@{quote(version, safe='')}?arch={architecture}&distro=trixie"
        yield {
            "type": "library",
            "bom-ref": purl,
            "publisher": maintainer,
            "name": name,
            "version": version,
            "purl": purl,
            **_licences(debian_licences(name)),
            **_hashes(hashes.get((name, version))),
            **_website(homepage),
        }


def debian_licences(name: str) -> list[str]:
    """The licences that a package's copyright file names, where a program can read it."""
    try:
        text = Path(f"/usr/share/doc/{name}/copyright").read_text(
            encoding="utf-8", errors="replace"
        )
    except OSError:
        return []
    if not FORMAT.search(text):
        return []
    return sorted({found.strip() for found in LICENCE.findall(text)})


def python_packages() -> Iterator[Json]:
    """A component for each distribution of the virtual environment, and pip's file."""
    hashes = known_hashes(PYTHON)
    for item in metadata.distributions():
        about = item.metadata
        name, version = str(about["Name"]), item.version
        bundled = sorted(path.name for path in item.files or () if path.parts[0].endswith(".libs"))
        yield {
            **_distribution(HeaderParser().parsestr(item.read_text("METADATA") or "")),
            **_hashes(hashes.get((_normal(name), version))),
            # Shared libraries inside the wheel, which no other component names.
            **_properties("ganglion:bundles", bundled),
        }
    with zipfile.ZipFile(PIP) as wheel:
        path = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        yield {
            **_distribution(HeaderParser().parsestr(wheel.read(path).decode())),
            # Not installed: `ganglion install-module` runs it. Of Debian's python3-pip-whl.
            **_properties("ganglion:file", [str(PIP)]),
        }


def _distribution(about: Message) -> Json:
    """The part of a component that a distribution's metadata say."""
    name, version = str(about["Name"]), str(about["Version"])
    purl = f"pkg:pypi/{_normal(name)}@{quote(version, safe='')}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        **_licences(python_licences(about), expression=str(about.get("License-Expression", ""))),
        **_website(str(about.get("Home-page", ""))),
    }


def python_licences(about: Message) -> list[str]:
    """The licences that a distribution's classifiers name, else the text of its field."""
    classified = [
        str(text).rpartition(" :: ")[2]
        for text in about.get_all("Classifier", [])
        if str(text).startswith("License :: ") and not str(text).endswith(":: OSI Approved")
    ]
    # Some have the whole text of their licence there.
    field = str(about.get("License", "")).strip()
    return classified or ([field] if field and len(field) < 100 and "\n" not in field else [])


def _normal(name: str) -> str:
    """A name as indexes have it: https://packaging.python.org/specifications/name-normalization"""
    return re.sub(r"[-_.]+", "-", name).lower()


def known_hashes(path: Path) -> dict[tuple[str, str], str]:
    """The SHA-256 of each package's file, by its name and version."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, version, *_, digest = line.split()
        found[_normal(name) if path == PYTHON else name, version] = digest
    return found


def _licences(names: list[str], expression: str = "") -> Json:
    if expression:
        return {"licenses": [{"expression": expression}]}
    return {"licenses": [{"license": {"name": name}} for name in names]} if names else {}


def _hashes(digest: str | None) -> Json:
    return {"hashes": [{"alg": "SHA-256", "content": digest}]} if digest else {}


def _website(address: str) -> Json:
    if not address.startswith(("http://", "https://")):
        return {}
    return {"externalReferences": [{"type": "website", "url": address}]}


def _properties(name: str, values: list[str]) -> Json:
    return {"properties": [{"name": name, "value": value} for value in values]} if values else {}


def findings() -> Iterator[str]:
    """Everything that a release must not have."""
    yield from wrong_authorities()
    for path in privileged_files():
        yield f"{path} is setuid or setgid"
    for item in (*debian_packages(), *python_packages()):
        if "hashes" not in item and item.get("properties", [{}])[0].get("value") != str(PIP):
            yield f"{item['purl']} has no known origin: no index has its hash"


def wrong_authorities() -> Iterator[str]:
    """Differences from the certificate authorities that Debian's package gives."""
    for path in sorted(LOCAL_AUTHORITIES.rglob("*")):
        if not path.is_dir():
            yield f"{path} is a certificate authority that is not Debian's"
    verified = subprocess.run(
        ["dpkg", "--verify", "ca-certificates"], capture_output=True, check=False
    ).stdout.decode()
    for line in verified.splitlines():
        # The images leave documentation out.
        if "/usr/share/doc/" not in line and "/usr/share/man/" not in line:
            yield f"the package ca-certificates was changed: {line}"
    lines = CONFIGURED.read_text(encoding="utf-8").splitlines()
    names = [line for line in lines if line and not line.startswith(("#", "!"))]
    given = {text for name in names for text in certificates(AUTHORITIES / name)}
    trusted = set(certificates(BUNDLE))
    if extra := trusted - given:
        yield f"{BUNDLE} has {len(extra)} certificate authorities that are not Debian's"
    if missing := given - trusted:
        yield f"{BUNDLE} lacks {len(missing)} of Debian's certificate authorities"
    for path in sorted(BUNDLE.parent.iterdir()):
        target = path.resolve()
        if path != BUNDLE and not target.is_relative_to(AUTHORITIES):
            yield f"{path} is {target}, not a certificate authority of Debian's"


def certificates(path: Path) -> list[str]:
    """The certificates in a PEM file, without line breaks."""
    return ["".join(text.split()) for text in CERTIFICATE.findall(path.read_text(encoding="utf-8"))]


def privileged_files() -> Iterator[Path]:
    """The files that give their caller another account's rights."""
    for place in sorted(set(os.listdir("/")) - {"dev", "proc", "sys"}):  # noqa: PTH208 - names
        for top, _, names in os.walk(f"/{place}"):
            for path in (Path(top, name) for name in names):
                mode = path.lstat().st_mode
                if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
                    yield path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
