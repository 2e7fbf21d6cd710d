"""The secrets of an exported server: the same ones whenever it is exported again."""

from pathlib import Path

from ganglion.data.identity import server_name
from ganglion.data.secrets import kept_text, new_secret, new_signing_key, operators_secret
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.secrets import GENERATED, GIVEN, Secrets
from ganglion.settings.variables import Settings


def secrets_in(directory: Path, settings: Settings, operator: OperatorFiles) -> Secrets:
    """Return the secrets of a server, from the first place that has them.

    These are the variables and the operator's files, the earlier export in `directory`, and the
    data directory. What no place has is generated. Raises ConfigError for an unreadable file.
    """
    values: dict[str, str] = {}
    for name in (*GENERATED, *GIVEN):
        given = operators_secret(operator, name) or getattr(settings, name)
        if name in GIVEN:
            values[name] = given or ""
            continue
        kept = Path(settings.paths.kept_secrets, name)
        values[name] = given or _first(directory / name, kept) or new_secret(settings, name)
    key = Path(settings.paths.signing_key(server_name(settings, operator)))
    values["signing_key"] = (
        operators_secret(operator, "signing_key")
        or settings.signing_key
        or _first(directory / "signing_key", key)
        or new_signing_key()
    )
    return Secrets(**values)


def _first(*paths: Path) -> str:
    """Return the text of the first file that exists; empty without one."""
    for path in paths:
        try:
            text = kept_text(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if text:
            return text
    return ""
