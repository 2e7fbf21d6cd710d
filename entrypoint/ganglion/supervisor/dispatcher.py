"""Base class for other file descriptors in supervisord's event loop."""


class Reader:
    """A dispatcher that is only read from, for as long as the supervisor runs."""

    closed = False
    ended = False

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def handle_error(self) -> None:
        """Raise the current exception; supervisord calls this in an `except` block."""
        raise  # noqa: PLE0704 - the exception being handled
