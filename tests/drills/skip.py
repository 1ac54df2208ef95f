"""What cannot be drilled on this machine."""


class Skip(Exception):
    """The message says why."""
