"""Where everything in the image comes from: its bill of materials, its certificate authorities."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.image.engine import ROOT, docker, run

PROGRAM = ROOT / "scripts/supply_chain/image.py"
PYTHON = "/opt/ganglion/venv/bin/python"
LOCAL = "/usr/local/share/ca-certificates"
# Prints the authorities that Python trusts by default, and those of Debian's package.
COUNT_AUTHORITIES = """
import pathlib, ssl
print(ssl.create_default_context().cert_store_stats()["x509_ca"])
lines = pathlib.Path("/etc/ca-certificates.conf").read_text().splitlines()
print(len([line for line in lines if line and line[0] not in "#!"]))
"""
DISTRIBUTIONS = """
from importlib import metadata
for item in metadata.distributions():
    print(item.metadata["Name"].lower().replace("_", "-").replace(".", "-"), item.version)
"""


def inside(image: str, *command: str) -> list[str]:
    """Run a command in a new container of the image. Returns its lines."""
    program, *arguments = command
    words = ("run", "--rm", "--network", "none", "--entrypoint", program)
    return docker(*words, image, *arguments).splitlines()


@pytest.fixture(scope="module")
def printed(image: str) -> str:
    done = run("scripts/build", "--sbom", environment={"GANGLION_IMAGE": image})
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(scope="module")
def components(printed: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(printed)["components"]
    return found


def of_kind(components: list[dict[str, Any]], kind: str) -> set[tuple[str, str]]:
    """The names and versions of the components with purls of a kind."""
    return {
        (item["purl"].partition("@")[0].rpartition("/")[2], item["version"])
        for item in components
        if item.get("purl", "").startswith(f"pkg:{kind}/")
    }


def test_the_bill_of_materials_fits_its_schema(printed: str) -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(printed) is None
    # A document that does not fit is found.
    wrong = json.loads(printed)
    del wrong["components"][0]["name"]
    assert validator.validate_str(json.dumps(wrong)) is not None


def test_the_same_image_has_the_same_bill(image: str, printed: str) -> None:
    again = run("scripts/build", "--sbom", environment={"GANGLION_IMAGE": image})
    assert again.stdout == printed


def test_every_debian_package_is_in_it(image: str, components: list[dict[str, Any]]) -> None:
    lines = inside(image, "dpkg-query", "--show", "--showformat", "${Package} ${Version}\\n")
    installed = {(name, version) for name, version in map(str.split, lines)}
    assert len(installed) > 100
    assert of_kind(components, "deb") == installed


def test_every_distribution_is_in_it(image: str, components: list[dict[str, Any]]) -> None:
    lines = inside(image, PYTHON, "-c", DISTRIBUTIONS)
    installed = {(name, version) for name, version in map(str.split, lines)}
    assert {"matrix-synapse", "jaeger-client", "psycopg2-binary"} <= {name for name, _ in installed}
    # pip is there as a file.
    found = of_kind(components, "pypi")
    assert {name for name, _ in found - installed} == {"pip"}
    assert installed <= found
    # No other Python packages are anywhere.
    script = (
        "find / -xdev -name '*.dist-info' -o -xdev -name '*.egg-info' | grep -v /site-packages/"
    )
    assert inside(image, "bash", "-c", f"{script}; true") == []


def test_each_component_has_its_origin_and_most_a_licence(
    components: list[dict[str, Any]],
) -> None:
    packages = [item for item in components if "purl" in item]
    without = {item["name"] for item in packages if "hashes" not in item}
    assert without == {"pip"}
    for item in packages:
        for digest in item.get("hashes", ()):
            assert (digest["alg"], len(digest["content"])) == ("SHA-256", 64)
    unknown = sorted(item["name"] for item in packages if "licenses" not in item)
    print(f"no licence known: {len(unknown)} of {len(packages)}: {unknown}")
    assert len(unknown) < len(packages) / 4


def test_the_hashes_are_those_of_the_lock(components: list[dict[str, Any]]) -> None:
    lock = "".join(
        (ROOT / "requirements" / f"{name}.lock").read_text(encoding="utf-8")
        for name in ("runtime", "tracing")
    )
    for item in components:
        if item.get("purl", "").startswith("pkg:pypi/") and item["name"] != "pip":
            assert f"--hash=sha256:{item['hashes'][0]['content']}" in lock, item["name"]


def test_the_image_trusts_debians_authorities_alone(image: str) -> None:
    assert inside(image, "find", LOCAL, "-type", "f") == []
    done = run(
        *("docker", "run", "--rm", "--interactive", "--entrypoint", PYTHON, image),
        *("-P", "-", "release"),
        stdin=PROGRAM.read_bytes(),
        check=False,
    )
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_the_base_image_has_no_authority_of_this_machine() -> None:
    base = run("scripts/build", "--base").stdout.strip()
    script = f"find {LOCAL} -type f; cat /etc/ssl/certs/ca-certificates.crt"
    found = "".join(inside(base, "bash", "-c", f"{script} 2>/dev/null; true"))
    assert LOCAL not in found
    for path in Path(LOCAL).glob("**/*.crt"):
        lines = path.read_text(encoding="utf-8").split()
        # The longest part of a certificate is its text in base 64.
        assert "".join(lines[2:-2]) not in found, path


def test_the_image_holds_no_private_key(image: str) -> None:
    script = (
        "find / -xdev -name '*.signing.key';"
        " grep --recursive --files-with-matches --devices=skip --binary-files=text"
        " -e '-----BEGIN .*PRIVATE KEY-----' /etc /var /opt/ganglion/database;"
        " true"
    )
    assert inside(image, "bash", "-c", script) == []


def test_public_certificates_are_still_verified(image: str) -> None:
    trusted, given = (int(line) for line in inside(image, PYTHON, "-c", COUNT_AUTHORITIES))
    assert trusted == given > 100
    # By their hashes too, as Synapse's processes look them up.
    verified = inside(
        image,
        "bash",
        "-c",
        "openssl verify -no_check_time -no-CAfile -CApath /etc/ssl/certs"
        " /usr/share/ca-certificates/mozilla/*.crt",
    )
    assert len(verified) == given
    assert all(line.endswith(": OK") for line in verified)


@pytest.fixture
def changed(image: str) -> Iterator[str]:
    """An image with one more certificate authority, as a build machine could bring it."""
    name = f"ganglion-test-{secrets.token_hex(4)}"
    authority = trustme.CA().cert_pem.bytes()
    script = f"cat > {LOCAL}/own.crt && update-ca-certificates"
    made = docker("create", "--interactive", "--entrypoint", "bash", image, "-c", script)
    try:
        docker("start", "--attach", "--interactive", made, stdin=authority)
        docker("commit", made, name)
        yield name
    finally:
        docker("rm", "--force", made)
        docker("image", "rm", "--force", name)


def test_a_release_with_another_authority_is_refused(changed: str) -> None:
    done = run(
        *("docker", "run", "--rm", "--interactive", "--entrypoint", PYTHON, changed),
        *("-P", "-", "release"),
        stdin=PROGRAM.read_bytes(),
        check=False,
    )
    assert done.returncode == 1
    assert f"{LOCAL}/own.crt is a certificate authority that is not Debian's" in done.stderr
    assert (
        "/etc/ssl/certs/ca-certificates.crt has 1 certificate authorities that are not Debian's"
        in done.stderr
    )


def test_a_date_pins_debians_packages() -> None:
    base = run("scripts/build", "--base").stdout.strip()
    name = f"ganglion-test-{secrets.token_hex(4)}"
    arguments = [f"--build-arg=BASE={base}", "--build-arg=SNAPSHOT=20260701T000000Z"]
    try:
        docker("build", "--quiet", "--target", "debian", *arguments, "--tag", name, ".")
        places = ("/etc/apt/sources.list", "/etc/apt/sources.list.d")
        lines = inside(name, "find", *places, "-type", "f", "-exec", "cat", "{}", "+")
    finally:
        docker("image", "rm", "--force", name)
    assert len(lines) == 3
    assert all("/20260701T000000Z trixie" in line for line in lines)
