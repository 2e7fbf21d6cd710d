"""Secrets in log lines."""

import pytest

from ganglion.logs.redact import Known, redacted

SECRET = "c2VjcmV0LXZhbHVl"


@pytest.mark.parametrize(
    "line",
    [
        f'client: 1.2.3.4, request: "GET /sync?access_token={SECRET}&filter=x HTTP/1.1", host: "a"',
        f'upstream: "http://unix:/x:/sync?since=1&access_token={SECRET}"',
        f"GET /?ACCESS_TOKEN={SECRET} HTTP/1.1",
        f"/login/sso?loginToken={SECRET}",
        f"GET /register/m.login.registration_token/validity?token={SECRET} HTTP/1.1",
        f"GET /_synapse/client/oidc/callback?state=x&code={SECRET} HTTP/1.1",
        f"GET /_matrix/client/r0/login/cas/ticket?ticket={SECRET}&x=y HTTP/1.1",
        f"Authorization: Bearer {SECRET}",
        f"{{'authorization': 'Bearer {SECRET}'}}",
        f"(b'Authorization', [b'Bearer {SECRET}'])",
        f"bearer  {SECRET}",
        f'{{"type": "m.login.password", "password": "{SECRET}"}}',
        f'{{"password": "a\\"{SECRET}"}}',
        f"{{'new_password': '{SECRET}'}}",
        f"password={SECRET}",
        f"password='a b {SECRET}'",
        f"registration_shared_secret: {SECRET}",
        f'registration_shared_secret: "{SECRET}"',
        f"macaroon_secret_key={SECRET}",
        f'"mac": "{SECRET}"',
        f"unknown token syt_YWxpY2U_{SECRET}_1a2B3c",
        f"token syr_{SECRET}_1a2B3c",
        f"token mat_{SECRET}",
        f"token MDAx{SECRET * 4}",
        f'X-Matrix origin="a",key="ed25519:1",sig="{SECRET}"',
    ],
)
def test_no_secret_is_left(line: str) -> None:
    found = redacted(line.encode())
    assert SECRET.encode() not in found
    assert b"<redacted>" in found


def test_the_rest_of_a_line_stays() -> None:
    line = f'request: "GET /sync?access_token={SECRET}&filter=x HTTP/1.1", host: "a"'
    expected = b'request: "GET /sync?access_token=<redacted>&filter=x HTTP/1.1", host: "a"'
    assert redacted(line.encode()) == expected


@pytest.mark.parametrize(
    "line",
    [
        b"main | Processed request: 0.01sec GET /_matrix/client/v3/sync?since=s1 HTTP/1.1 200",
        b"Got a new password policy for bearer of news",
        b"\xff\xfe not text",
        b"",
    ],
)
def test_a_line_without_secrets_stays_as_it_is(line: bytes) -> None:
    assert redacted(line) == line


def test_a_known_secret_is_removed_wherever_it_stands() -> None:
    known = Known()
    known.add(["s3cret-of-postgres", "s3cret-of-postgres-2"])
    assert known.redacted(b"/a/s3cret-of-postgresx s3cret-of-postgres-2") == (
        b"/a/<redacted>x <redacted>"
    )


def test_a_secret_that_is_a_word_is_left_in_names() -> None:
    known = Known()
    known.add(["replication"])
    for line in (
        b"synapse.replication.tcp.client - POST /_synapse/replication/send_events/x",
        b"sockets/main.replication.sock",
    ):
        assert known.redacted(line) == line
    for line in (
        b"'replication'",
        b"postgresql://synapse:replication@db/synapse",
        b"(replication)",
    ):
        assert known.redacted(line) == line.replace(b"replication", b"<redacted>")
