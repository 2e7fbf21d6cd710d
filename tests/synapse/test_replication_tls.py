"""Which containers a Synapse process trusts when it asks for replication, in real handshakes."""

from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme
from OpenSSL import SSL

from ganglion.in_synapse.replication_tls import Policy
from tests.certificates import Authority


def made(directory: Path, name: str, *names: str, ca: trustme.CA | None = None) -> Path:
    """Make a certificate and its key, in one file. Without an authority, of one of its own."""
    found = (ca or trustme.CA()).issue_cert(*names)
    path = directory / name
    found.private_key_and_cert_chain_pem.write_to_path(path)
    return path


def verified(policy: Policy, host: str, serves: Path) -> bool:
    """Connect to a server that has a certificate, in memory. Returns whether it is trusted."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_chain_file(str(serves))
    context.use_privatekey_file(str(serves))
    server = SSL.Connection(context)
    server.set_accept_state()

    class Protocol:
        """The side that Twisted's options call back when a name does not fit."""

        failed = False
        # Asked for protocols of ALPN.
        factory = SimpleNamespace(wrappedFactory=None)

        def failVerification(self, _reason: object) -> None:  # noqa: N802 - Twisted's name
            self.failed = True

    protocol = Protocol()
    client = policy.creatorForNetloc(host.encode(), 443).clientConnectionForTLS(protocol)
    client.set_connect_state()
    done: set[SSL.Connection] = set()
    for _ in range(10):
        for each, other in ((client, server), (server, client)):
            try:
                if each not in done:
                    each.do_handshake()
                    done.add(each)
            except SSL.WantReadError:
                pass
            except SSL.Error:
                return False
            with suppress(SSL.WantReadError):
                other.bio_write(each.bio_read(65536))
    return len(done) == 2 and not protocol.failed


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path)


def test_a_certificate_of_the_authority_for_that_host(tmp_path: Path, authority: Authority) -> None:
    own = made(tmp_path, "own", "front", ca=authority.ca)
    writer = made(tmp_path, "writer", "writer1", ca=authority.ca)
    policy = Policy(str(own), str(authority.path))
    assert verified(policy, "writer1", writer)
    assert not verified(policy, "writer2", writer)
    # A process of the same container is reached over loopback.
    assert verified(policy, "127.0.0.1", own)
    assert not verified(policy, "127.0.0.1", writer)
    assert not verified(policy, "writer1", made(tmp_path, "stranger", "writer1"))


def test_without_an_authority_only_the_shared_certificate_is_trusted(
    tmp_path: Path, authority: Authority
) -> None:
    # Not even another one of the authority that signed it.
    own = made(tmp_path, "own", "ganglion", ca=authority.ca)
    policy = Policy(str(own), None)
    assert verified(policy, "any-host", own)
    assert verified(policy, "127.0.0.1", own)
    assert not verified(policy, "ganglion", made(tmp_path, "other", "ganglion", ca=authority.ca))


def test_certificates_above_the_shared_one_are_not_trusted(tmp_path: Path) -> None:
    between = trustme.CA().create_child_ca()
    own = made(tmp_path, "own", "ganglion", ca=between)
    assert own.read_bytes().count(b"BEGIN CERTIFICATE") == 2
    policy = Policy(str(own), None)
    assert verified(policy, "x", own)
    assert not verified(policy, "x", made(tmp_path, "other", "ganglion", ca=between))


def test_an_authority_may_sign_by_another_one(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority")
    writer = made(tmp_path, "writer", "writer1", ca=authority.create_child_ca())
    policy = Policy(str(writer), str(tmp_path / "authority"))
    assert verified(policy, "writer1", writer)


def test_a_renewed_certificate_is_trusted_from_the_next_connection_on(tmp_path: Path) -> None:
    own = made(tmp_path, "own", "ganglion")
    policy = Policy(str(own), None)
    before = tmp_path / "before"
    before.write_bytes(own.read_bytes())
    made(tmp_path, "own", "ganglion")
    assert verified(policy, "x", own)
    assert not verified(policy, "x", before)


def test_synapse_still_has_what_is_replaced() -> None:
    from synapse.app import _base  # noqa: PLC0415 - heavy
    from synapse.http import client  # noqa: PLC0415

    assert callable(client.ReplicationAgent)
    assert callable(_base.listen_ssl)
