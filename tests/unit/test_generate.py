"""The homeserver.yaml that is written once, as Synapse's own image writes one."""

from pathlib import Path

import yaml

from ganglion.data.homeserver_yaml import generate
from ganglion.data.secrets import keep_secrets
from ganglion.settings import operator_files
from ganglion.settings.adoption import adopt
from ganglion.settings.environment import from_environ
from tests.plans import no_file, problems, said

NEEDED = {"SYNAPSE_SERVER_NAME": "example.org", "SYNAPSE_REPORT_STATS": "no"}
GIVEN = {
    **NEEDED,
    "SYNAPSE_MAX_UPLOAD_SIZE": "1G",
    "SYNAPSE_ALLOW_GUEST": "yes",
    "SYNAPSE_TURN_URIS": "turn:a",
    "SYNAPSE_TURN_SECRET": "turn",
    "SYNAPSE_CACHE_FACTOR": "2",
    "SYNAPSE_REGISTRATION_SHARED_SECRET": "given",
    "POSTGRES_HOST": "db",
    "POSTGRES_PASSWORD": "hush",
}


def made(data: Path, **environ: str) -> list[str]:
    lines: list[str] = []
    chosen = from_environ({"GANGLION_DATA": str(data), **environ}, no_file)
    generate(chosen, None, lines.append)
    return lines


def test_the_files_of_synapses_image_are_written(tmp_path: Path) -> None:
    data = tmp_path / "data"
    paths = [
        data / name
        for name in ("homeserver.yaml", "example.org.signing.key", "example.org.log.config")
    ]
    assert made(data, **NEEDED) == [f"wrote {path}" for path in paths]
    assert sorted(data.iterdir()) == sorted(paths)
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o600}
    log = yaml.safe_load(paths[2].read_text())
    assert log["root"] == {"level": "INFO", "handlers": ["console"]}
    assert log["handlers"]["console"]["class"] == "logging.StreamHandler"
    before = {path: path.read_bytes() for path in paths}
    assert made(data, **GIVEN) == [f"{path} is there already, and stays as it is" for path in paths]
    assert {path: path.read_bytes() for path in paths} == before


def test_a_start_without_the_variables_comes_to_the_same(tmp_path: Path) -> None:
    made(tmp_path, **GIVEN)
    chosen = from_environ({"GANGLION_DATA": str(tmp_path)}, no_file)
    operator = operator_files.load(chosen)
    options = operator.options
    assert options["server_name"] == "example.org"
    assert options["max_upload_size"] == 1024**3
    assert options["allow_guest_access"] is True
    assert (options["turn_uris"], options["turn_shared_secret"]) == (["turn:a"], "turn")
    assert options["caches"] == {"global_factor": 2.0}
    found = adopt(chosen, operator)
    assert (found.postgres_host, found.postgres_password) == ("db", "hush")
    (tmp_path / "secrets").mkdir()
    kept = keep_secrets(found, operator)
    assert kept.registration_shared_secret == "given"
    assert kept.form_secret == options["form_secret"]
    assert kept.signing_key == (tmp_path / "example.org.signing.key").read_text().strip()


def test_other_places(tmp_path: Path) -> None:
    places = {
        "SYNAPSE_CONFIG_DIR": f"{tmp_path}/conf",
        "SYNAPSE_CONFIG_PATH": f"{tmp_path}/own.yaml",
    }
    made(tmp_path / "data", **NEEDED, **places)
    options = yaml.safe_load((tmp_path / "own.yaml").read_text())
    assert options["signing_key_path"] == f"{tmp_path}/conf/example.org.signing.key"
    assert options["media_store_path"] == f"{tmp_path}/data/media_store"
    assert {path.name for path in (tmp_path / "conf").iterdir()} == {
        "example.org.signing.key",
        "example.org.log.config",
    }


def test_what_synapses_image_asks_for(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert problems(lambda: made(data, SYNAPSE_REPORT_STATS="no")) == [
        said(
            "SYNAPSE_SERVER_NAME",
            "must be set for a homeserver.yaml to be written",
            "docker run -e SYNAPSE_SERVER_NAME=example.org -e SYNAPSE_REPORT_STATS=no … generate",
        )
    ]
    assert not data.exists()
