"""A warning where a proxy's or Docker's own address could pass for an administrator's."""

import pytest

from ganglion.settings import environment
from tests.plans import settings


def warned(**environ: str) -> bool:
    found = environment.notes(environ, settings(**environ))
    return any(note.startswith("GANGLION_ADMIN_NETWORKS has ") for note in found)


@pytest.mark.parametrize(
    "networks",
    [
        "private",
        "127.0.0.1",
        "172.17.0.1",
        "10.0.0.0/8",
        "203.0.113.7, 192.168.0.0/16",
        "100.64.0.0/10",
        "169.254.1.1",
        "fd00::/8",
        "fe80::1",
        "::1",
        "0.0.0.0/0",
        "::/0",
    ],
)
@pytest.mark.parametrize("proxies", ["", "203.0.113.0/24"])
def test_near_networks_without_a_near_proxy(networks: str, proxies: str) -> None:
    assert warned(GANGLION_ADMIN_NETWORKS=networks, TRUSTED_PROXIES=proxies)


@pytest.mark.parametrize(
    ("networks", "proxies"),
    [
        ("", ""),
        ("203.0.113.7", ""),
        ("2001:db8::/32", ""),
        # Everyone is an administrator's network: there is nobody to be mistaken for one.
        ("all", ""),
        ("private", "private"),
        ("private", "127.0.0.1"),
        ("192.168.1.0/24", "172.17.0.1"),
        ("fd00::/8", "fd00::1"),
    ],
)
def test_no_warning(networks: str, proxies: str) -> None:
    assert not warned(GANGLION_ADMIN_NETWORKS=networks, TRUSTED_PROXIES=proxies)


def test_the_warning_names_the_networks_and_the_fix() -> None:
    environ = {"GANGLION_ADMIN_NETWORKS": "203.0.113.7, 10.0.0.0/8"}
    (note,) = environment.notes(environ, settings(**environ))
    assert "has 10.0.0.0/8, where" in note
    assert "set TRUSTED_PROXIES to its network" in note


def test_a_test_server_is_open_anyway() -> None:
    assert not warned(GANGLION_TEST_MODE="yes")
