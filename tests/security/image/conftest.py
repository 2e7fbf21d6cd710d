"""The fixtures of tests/image, for the attacks on an image."""

from pathlib import Path

import pytest

from tests.image.conftest import BUILD_WITHIN, image

__all__ = ("image",)
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test time for the build: the first one waits for it."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(BUILD_WITHIN + 300))
