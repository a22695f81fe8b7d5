"""The pages' templates."""

import hashlib
from typing import Any

from jinja2 import Environment, PackageLoader

_environment = Environment(
    loader=PackageLoader("local_workspace.web"), autoescape=True, trim_blocks=True, lstrip_blocks=True
)


def render(name: str, **values: Any) -> str:
    """Renders the template `name` with `values`."""
    return _environment.get_template(name).render(**values)


def version(shown: str) -> str:
    """A short fingerprint of a piece of a page, by which a browser tells whether it has changed."""
    return hashlib.sha256(str(shown).encode()).hexdigest()[:12]


_environment.filters["version"] = version
