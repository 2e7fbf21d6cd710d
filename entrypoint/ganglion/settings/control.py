"""The variables of the control port."""

from dataclasses import dataclass

from ganglion.settings import parsers
from ganglion.settings.backups import BackupSettings
from ganglion.settings.variable import row


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSettings(BackupSettings):
    """The rows of Settings for the control port."""

    control: bool = row(
        "GANGLION_CONTROL",
        parsers.boolean,
        True,
        "Whether the control application runs, which answers at CONTROL_PORT: docs/monitoring.md."
        " In test mode it always does.",
    )
    control_port: int = row(
        "CONTROL_PORT",
        parsers.port,
        9469,
        "The port of the control application and of `/metrics/NAME` (if metrics are on)."
        " Do not expose it to the public.",
    )
    control_bind_address: str = row(
        "CONTROL_BIND_ADDRESS",
        parsers.bind_address,
        "127.0.0.1",
        "The address that CONTROL_PORT listens on. In a container, `*` makes it one that"
        " `docker run -p` publishes and other containers reach.",
    )
    control_hosts: tuple[str, ...] = row(
        "CONTROL_HOSTS",
        parsers.hosts,
        tuple[str, ...](),
        "Further host names, with commas, by which requests to CONTROL_PORT may name it. IP"
        " addresses and names without a dot are always accepted.",
        shown_default="none",
    )
    control_token: str | None = row(
        "CONTROL_TOKEN",
        parsers.secret,
        None,
        "The token that requests to CONTROL_PORT must send, as `Authorization: Bearer TOKEN` or as"
        " the password of HTTP Basic; `/live` answers without it. Test controls do not use it.",
        secret=True,
        shown_default="none",
    )
