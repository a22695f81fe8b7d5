"""Processes that the workspace starts: how they are found again, and how they end."""
