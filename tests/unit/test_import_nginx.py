"""`ganglion import --nginx`: the comparison with the old proxy, and files that nginx refuses."""

import json
from pathlib import Path

import pytest

from ganglion.cli.main import main
from ganglion.errors import ConfigError
from ganglion.importing.nginx_file import read
from ganglion.importing.old_proxy import REQUESTS, requests
from tests.oracle.samples import compared

SITE = """\
map $arg_since $sync { default workers; "" mains; }
upstream workers { server 127.0.0.1:8081; server localhost:8082 backup; }
upstream mains { server 127.0.0.1:8008; }
server {
    listen 80;
    return 301 https://$host$request_uri;
}
server {
    listen 443 ssl;
    listen 8448 ssl;
    server_name matrix.example.org;
    location /_synapse/admin { return 403; }
    location ~ ^/_matrix/client/(r0|v3)/sync$ { proxy_pass http://$sync; }
    location ~* ^(/_matrix|/_synapse/client) { proxy_pass http://localhost:8008; }
}
"""
MAIN = """\
server_name: example.org
listeners: [{port: 8008, type: http, resources: [{names: [client, federation]}]}]
"""
WORKER = """\
worker_app: synapse.app.generic_worker
worker_name: synchrotron%d
worker_listeners: [{type: http, port: 808%d, resources: [{names: [client]}]}]
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    (tmp_path / "homeserver.yaml").write_text(MAIN)
    for number in (1, 2):
        (tmp_path / f"worker{number}.yaml").write_text(WORKER % (number, number))
    (tmp_path / "site.conf").write_text(SITE)
    return tmp_path


def test_the_requests_are_those_of_the_oracle() -> None:
    """Write them again with `print(*compared(), sep="\\n")` of tests.oracle.samples."""
    assert REQUESTS.read_text().splitlines() == list(compared())
    assert len(requests()) > 500


def test_every_request_is_compared(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["import", str(old), "--nginx", str(old / "site.conf")]
    assert main([*words, "--json"], {}) == 0
    (site,) = json.loads(capsys.readouterr().out)["proxy"]
    assert site["site"] == "matrix.example.org (443, 8448)"
    found = {(row["method"], row["path"]): row for row in site["requests"]}
    assert set(found) == set(requests())

    def row(method: str, path: str) -> tuple[str, str, str]:
        item = found[method, path]
        return item["before"], item["after"], item["change"]

    sync = "/_matrix/client/v3/sync"
    both = "synchrotron1, synchrotron2"
    assert row("GET", f"{sync}?since=s1") == (both, "synchrotron", "same")
    assert row("GET", sync) == ("main", "initial_synchrotron", "leaves main")
    assert row("GET", "/_matrix/client/v3/capabilities") == ("main", "main", "same")
    admin = next(path for method, path in found if "/_synapse/admin/v1/" in path)
    before, after, change = next(
        (item["before"], item["after"], item["change"])
        for item in found.values()
        if item["path"] == admin
    )
    assert before == "nginx itself: 403"
    assert after.endswith(", for GANGLION_ADMIN_NETWORKS alone")
    assert change == "open to some now"
    assert main(words, {}) == 0
    out = capsys.readouterr().out
    assert "REQUESTS AT matrix.example.org (443, 8448)\n" in out
    assert f" of {len(requests())} requests stay where they were" in out


def test_a_worker_that_got_what_main_gets_now(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = SITE.replace("http://localhost:8008", "http://127.0.0.1:8082")
    (old / "site.conf").write_text(site)
    assert main(["import", str(old), "--nginx", str(old / "site.conf")], {}) == 0
    out = capsys.readouterr().out
    assert "  goes to main: synchrotron2 -> main (" in out


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"site.conf": "include a.conf;", "a.conf": "include site.conf;"}, "is included by itself"),
        ({"site.conf": "include *.conf;"}, "is included by itself"),
        ({"site.conf": "server {"}, "ends inside of a directive or a block"),
        ({"site.conf": "listen 80"}, "ends inside of a directive or a block"),
        ({"site.conf": "}"}, "has an unexpected }"),
        ({"site.conf": "server { listen 80 }"}, "has an unexpected }"),
        ({"site.conf": ";"}, "has an unexpected ;"),
        ({"site.conf": 'a "b;'}, 'has no closing "'),
        ({"site.conf": "a {" * 30 + "}" * 30}, "is too large or nested too deeply"),
        ({"site.conf": "\udcff"}, "is not text in UTF-8"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_files_that_nginx_refuses(files: dict[str, str], message: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text, errors="surrogateescape")
    with pytest.raises(ConfigError, match=message.replace("}", "\\}")):
        read(tmp_path / "site.conf")


def test_a_missing_include_is_noted(tmp_path: Path) -> None:
    (tmp_path / "site.conf").write_text("# x\ninclude snippets/tls.conf;\n")
    root, notes = read(tmp_path / "site.conf")
    assert root.block == ()
    assert notes == [
        f"{tmp_path}/site.conf:2: the included file snippets/tls.conf is not there, and is left out"
    ]


@pytest.mark.parametrize(
    ("site", "message"),
    [
        ("server { location / { root /srv; } }", "no server block in it passes"),
        ("server { location ~ (?|a) { proxy_pass http://a; } }", "cannot be evaluated"),
        ("", "no server block in it passes"),
    ],
)
def test_sites_that_cannot_be_compared(
    site: str, message: str, old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (old / "site.conf").write_text(site)
    assert main(["import", str(old), "--nginx", str(old / "site.conf")], {}) == 2
    out, err = capsys.readouterr()
    assert (out, message in err) == ("", True)
