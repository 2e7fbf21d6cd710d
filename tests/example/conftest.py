"""The fixture that the tests share: the bot, as its own process."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_ganglion import Ganglion, User

BOT = Path(__file__).parent / "bot.py"


@pytest.fixture
def bot(ganglion: Ganglion) -> Iterator[User]:
    """The account of the running bot."""
    account = ganglion.register("counter")
    environment = {
        **os.environ,
        "BOT_URL": ganglion.url,
        "BOT_USER": account.user_id,
        "BOT_DEVICE": account.device_id,
        "BOT_TOKEN": account.access_token,
    }
    process = subprocess.Popen([sys.executable, str(BOT)], env=environment)
    try:
        yield account
        assert process.poll() is None, f"the bot ended with status {process.returncode}"
    finally:
        process.terminate()
        process.wait()
