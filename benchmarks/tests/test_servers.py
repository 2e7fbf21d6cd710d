"""The servers that are compared, and the options that choose them."""

import argparse

import pytest

from benchmarks import servers, variants


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    variants.add_arguments(parser)
    servers.add_arguments(parser)
    return parser.parse_args(words)


def test_the_last_timeline_of_a_log_is_used() -> None:
    log = (
        "supervisor | INFO everything runs after 3.70 s: boot 1.00, main 2.70\n"
        "main | everything is fine\n"
        "supervisor | INFO everything runs after 2.23 s: boot 1.53, pre-load 0.54, main 0.16\n"
    )
    assert servers.timeline(log) == {"boot": 1.53, "pre-load": 0.54, "main": 0.16, "total": 2.23}
    assert servers.timeline("nothing of the kind\n") == {}


def test_listeners_come_from_the_output_of_check() -> None:
    checked = '{"processes": [{"name": "main", "address": "unix:/run/main.sock"}], "notes": []}'
    assert servers.addresses(checked) == ["unix:/run/main.sock"]


def test_the_default_comparison_is_the_launch_modes_and_main_alone() -> None:
    labels = [variant.label for variant in variants.chosen(options())]
    assert labels == ["complement", "GANGLION_PREFORK=no", "none"]
    assert [each.label for each in variants.chosen(options("--only"))] == ["complement"]
    assert [each.label for each in variants.chosen(options("--workers", "none"))] == [
        "none",
        "GANGLION_PREFORK=no",
    ]


def test_changes_apply_to_the_first_layout() -> None:
    words = ("--workers", "small", "--workers", "full", "--with", "A=1 B='x y'")
    small, changed, full = variants.chosen(options(*words))
    assert small.variables == {"WORKERS": "small"}
    assert changed.variables == {"WORKERS": "small", "A": "1", "B": "x y"}
    assert full.variables == {"WORKERS": "full"}
    with pytest.raises(ValueError, match="NAME is not NAME=VALUE"):
        variants.assignments("NAME")


def test_a_peer_has_only_the_roles_of_the_first_layout() -> None:
    ours, peer = variants.chosen(options("--peer", "theirs"))
    assert (ours.label, ours.peer) == ("complement", None)
    assert (peer.label, peer.peer) == ("Synapse's own image", "theirs")
    assert peer.variables == {"WORKERS": "complement"}
    words = ("--only", "--with", "A=1", "--workers", "small", "--workers", "none", "--peer", "x")
    labels = [variant.label for variant in variants.chosen(options(*words))]
    assert labels == ["small", "A=1", "none", "Synapse's own image"]
    grown = variants.grown(peer, 2)
    assert (grown.peer, grown.variables) == ("theirs", {"WORKERS": "client_reader:2"})


def test_a_peer_has_one_listener_for_main_and_one_for_each_worker() -> None:
    roles = servers.peer_roles("complement")
    assert roles[0] == "event_persister:2"
    assert roles[-1] == "stream_writers=account_data+presence+receipts+to_device+typing"
    assert servers.peer_ports(roles) == [8080, *range(18009, 18025)]
    assert servers.peer_roles("client_reader:2, pusher") == ["client_reader:2", "pusher"]
    assert servers.peer_roles("none") == []
    assert servers.peer_ports([]) == [8080]


def test_a_result_names_the_image_of_the_peer() -> None:
    beside = options("--peer", "theirs:1", "--image", "ours")
    assert servers.images(beside) == ["ours", "theirs:1"]
    assert "Synapse's own image is theirs:1 on the machine" in servers.note(beside)
    assert servers.note(options()) == ""
    assert servers.images(options("--native")) == []


def test_a_peer_cannot_be_compared_with_native_programs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        options("--native", "--peer", "theirs")
    assert "argument --peer: not allowed with argument --native" in capsys.readouterr().err


def test_every_second_round_runs_in_reverse_order() -> None:
    one, two = variants.chosen(options("--workers", "none"))
    assert variants.turns((one, two), 3) == [one, two, two, one, one, two]
