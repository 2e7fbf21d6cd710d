"""scripts/build, with a Docker engine that only notes its commands."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DIGEST = "debian@sha256:" + "ab" * 32

# Answers as an engine that reaches a registry. The status of our program in the image is RELEASE.
DOCKER = f"""#!/bin/sh
echo "$@" >> "$NOTES"
case "$*" in
    *RepoDigests*) echo {DIGEST} ;;
    *ganglion.inputs*) ;;
    *.Size*) echo 1000 ;;
    *"- release"*) cat > /dev/null; echo finding >&2; exit "$RELEASE" ;;
    *"- sbom"*) cat > /dev/null; echo '{{}}' ;;
esac
"""
CURL = '#!/bin/sh\nexit "$ARCHIVE"\n'


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    for name, text in (("docker", DOCKER), ("curl", CURL)):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
    (tmp_path / "authorities.pem").write_text("PEM", encoding="utf-8")
    return tmp_path


def build(
    programs: Path, *words: str, release: int = 0, archive: int = 0
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run scripts/build. Returns its end, and each command that Docker got."""
    environment = {
        "PATH": f"{programs}:{os.defpath}",
        "NOTES": str(programs / "notes"),
        "PIP_CERT": str(programs / "authorities.pem"),
        "RELEASE": str(release),
        "ARCHIVE": str(archive),
    }
    done = subprocess.run(
        [ROOT / "scripts/build", *words],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    notes = (programs / "notes").read_text(encoding="utf-8").splitlines()
    return done, notes


def test_a_build_gets_this_machines_authorities_as_a_secret(programs: Path) -> None:
    done, notes = build(programs)
    assert done.returncode == 0
    (command,) = [line for line in notes if line.startswith("build ")]
    assert f"--secret id=authorities,src={programs}/authorities.pem" in command
    assert "--build-arg BASE=debian:trixie-slim --build-arg SNAPSHOT= " in command


def test_a_release_is_pinned_and_checked(programs: Path) -> None:
    done, notes = build(programs, "--release")
    assert done.returncode == 0
    (command,) = [line for line in notes if line.startswith("build ")]
    assert f"--build-arg BASE={DIGEST} " in command
    assert "T000000Z --tag ganglion" in command
    assert f"image.base.digest={DIGEST.partition('@')[2]}" in command
    assert [line for line in notes if line.endswith("ganglion -P - release")]


def test_a_finding_makes_no_release(programs: Path) -> None:
    done, _ = build(programs, "--release", "--sbom", release=1)
    assert done.returncode == 1
    assert done.stderr.endswith("finding\nbuild: ganglion is no release\n")
    assert done.stdout == ""


def test_a_release_says_what_could_not_be_pinned(programs: Path) -> None:
    done, notes = build(programs, "--release", archive=1)
    assert done.returncode == 0
    assert "build: snapshot.debian.org cannot be reached: Debian's packages are today's\n" in (
        done.stderr
    )
    (command,) = [line for line in notes if line.startswith("build ")]
    assert "--build-arg SNAPSHOT= " in command


def test_only_the_bill_of_materials_is_on_standard_output(programs: Path) -> None:
    done, _ = build(programs, "--sbom")
    assert done.stdout == "{}\n"
    assert "build: made ganglion" in done.stderr


def test_an_unknown_option_is_refused() -> None:
    done = subprocess.run(
        [ROOT / "scripts/build", "--sbom", "--wrong"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: scripts/build")
