"""A server of each preset, started once for all clients."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.harness import Server, free_port
from tests.strangers.programs import Place

REGISTRATION = """\
id: bridge
url: {url}
as_token: {as_token}
hs_token: {hs_token}
sender_localpart: bridgebot
rate_limited: false
receive_ephemeral: true
namespaces:
  users: [{{exclusive: true, regex: "@ghost_.*:localhost"}}]
  aliases: [{{exclusive: true, regex: "#portal_.*:localhost"}}]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A preset, and whether the server is in test mode or as in production."""

    workers: str
    test_mode: str
    # The harness turns experiments on. In production they are off.
    operator_file: str = ""


PRESETS = (
    Preset(workers="complement", test_mode="yes"),
    Preset(workers="full", test_mode="no", operator_file="experimental_features: {}"),
)


@pytest.fixture(scope="session", params=PRESETS, ids=lambda preset: preset.workers)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A running server with the registration of a bridge, which may come and go."""
    preset: Preset = request.param
    with Server(preset.workers, operator_file=preset.operator_file) as server:
        found = Place(
            server=server,
            bridge_port=free_port(),
            maubot_port=free_port(),
            as_token=secrets.token_hex(16),
            hs_token=secrets.token_hex(16),
        )
        registrations = server.root / "registrations"
        registrations.mkdir()
        (registrations / "bridge.yaml").write_text(
            REGISTRATION.format(
                url=f"http://127.0.0.1:{found.bridge_port}",
                as_token=found.as_token,
                hs_token=found.hs_token,
            )
        )
        server.environment |= {
            "GANGLION_TEST_MODE": preset.test_mode,
            "CONTROL_PORT": str(free_port()),
            "SYNAPSE_PUBLIC_BASEURL": server.base_url,
            "SYNAPSE_AS_REGISTRATION_DIR": str(registrations),
        }
        server.start()
        yield found
