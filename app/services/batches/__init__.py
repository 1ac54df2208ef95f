"""Batches: validate, work off in chunks, charge by the line, merge, tell."""
