"""The exception of a check that does not apply."""


class Unavailable(Exception):
    """A check cannot be made here, which is no fault by itself. The argument is the reason."""
