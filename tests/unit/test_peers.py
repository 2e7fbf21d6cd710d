"""nginx's upstreams in other containers follow the addresses of their hosts."""

from pathlib import Path

from ganglion.programs import peers
from tests.plans import rendered, settings
from tests.unit.test_parts import part

UPSTREAMS = """\
    upstream a {
        server one:18000 max_fails=1 fail_timeout=2s;
        server two-x.example:18000 max_fails=1 fail_timeout=2s max_conns=8;
        server 10.0.0.1:18000 max_fails=1 fail_timeout=2s;
        server [::1]:18000 max_fails=1 fail_timeout=2s;
        server unix:/run/sockets/x.sock max_fails=0;
    }
"""


def test_finds_names_but_no_addresses() -> None:
    assert peers.hosts(UPSTREAMS) == ("one", "two-x.example")


def test_marks_members_down_whose_host_has_no_address() -> None:
    found = peers.adapted(UPSTREAMS, {"one": ("10.0.0.7",), "two-x.example": ()})
    old = "server two-x.example:18000 max_fails=1 fail_timeout=2s max_conns=8;"
    assert old in UPSTREAMS
    new = "server 127.0.0.1:18000 down; # two-x.example does not resolve"
    assert found == UPSTREAMS.replace(old, new)


def test_a_host_is_given_up_after_three_failures_and_found_again_at_once() -> None:
    answers = {"one": ("10.0.0.7",), "two": ()}
    found = peers.Peers(("one", "two"), lambda name: answers[name])
    assert found.addresses == {"one": ("10.0.0.7",), "two": ()}
    assert found.look() == ()
    answers.update(one=(), two=("10.0.0.8",))
    assert found.look() == ("two",)
    assert found.addresses["one"] == ("10.0.0.7",)
    assert found.look() == ()
    assert found.look() == ("one",)
    assert found.addresses == {"one": (), "two": ("10.0.0.8",)}
    answers["one"] = ("10.0.0.9",)
    assert found.look() == ("one",)


def test_writes_the_upstreams_beside_the_rendered_ones(tmp_path: Path) -> None:
    environ = {**part("nginx", "synchrotron:2"), "GANGLION_RUN": str(tmp_path)}
    chosen = settings(**environ)
    files = rendered(environ)
    (tmp_path / "conf").mkdir()
    text = files["upstreams.conf"].content
    (tmp_path / "conf" / "upstreams.conf").write_text(text)
    assert peers.hosts(text) == ("main", "synchrotron1", "synchrotron2")
    assert f"include {tmp_path}/upstreams.conf;" in files["nginx.conf"].content
    known = {"main": ("10.0.0.1",), "synchrotron1": ("10.0.0.2",), "synchrotron2": ()}
    peers.write(chosen, peers.Peers(known, lambda name: known[name]))
    written = Path(chosen.paths.upstreams).read_text()
    assert "server main:18000 max" in written
    assert "server 127.0.0.1:18000 down; # synchrotron2 does not resolve" in written
