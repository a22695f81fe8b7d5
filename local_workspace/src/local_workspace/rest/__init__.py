"""The REST API of a workspace: one module a service, each with `router(...)`."""
