"""The ``embedgate`` command."""
