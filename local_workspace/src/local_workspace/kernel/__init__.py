"""What executes a notebook: the process of a run, and what its kernel offers."""
