"""Makes a project of its own from this repository, and brings a newer template into one that was made."""
