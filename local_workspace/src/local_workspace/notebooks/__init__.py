"""Notebooks as texts and documents, and the tree in which they lie."""
