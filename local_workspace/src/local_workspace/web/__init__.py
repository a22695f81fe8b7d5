"""The pages, who may see them, and the description of the REST API."""
