"""Describes the workspace's own routes in OpenAPI, read from the code that serves them.

FastAPI knows the paths. What a route takes beyond them it asks of `Fields`, in its own code or in a
function that it hands its fields to: there the names and kinds are read. Settings of jobs and clusters
have the shapes of databricks-sdk.
"""

import ast
import dataclasses
import enum
import functools
import importlib
import inspect
import textwrap
import types
import typing
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.routing import iter_route_contexts

from local_workspace.rest.fields import in_query
from local_workspace.web.access import OWNER_ONLY

Schema = dict[str, Any]

KINDS: dict[str, Schema] = {
    "text": {"type": "string"},
    "integer": {"type": "integer"},
    "natural": {"type": "integer", "minimum": 0},
    "flag": {"type": "boolean"},
    "mapping": {"type": "object"},
    "content": {"type": "string", "format": "byte"},
    "get": {},
}
# Routes whose body as a whole, and fields whose object, has a shape of databricks-sdk.
SETTINGS = {
    "/jobs/create": "jobs.JobSettings",
    "/jobs/runs/submit": "jobs.JobSettings",
    "/clusters/create": "compute.ClusterSpec",
    "/clusters/edit": "compute.ClusterSpec",
}
NESTED = {"new_settings": "jobs.JobSettings", "queue": "jobs.QueueSettings"}
DEPTH_OF_SETTINGS = 3  # a job, its tasks, what a task runs
PLAIN: dict[Any, Schema] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
}


@dataclasses.dataclass(frozen=True)
class Field:
    """One field that a route asks for; `where` is a query's or the one that the method has."""

    name: str
    kind: str
    required: bool
    where: str = ""

    @property
    def schema(self) -> Schema:
        """Its type."""
        return schema_of(_shape(NESTED[self.name])) if self.name in NESTED else KINDS[self.kind]


def router() -> APIRouter:
    """The document, for the owner and the tools that read it."""
    routes = APIRouter()

    @routes.get(f"{OWNER_ONLY}openapi.json", include_in_schema=False)
    def document(request: Request) -> dict[str, Any]:
        return describe(request.app)

    return routes


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of the app's routes that are the workspace's own, without the one for the rest."""
    own = [
        (route, route.endpoint)
        for route in iter_route_contexts(app.routes)
        if _is_own(route.endpoint) and route.include_in_schema
    ]
    with warnings.catch_warnings(action="ignore"):  # one handler of GET and HEAD: the ids are made below
        document: dict[str, Any] = get_openapi(
            title="Local workspace", version="1", routes=[route for route, _ in own]
        )
    for route, endpoint in own:
        fields = list(fields_of(endpoint)) if endpoint else []
        for method in route.methods or ():
            operation = document["paths"][route.path_format][method.lower()]
            operation["operationId"] = f"{method} {route.path_format}"
            _complete(operation, fields, method, str(route.path_format))
    return document


def fields_of(function: Callable[..., Any], given: dict[str, Any] | None = None) -> Iterator[Field]:
    """What a function asks of `fields`, also through the functions it hands them to.

    `given` are the texts that it was called with: `fields.text(name)` is as good as `fields.text("path")`.
    """
    function = inspect.unwrap(function)
    functions = function.__globals__ | dict(inspect.getclosurevars(function).nonlocals)
    for call, is_certain in _calls(function.__code__):
        asked = _asked(call, given or {})
        if asked:
            yield dataclasses.replace(asked, required=asked.required and is_certain)
        elif any(isinstance(argument, ast.Name) and argument.id == "fields" for argument in call.args):
            called = _resolve(call.func, functions)
            if inspect.isfunction(called) and called is not function:
                yield from fields_of(called, _texts(called, call))


@functools.cache
def schema_of(kind: Any, depth: int = DEPTH_OF_SETTINGS) -> Schema:
    """The JSON schema of a dataclass of databricks-sdk, or of the type of one of its fields."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return schema_of(next(argument for argument in arguments if argument is not type(None)), depth)
    if origin is list:
        return {"type": "array", "items": schema_of(arguments[0], depth)}
    if inspect.isclass(kind) and issubclass(kind, enum.Enum):
        return {"type": "string", "enum": [member.value for member in kind]}
    if dataclasses.is_dataclass(kind) and depth:
        hints = typing.get_type_hints(kind)
        return {
            "type": "object",
            "properties": {name: schema_of(hint, depth - 1) for name, hint in hints.items()},
        }
    return PLAIN.get(kind, {"type": "object"})


def _shape(name: str) -> type:
    """A class of databricks-sdk, which is imported when the document is asked for: it takes a second."""
    module, _, kind = name.partition(".")
    found: type = getattr(importlib.import_module(f"databricks.sdk.service.{module}"), kind)
    return found


def _complete(operation: Schema, fields: list[Field], method: str, path: str) -> None:
    reading = method in ("GET", "HEAD", "DELETE")
    in_query = [field for field in fields if reading or field.where == "query"]
    operation.setdefault("parameters", []).extend(
        {"name": field.name, "in": "query", "required": field.required, "schema": field.schema}
        for field in {field.name: field for field in in_query}.values()
    )
    settings = next((_shape(name) for end, name in SETTINGS.items() if path.endswith(end)), None)
    if reading or not (fields or settings):
        return
    content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    if settings or len(in_query) < len(fields):
        content = _body(fields, settings)
    operation["requestBody"] = {"required": True, "content": content}


def _body(fields: list[Field], settings: type | None) -> Schema:
    """An object of the fields and of the settings; a form too if it carries bytes."""
    properties = schema_of(settings)["properties"] if settings else {}
    schema = {
        "type": "object",
        "properties": {field.name: field.schema for field in fields} | properties,
        "required": sorted({field.name for field in fields if field.required}),
    }
    has_bytes = any(field.kind == "content" for field in fields)
    return {name: {"schema": schema} for name in ["application/json"] + ["multipart/form-data"] * has_bytes}


def _is_own(endpoint: Any) -> bool:
    module = getattr(endpoint, "__module__", "")
    return module.startswith("local_workspace.") and not module.endswith(".fallback")


@functools.cache
def _calls(code: types.CodeType) -> list[tuple[ast.Call, bool]]:
    """The calls in a function's code, and whether each is made whenever the function is."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(code)))
    doubtful = [node for node in ast.walk(tree) if isinstance(node, (ast.Lambda, ast.IfExp, ast.If))]
    within = {id(part) for node in doubtful for part in ast.walk(node)}
    return [(node, id(node) not in within) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def _asked(call: ast.Call, given: dict[str, Any]) -> Field | None:
    """The field that `fields.text("path")` or `in_query(request).flag("overwrite")` asks for."""
    function = call.func
    if not isinstance(function, ast.Attribute) or function.attr not in KINDS or not call.args:
        return None
    name = _text(call.args[0], given)
    has_default = len(call.args) > 1 or function.attr in ("flag", "mapping", "content", "get")
    if name and isinstance(function.value, ast.Name) and function.value.id == "fields":
        return Field(name, function.attr, not has_default)
    made = isinstance(function.value, ast.Call) and isinstance(function.value.func, ast.Name)
    if name and made and function.value.func.id == in_query.__name__:  # type: ignore[attr-defined]
        return Field(name, function.attr, not has_default, "query")
    return None


def _texts(function: Callable[..., Any], call: ast.Call) -> dict[str, Any]:
    """The parameters of a function that a call gives a text to."""
    named = zip(inspect.signature(function).parameters, call.args, strict=False)
    return {name: node.value for name, node in named if isinstance(node, ast.Constant)}


def _text(node: ast.expr, given: dict[str, Any]) -> str | None:
    value = node.value if isinstance(node, ast.Constant) else None
    value = given.get(node.id) if isinstance(node, ast.Name) else value
    return value if isinstance(value, str) else None


def _resolve(node: ast.expr, known: dict[str, Any]) -> Any:
    """What a name, or a name in a module, stands for."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return getattr(known.get(node.value.id), node.attr, None)
    return known.get(node.id) if isinstance(node, ast.Name) else None
