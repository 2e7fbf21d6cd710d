"""A container that cannot run as configured prints the reason and ends."""

from tests.image.engine import container, run

# Loads in main and refuses in workers, as a module of an operator's may.
MODULE = """\
class Picky:
    def __init__(self, config, api):
        if api.worker_name is not None:
            raise RuntimeError("not in a worker")
"""


def test_an_unknown_role_is_named(image: str) -> None:
    answer = run("docker", "run", "--rm", "--env", "WORKERS=synchrotonn", image, check=False)
    assert answer.returncode == 2
    assert answer.stdout == ""
    assert answer.stderr == (
        "ganglion: 1 problem\n"
        "WORKERS='synchrotonn': unknown role 'synchrotonn'\n"
        "    fix: did you mean 'synchrotron'?\n"
    )


def test_an_option_that_synapse_refuses_ends_it(image: str) -> None:
    files = {"10-mistake.yaml": "max_upload_size: plenty\n"}
    with container(image, {"WORKERS": "none"}, operator_files=files) as server:
        assert server.wait_end() == 1
        assert "max_upload_size" in server.log()


def test_a_worker_that_cannot_start_takes_nothing_down(image: str) -> None:
    files = {
        "10-module.yaml": "modules: [{module: picky.Picky, config: {}}]\n",
        "picky.py": MODULE,
    }
    environment = {"WORKERS": "client_reader", "PYTHONPATH": "/data/homeserver.d"}
    with container(image, environment, operator_files=files) as server:
        server.wait_healthy()
        log = server.log()
    assert "not in a worker" in log
    assert "client_reader1 keeps failing; the other programs go on without it" in log
