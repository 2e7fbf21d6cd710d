"""Names for `ganglion restart`: their order, and all problems at once."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ganglion.cli import restart
from ganglion.cli.restart import chosen
from ganglion.errors import ConfigError
from ganglion.machine import children
from ganglion.plan import read_settings

KNOWN = ("main", "client_reader1", "client_reader2")


@pytest.mark.parametrize(
    ("names", "every", "expected"),
    [
        ([], True, ["client_reader1", "client_reader2", "main"]),
        (["main", "client_reader2"], False, ["client_reader2", "main"]),
        (["client_reader1", "client_reader1"], False, ["client_reader1"]),
    ],
)
def test_main_comes_last_and_nothing_twice(
    names: list[str],
    every: bool,  # noqa: FBT001
    expected: list[str],
) -> None:
    assert chosen(names, KNOWN, every=every) == expected


def test_all_wrong_names_are_reported() -> None:
    with pytest.raises(ConfigError) as raised:
        chosen(["nginx", "mian", "main"], KNOWN, every=True)
    assert [problem.value for problem in raised.value.problems] == ["nginx", "mian", None]


def test_synapse_reads_its_configuration_with_its_own_rights(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An account of numbers has no `user` in supervisord.conf, and never gets root's rights."""
    environ = {
        "SYNAPSE_SERVER_NAME": "example.org",
        "GANGLION_DATA": str(tmp_path / "data"),
        "GANGLION_RUN": str(tmp_path),
        "UID": "12345",
        "GID": "12346",
    }
    settings = read_settings(environ)
    conf = Path(settings.paths.supervisord_conf)
    conf.parent.mkdir(parents=True)
    command = "python -m synapse.app.homeserver --config-path /a.yaml --config-path /b.yaml"
    conf.write_text(f"[program:main]\ncommand = {command}\n")
    ran: list[tuple[list[str], dict[str, Any]]] = []

    def run(command: list[str], **named: Any) -> subprocess.CompletedProcess[str]:
        ran.append((command, named))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(children, "run", run)
    assert restart._refused_configuration(settings) == ""
    ((words, named),) = ran
    assert words[-4:] == ["--config-path", "/a.yaml", "--config-path", "/b.yaml"]
    assert named["account"] == "12345:12346"
