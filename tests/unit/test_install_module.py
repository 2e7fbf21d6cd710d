"""install-module, with wheels that are made here and no index."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

# psycopg2 is installed under another name; idna is installed.
NEEDS = ("needed-package", "idna", "psycopg2>=2.8")


def wheel(directory: Path, name: str, needs: tuple[str, ...] = ()) -> None:
    module = name.replace("-", "_")
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    files = {
        f"{module}.py": "VALUE = 1\n",
        f"{module}-1.0.dist-info/METADATA": metadata
        + "".join(f"Requires-Dist: {need}\n" for need in needs),
        f"{module}-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: t\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in files) + f"{module}-1.0.dist-info/RECORD,,\n"
    with zipfile.ZipFile(directory / f"{module}-1.0-py3-none-any.whl", "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(f"{module}-1.0.dist-info/RECORD", record)


def install(directory: Path, name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "ganglion", "install-module", "--data", name],
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(directory),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(directory),
            "GANGLION_DATA": f"{directory}/data",
            "GANGLION_RUN": f"{directory}/run",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.timeout(600)
def test_only_missing_packages_go_into_the_data_directory(tmp_path: Path) -> None:
    wheel(tmp_path, "some-module", NEEDS)
    wheel(tmp_path, "needed-package")
    done = install(tmp_path, "some-module")
    assert done.returncode == 0, done.stderr
    modules = tmp_path / "data" / "modules"
    assert {path.name for path in modules.glob("*.py")} == {"some_module.py", "needed_package.py"}
    assert {path.name for path in modules.glob("*.dist-info")} == {
        "some_module-1.0.dist-info",
        "needed_package-1.0.dist-info",
    }


@pytest.mark.timeout(600)
def test_another_version_of_an_installed_package_is_refused(tmp_path: Path) -> None:
    wheel(tmp_path, "some-module", ("idna<1",))
    done = install(tmp_path, "some-module")
    assert done.returncode == 1
    assert "some-module 1.0 depends on idna<1" in done.stdout
    assert not (tmp_path / "data").exists()
