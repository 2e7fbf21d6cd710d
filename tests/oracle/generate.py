"""Record which servlets and resources the installed Synapse registers, by kind of process.

This builds the resource trees of main and of workers with Synapse's own listener code, and writes
down each registration. scripts/oracle runs it. The result for the pinned version is checked in next
to this file, and tests/synapse/test_oracle.py compares it with the installed Synapse.
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
# The kinds of process, each with the resources of its HTTP listener and whether it has a media
# repository.
KINDS: dict[str, tuple[tuple[str, ...], bool]] = {
    "main": (("client", "federation"), True),
    "main_without_media": (("client", "federation"), False),
    "client_worker": (("client",), False),
    "federation_worker": (("federation",), False),
    "media_worker": (("client", "media"), True),
}
# Two login methods that exclude each other, with their options.
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
    """Return every experimental feature that is a switch and off by default, switched on."""
    source = Path(str(synapse.config.experimental.__file__)).read_text(encoding="utf-8")
    names = re.findall(r'experimental\.get\(\s*"(\w+)",\s*False\s*,?\s*\)', source)
    # Delegated authentication and rendezvous exclude other options used here.
    return {name: True for name in names if name not in {"msc4108_enabled", "msc4388_mode"}}


def configuration(directory: Path, login: str, *, media: bool, worker: bool) -> HomeServerConfig:
    """Make a configuration of Synapse that switches on everything that registers a servlet."""
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
    """Return the resource tree by path, as Synapse's own listener code builds it."""
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
    """Yield each registration of a tree: method, pattern, servlet, category.

    A resource other than a JsonResource serves every path below its own with any method.
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
    """Return the methods that workers must not serve, according to the servlet's class."""
    module, _, name = servlet.rpartition(".")
    loaded = sys.modules.get(f"synapse.{module}")
    return list(getattr(getattr(loaded, name, None), "WORKERS_DENIED_METHODS", ()))


def served(directory: str, login: str, kind: str) -> list[dict[str, Any]]:
    """Return the registrations of one kind of process."""
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
    """Return every registration of the installed Synapse with its kinds of process."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    fork = multiprocessing.get_context("fork")
    for login in LOGINS:
        with tempfile.TemporaryDirectory() as directory:
            for kind in KINDS:
                # Use a new process for each, because Synapse keeps some state in global variables.
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
