"""The memory that the processes of one server share, which is why they are forked."""

import re
from pathlib import Path

from benchmarks.usage import programs
from tests.image.engine import CLIENT_ENVIRONMENT, container, docker

PYTHON = "/opt/ganglion/venv/bin/python"
AUTHORITIES = "/etc/ssl/certs"
# Also objects that the garbage collector does not track: a text, constants.
IMMORTAL = """
import sys
from ganglion.supervisor.fork import immortal, preload
preload.preload()
before = sys.getrefcount(preload.preload.__code__)
immortal.prepare_shared_memory()
import synapse.util.stringutils as example
items = (example, example.__dict__, example.random_string, example.random_string.__code__,
         example.random_string.__code__.co_consts, example.__file__)
counts = [sys.getrefcount(item) for item in items]
print(before < 2**30, all(count == 2**32 - 1 for count in counts), len(items))
"""


def test_workers_share_imported_modules(image: str) -> None:
    with container(image, {**CLIENT_ENVIRONMENT, "WORKERS": "client_reader:3"}) as server:
        server.wait_healthy()
        found = programs(server.inspect()["State"]["Pid"])
        workers = [program for program in found if program.name.startswith("client_reader")]
        assert len(workers) == 3
        for worker in workers:
            # From outside: inside, not even root may look at another account's memory.
            rollup = Path(f"/proc/{worker.pid}/smaps_rollup").read_text()
            private = kilobytes(rollup, r"Private_\w+")
            print(f"{worker.name} has {private} kB of its own")
            # It is about 15 MB of 100 MB; with a Python of its own, nearly all would be private.
            assert 0 < private < kilobytes(rollup, "Rss") / 2, worker.name


def kilobytes(rollup: str, name: str) -> int:
    """The sum of the lines with such a name in the text of smaps_rollup."""
    return sum(map(int, re.findall(rf"^{name}:\s+(\d+) kB", rollup, re.MULTILINE)))


def test_objects_of_every_kind_are_immortal(image: str) -> None:
    said = docker("run", "--rm", "--entrypoint", PYTHON, image, "-P", "-c", IMMORTAL)
    assert said.split() == ["True", "True", "6"]


# Checks that the directory has every authority of the file.
LOOK_UP = """
import os, re
os.environ["SSL_CERT_DIR"] = "/etc/ssl/certs"
from OpenSSL import SSL, crypto
context = SSL.Context(SSL.TLS_CLIENT_METHOD)
context.set_default_verify_paths()
store = context.get_cert_store()
text = open("/etc/ssl/certs/ca-certificates.crt").read()
found = re.findall("-----BEGIN.+?END CERTIFICATE-----", text, re.DOTALL)
for pem in found:
    certificate = crypto.load_certificate(crypto.FILETYPE_PEM, pem.encode())
    try:
        crypto.X509StoreContext(store, certificate).verify_certificate()
    except crypto.X509StoreContextError as error:
        # It was found, or it would be an unknown one: "self-signed certificate".
        assert "expired" in str(error), error
print(len(found))
"""


def test_authorities_are_looked_up_unless_the_file_was_changed(image: str) -> None:
    conf, setting = "/run/ganglion/conf/supervisord.conf", f'SSL_CERT_DIR="{AUTHORITIES}"'
    with container(image, {**CLIENT_ENVIRONMENT, "WORKERS": "none"}) as server:
        server.wait_healthy()
        assert setting in server.inside("cat", conf).stdout
        looked_up = server.inside(PYTHON, "-P", "-W", "ignore", "-c", LOOK_UP).stdout
        assert int(looked_up) > 100
        bundle = server.inside("cat", f"{AUTHORITIES}/ca-certificates.crt").stdout
        server.stop()
        server.put(AUTHORITIES, {"ca-certificates.crt": f"{bundle}\n"})
        server.start()
        server.wait_healthy()
        assert setting not in server.inside("cat", conf).stdout
