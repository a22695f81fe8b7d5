"""The pages' templates."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

_environment = Environment(
    loader=PackageLoader("local_workspace"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


def render(name: str, **values: Any) -> str:
    """Renders the template `name` with `values`."""
    return _environment.get_template(name).render(**values)
