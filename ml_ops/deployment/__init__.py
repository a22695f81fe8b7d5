"""Deploys the project to a workspace and runs its jobs: what is more than a line of the Makefile."""
