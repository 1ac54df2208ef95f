"""What a batch is: its states, its documents, its input file and its chunks. Pure."""
