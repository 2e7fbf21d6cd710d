"""register-user where Synapse has no accounts of its own."""

from pathlib import Path

import pytest

from ganglion.cli.main import main

SERVICE = "matrix_authentication_service: {enabled: true, endpoint: http://mas, secret: s}\n"
EXPERIMENT = "experimental_features: {msc3861: {enabled: true}}\n"


@pytest.mark.parametrize("text", [SERVICE, EXPERIMENT])
@pytest.mark.parametrize("flags", [(), ("--admin",)])
def test_with_the_authentication_service_it_says_what_to_run(
    text: str, flags: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "homeserver.yaml").write_text(text)
    environ = {"GANGLION_DATA": str(tmp_path), "GANGLION_RUN": f"{tmp_path}/run"}
    assert main(["register-user", "alice", *flags], environ) == 2
    options = " --admin" if flags else ""
    assert capsys.readouterr().err == (
        "ganglion: 1 problem\n"
        "NAME='alice': cannot be registered: your files give all accounts to the Matrix"
        " Authentication Service\n"
        "    fix: where that service runs, type"
        f" `mas-cli manage register-user alice{options}`\n"
    )
