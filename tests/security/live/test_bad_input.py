"""nginx judges its files in `check`, and before a start with routes of the operator."""

from pathlib import Path

import pytest

from ganglion.machine import installed
from ganglion.programs import nginx_trial
from tests.harness import Server
from tests.plans import plan

ROUTES = """\
routes:
- {name: good, path: "/_synapse/client/good(/|$)", roles: [main]}
- {name: many, path: "/_synapse/client/x{70000}", roles: [main]}
- {name: unknown, path: "/_synapse/client/a+++", roles: [main]}
"""


def test_a_path_that_nginx_refuses_is_named_before_anything_starts() -> None:
    with Server("none") as server:
        path = server.data / "routes.yaml"
        path.write_text(ROUTES.replace("a+++", "y{65536}"))
        before = sorted(server.root.rglob("*"))
        checked = server.ganglion("check")
        assert checked.returncode == 2
        assert checked.stderr.startswith("ganglion: 2 problems\n")
        for name, part in (("many", "x{70000}"), ("unknown", "y{65536}")):
            assert (
                f"{path}='{name}': has a path that nginx refuses: pcre2_compile() failed: number"
                f' too big in {{}} quantifier in "^[A-Z]+ /_synapse/client/{part}"'
                in checked.stderr
            )
        started = server.ganglion("run")
        assert started.returncode == 2
        assert started.stderr.endswith(checked.stderr)
        assert sorted(server.root.rglob("*")) == before


def test_a_path_that_nginx_takes_is_not_refused() -> None:
    with Server("none") as server:
        (server.data / "routes.yaml").write_text("\n".join(ROUTES.splitlines()[:2]))
        assert server.ganglion("check").returncode == 0


@pytest.mark.parametrize(
    "environ",
    [
        {"HTTP_PORT": "80", "BIND_ADDRESS": "203.0.113.7"},
        {"GANGLION_RUN": "/r", "WORKERS": "x" * 63 + "=synchrotron"},
        {"SYNAPSE_TLS_CERT": "/no/such", "SYNAPSE_TLS_KEY": "/no/such"},
        {"GANGLION_TEST_MODE": "yes", "SYNAPSE_ENABLE_METRICS": "yes", "CONTROL_HOSTS": "a.b"},
        {"SYNAPSE_USE_UNIX_SOCKET": "no", "WORKERS": "full", "GANGLION_MEMORY": "8G"},
        {"WORKERS": "client_reader:100, synchrotron:100", "GANGLION_MEMORY": "64G"},
        {"WORKERS": "client_reader:16, synchrotron:17", "GANGLION_MEMORY": "64G"},
        {"GANGLION_ADMIN_NETWORKS": "all", "TRUSTED_PROXIES": "0.0.0.0/0, ::/0"},
    ],
)
def test_a_configuration_for_another_machine_is_judged_too(environ: dict[str, str]) -> None:
    """Its addresses, ports, accounts and certificate need not be here."""
    nginx = installed.program("nginx")
    assert nginx is not None
    assert list(nginx_trial.problems(plan({"WORKERS": "none", **environ}), nginx)) == []


def test_another_error_names_its_variable(tmp_path: Path) -> None:
    """nginx stands for any version that refuses more than this one."""
    nginx = tmp_path / "nginx"
    nginx.write_text(
        '#!/bin/sh\nfor conf; do :; done\nline=$(grep -n "set_real_ip_from 10.0.0.0/8" "$conf" |'
        ' cut -d: -f1)\necho "nginx: [emerg] no such network in $conf:$line" >&2\nexit 1\n'
    )
    nginx.chmod(0o755)
    (problem,) = nginx_trial.problems(plan({"TRUSTED_PROXIES": "10.0.0.0/8"}), str(nginx))
    assert problem.variable == "TRUSTED_PROXIES"
    assert problem.message == "makes a configuration that nginx refuses: no such network"
