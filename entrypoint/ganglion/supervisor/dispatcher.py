"""The shape of one of supervisord's dispatchers, for what its loop is to watch beside programs."""


class Reader:
    """Something that is only read from, as long as the supervisor runs."""

    closed = False

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def handle_error(self) -> None:
        """supervisord calls this in an except block: let the error be seen."""
        raise  # noqa: PLE0704 - the exception being handled
