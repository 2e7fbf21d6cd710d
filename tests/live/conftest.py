"""Fixtures of the live tests."""

from collections.abc import Iterator

import pytest

from tests.certificates import Authority
from tests.harness import Server

# Two million bytes are quickly sent, and no limit of a program in between.
UPLOAD_LIMIT = 2_000_000
SINGLE_SIGN_ON = """\
cas_config: {enabled: true, server_url: "https://cas.invalid"}
"""


@pytest.fixture(scope="session")
def small(authority: Authority) -> Iterator[Server]:
    """A server of the preset `small` with TLS, for all tests that do not change it."""
    with Server("small", operator_file=SINGLE_SIGN_ON) as server:
        certificate, key = authority.issue(server.root)
        server.environment |= {
            "SYNAPSE_TLS_CERT": str(certificate),
            "SYNAPSE_TLS_KEY": str(key),
            "SYNAPSE_PUBLIC_BASEURL": server.tls_url,
            "SYNAPSE_MAX_UPLOAD_SIZE": str(UPLOAD_LIMIT),
        }
        server.start()
        yield server
