"""Registration of users with a running server."""

import hashlib
import hmac
import http.client
import json

from ganglion.control.client import not_running, read_secret, request
from ganglion.errors import ConfigError, Problem
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Topology

PATH = "/_synapse/admin/v1/register"


def register_user(
    settings: Settings, topology: Topology, name: str, password: str, *, admin: bool
) -> str:
    """Register a user with the registration shared secret, and return the user ID.

    https://element-hq.github.io/synapse/latest/admin_api/register_api.html

    Raises ConfigError if no server runs, or if Synapse rejects the user.
    """
    secret = read_secret(settings, "registration_shared_secret")
    try:
        _, answer = request(topology.main.http, "GET", PATH)
        nonce = json.loads(answer)["nonce"]
        parts = (nonce, name, password, "admin" if admin else "notadmin")
        mac = hmac.new(secret.encode(), "\x00".join(parts).encode(), hashlib.sha1)
        body = {
            "nonce": nonce,
            "username": name,
            "password": password,
            "admin": admin,
            "mac": mac.hexdigest(),
        }
        code, answer = request(topology.main.http, "POST", PATH, body)
    except (OSError, http.client.HTTPException) as error:
        raise not_running(settings, str(error)) from error
    result = json.loads(answer)
    if code != 200:
        raise ConfigError(
            [
                Problem(
                    variable="NAME",
                    value=name,
                    message=f"cannot be registered: {result.get('error', answer)}",
                    hint="choose another name"
                    if result.get("errcode") == "M_USER_IN_USE"
                    else "see the log of main; if your homeserver.yaml sets"
                    " registration_shared_secret, set SYNAPSE_REGISTRATION_SHARED_SECRET to it",
                )
            ]
        )
    return str(result["user_id"])
