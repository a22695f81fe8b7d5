"""The one Spark of the workspace, and the ways into it."""
