"""The HTTP contract: routes, wire models, and the one mapping from errors to answers."""
