"""Redis and files behind the core's ports."""
