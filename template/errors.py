"""What can be wrong with a wish for a project; each message says what and carries the values."""


class TemplateError(Exception):
    """A project cannot be made, or cannot take in a newer template, for this reason."""
