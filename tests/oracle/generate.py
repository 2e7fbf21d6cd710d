"""Ask the installed Synapse what it serves: every servlet and resource, by kind of process.

Builds the resource trees that main and workers would listen with, out of Synapse's own listener
code, and writes down each registration. Run by scripts/oracle; the result for the pinned version is
checked in beside this file, and tests/synapse/test_oracle.py compares it with what is installed.
"""

import json
import logging
import multiprocessing
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import synapse.app.generic_worker
import synapse.app.homeserver
import synapse.config.experimental
from signedjson.key import encode_signing_key_base64, generate_signing_key
from synapse.config.homeserver import HomeServerConfig
from synapse.http.server import JsonResource

HERE = Path(__file__).resolve().parent
# The kinds of process that Ganglion makes, each with the resources of its HTTP listener and
# whether it has a media repository.
KINDS: dict[str, tuple[tuple[str, ...], bool]] = {
    "main": (("client", "federation"), True),
    "main_without_media": (("client", "federation"), False),
    "client_worker": (("client",), False),
    "federation_worker": (("federation",), False),
    "media_worker": (("client", "media"), True),
}
# Two ways to log in that exclude each other, with what belongs to them.
LOGINS: dict[str, dict[str, Any]] = {
    "synapse": {
        "oidc_providers": [
            {
                "idp_id": "test",
                "idp_name": "test",
                "discover": False,
                "issuer": "https://idp.example/",
                "client_id": "test",
                "client_secret": "test",
                "authorization_endpoint": "https://idp.example/authorize",
                "token_endpoint": "https://idp.example/token",
                "jwks_uri": "https://idp.example/jwks",
                "userinfo_endpoint": "https://idp.example/userinfo",
                "backchannel_logout_enabled": True,
            }
        ],
        "cas_config": {"enabled": True, "server_url": "https://cas.example/"},
        "login_via_existing_session": {"enabled": True},
        "email": {"smtp_host": "localhost", "notif_from": "a@example.org"},
    },
    "mas": {
        "matrix_authentication_service": {
            "enabled": True,
            "endpoint": "http://localhost:8080/",
            "secret": "test",
        },
        "password_config": {"enabled": False},
    },
}


def experimental_features() -> dict[str, bool]:
    """Every experimental feature that is a switch and off by default, switched on."""
    source = Path(str(synapse.config.experimental.__file__)).read_text(encoding="utf-8")
    names = re.findall(r'experimental\.get\(\s*"(\w+)",\s*False\s*,?\s*\)', source)
    # Delegated authentication and rendezvous exclude other things that are asked for here.
    return {name: True for name in names if name not in {"msc4108_enabled", "msc4388_mode"}}


def configuration(directory: Path, login: str, *, media: bool, worker: bool) -> HomeServerConfig:
    """Synapse's configuration with everything on that registers a servlet."""
    key = generate_signing_key("test")
    values: dict[str, Any] = {
        "server_name": "localhost",
        "public_baseurl": "https://localhost/",
        "database": {
            "name": "sqlite3",
            "args": {"database": str(directory / "homeserver.db")},
        },
        "signing_key": f"{key.alg} {key.version} {encode_signing_key_base64(key)}",
        "media_store_path": str(directory / "media"),
        "enable_media_repo": media,
        "url_preview_enabled": True,
        "url_preview_ip_range_blacklist": ["127.0.0.0/8"],
        "dynamic_thumbnails": True,
        "serve_server_wellknown": True,
        "federation_whitelist_endpoint_enabled": True,
        "trusted_key_servers": [],
        "retention": {"enabled": True},
        "experimental_features": experimental_features(),
        **LOGINS[login],
    }
    if worker:
        values |= {
            "worker_app": "synapse.app.generic_worker",
            "worker_name": "worker1",
            "instance_map": {"main": {"host": "127.0.0.1", "port": 1}},
            "redis": {"enabled": True},
        }
    config = HomeServerConfig()
    config.parse_config_dict(values, "", "")
    return config


def resources(
    directory: Path, login: str, names: tuple[str, ...], *, media: bool, worker: bool
) -> Mapping[str, Any]:
    """The resource tree's paths, as Synapse's own listener makes it."""
    config = configuration(directory, login, media=media, worker=worker)
    app: Any = synapse.app.generic_worker if worker else synapse.app.homeserver
    listener_type = {
        "type": "http",
        "port": 1,
        "resources": [{"names": list(names)}],
    }
    listener = synapse.config.server.parse_listener_def(0, listener_type)
    seen: dict[str, Any] = {}

    def keep(tree: dict[str, Any], _root: object) -> None:
        seen.update(tree)

    app.create_resource_tree = keep
    hs = app.create_homeserver(config)
    hs.setup()
    if worker:
        app._base.listen_http = lambda *_args, **_keywords: []
        hs._listen_http(listener)
    else:
        app.listen_http = lambda *_args, **_keywords: []
        hs._listener_http(config, listener)
    return seen


def registrations(tree: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str | None]]:
    """Each registration of a tree: method, pattern, servlet, category.

    A resource that is no JsonResource serves everything below its path by any method.
    """
    for path, resource in tree.items():
        if not isinstance(resource, JsonResource):
            yield "*", f"^{re.escape(path)}(/|$)", type(resource).__name__, None
            continue
        for pattern, methods in resource._routes.items():
            for method, entry in methods.items():
                callback = getattr(entry.callback, "__wrapped__", entry.callback)
                servlet = callback.__self__.__class__
                yield (
                    method.decode(),
                    pattern.pattern,
                    f"{servlet.__module__.removeprefix('synapse.')}.{servlet.__name__}",
                    getattr(servlet, "CATEGORY", None),
                )


def denied(servlet: str) -> list[str]:
    """The methods that a servlet's class says a worker must not take."""
    module, _, name = servlet.rpartition(".")
    loaded = sys.modules.get(f"synapse.{module}")
    return list(getattr(getattr(loaded, name, None), "WORKERS_DENIED_METHODS", ()))


def served(directory: str, login: str, kind: str) -> list[dict[str, Any]]:
    """What one kind of process serves."""
    logging.disable(logging.CRITICAL)
    names, media = KINDS[kind]
    tree = resources(Path(directory), login, names, media=media, worker=kind.endswith("_worker"))
    return [
        {
            "method": method,
            "pattern": pattern,
            "servlet": servlet,
            "category": category,
            "denied_on_workers": method in denied(servlet),
        }
        for method, pattern, servlet, category in registrations(tree)
    ]


def oracle() -> dict[str, Any]:
    """Everything the installed Synapse serves, and by which kinds of process."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    fork = multiprocessing.get_context("fork")
    for login in LOGINS:
        with tempfile.TemporaryDirectory() as directory:
            for kind in KINDS:
                # Each in a process of its own: Synapse keeps some of this in global variables.
                with fork.Pool(1) as pool:
                    found = pool.apply(served, (directory, login, kind))
                for item in found:
                    key = (item["pattern"], item["method"])
                    kinds = rows.setdefault(key, item | {"served_by": []})["served_by"]
                    if kind not in kinds:
                        kinds.append(kind)
    return {
        "synapse": version("matrix-synapse"),
        "registrations": [rows[key] for key in sorted(rows)],
    }


if __name__ == "__main__":
    found = oracle()
    text = json.dumps(found, indent=1) + "\n"
    if "--stdout" in sys.argv:
        sys.stdout.write(text)
    else:
        target = HERE / f"synapse-{found['synapse']}.json"
        target.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{len(found['registrations'])} registrations in {target.name}\n")
