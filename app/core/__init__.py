"""The pure domain: no I/O, no framework; time, randomness and ids come in as arguments."""
