"""Use cases: authenticate, embed, administer. They know ports, not stores or frameworks."""
