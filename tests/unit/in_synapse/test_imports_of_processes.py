"""The packages that a Synapse process can import."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ganglion.in_synapse.imports import absent, add_modules


@pytest.fixture(autouse=True)
def path() -> Iterator[None]:
    before = list(sys.path)
    yield
    sys.path[:] = before


def test_modules_come_after_the_packages_of_the_installation(tmp_path: Path) -> None:
    (tmp_path / "operators_module.py").write_text("VALUE = 1\n")
    (tmp_path / "yaml.py").write_text("raise AssertionError\n")
    environment = {"GANGLION_MODULES": str(tmp_path)}
    add_modules(environment)
    add_modules(environment)
    assert sys.path[-1] == str(tmp_path)
    assert sys.path.count(str(tmp_path)) == 1
    assert importlib.import_module("operators_module").VALUE == 1
    assert importlib.import_module("yaml").safe_load("1") == 1


@pytest.mark.parametrize("environment", [{}, {"GANGLION_MODULES": "/nonexistent"}])
def test_without_a_directory_the_path_stays(environment: dict[str, str]) -> None:
    before = list(sys.path)
    add_modules(environment)
    assert sys.path == before


def test_an_absent_package_is_back_after_the_body() -> None:
    assert "colorsys" not in sys.modules
    with absent("colorsys", "sys"):
        with pytest.raises(ImportError):
            importlib.import_module("colorsys")
        assert importlib.import_module("sys") is sys
    assert importlib.import_module("colorsys").rgb_to_hsv(0, 0, 0) == (0, 0, 0)
    del sys.modules["colorsys"]
