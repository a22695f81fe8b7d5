"""What a client sent, wherever it put it: query string, JSON body or multipart form."""

import base64
import binascii
import io
import json
import re
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from fastapi import Depends, Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from local_workspace.errors import InvalidParameter, MalformedRequest
from local_workspace.store.state import StateFolder

DEEPEST_JSON = 100  # as in protobuf's JSON, which the real service reads
WHOLE_NUMBER = re.compile(r"-?[0-9]{1,19}")
TRUE_AND_FALSE = {"true": True, "1": True, "false": False, "0": False, "": False}


class Fields(dict[str, Any]):
    """The fields of one request, read with the looseness of the real service.

    The pip CLI sends ids as strings, truth values as words, and JSON as `text/json`.
    """

    def text(self, name: str, default: str | None = None) -> str:
        """A string; required unless a default is given."""
        value = self.get(name) or default
        if value is None:
            raise InvalidParameter(f"missing required field: {name}; the request has {_brief(sorted(self))}")
        if not isinstance(value, str):
            raise InvalidParameter(f"{name} must be text, not {type(value).__name__}")
        return value

    def integer(self, name: str, default: int | None = None) -> int:
        """A whole number, sent as such or as digits; required unless a default is given."""
        value = self.get(name, default)
        if value is None:
            raise InvalidParameter(f"missing required field: {name}; the request has {_brief(sorted(self))}")
        is_number = not isinstance(value, bool) and WHOLE_NUMBER.fullmatch(str(value))
        if not is_number or not -(2**63) <= int(value) < 2**63:
            raise InvalidParameter(f"{name} must be a whole number of 64 bits, not {_brief(value)}")
        return int(value)

    def natural(self, name: str, default: int | None = None) -> int:
        """A whole number that is not negative."""
        value = self.integer(name, default)
        if value < 0:
            raise InvalidParameter(f"{name} must not be negative, but is {value}")
        return value

    def flag(self, name: str) -> bool:
        """A truth value, sent as such or as a word; False when absent."""
        value = str(self.get(name, "")).lower()
        if value not in TRUE_AND_FALSE:
            raise InvalidParameter(f"{name} must be true or false, not {_brief(self[name])}")
        return TRUE_AND_FALSE[value]

    def texts(self, name: str) -> list[str]:
        """Strings, sent as a list or as one; empty when absent."""
        value = self.get(name, [])
        return [str(item) for item in value] if isinstance(value, list) else [str(value)]

    def mapping(self, name: str) -> dict[str, Any]:
        """An object; empty when absent."""
        value = self.get(name) or {}
        if not isinstance(value, dict):
            raise InvalidParameter(f"{name} must be an object, not {type(value).__name__}")
        return value

    def content(self, name: str) -> BinaryIO:
        """Bytes, sent as a file of a form or as base64; empty when absent."""
        value = self.get(name, "")
        if isinstance(value, UploadFile):
            return value.file
        try:
            return io.BytesIO(base64.b64decode(value, validate=True))
        except (binascii.Error, TypeError, ValueError) as error:
            raise InvalidParameter(f"{name} is not base64: {error}") from error


def in_query(request: Request) -> Fields:
    """The fields of the query string; one that is given several times is a list."""
    fields = Fields()
    for name, value in request.query_params.multi_items():
        fields[name] = value if name not in fields else [*fields.texts(name), value]
    return fields


async def received(request: Request, state: StateFolder) -> Path:
    """The request's body as a temporary file, so that a broken upload leaves nothing at its target."""
    temporary, complete = state.make_file(), False
    try:
        with temporary.open("wb") as file:
            async for part in request.stream():
                file.write(part)
        complete = True
    finally:
        if not complete:
            temporary.unlink()
    return temporary


async def _read(request: Request) -> Fields:
    if request.method in ("GET", "HEAD") or (request.method == "DELETE" and not await request.body()):
        return in_query(request)
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        try:
            return Fields(await request.form())
        except HTTPException as error:
            raise MalformedRequest(f"the form cannot be read: {error.detail}") from error
    # The header does not matter: the pip CLI says text/json.
    return Fields(read_json_object(await request.body()))


def read_json_object(body: bytes) -> dict[str, Any]:
    """A JSON object that can be stored and sent back: not too deep, without NaN, its text real text."""
    try:
        value = json.loads(body or b"{}", parse_constant=_refuse_constant)
        depth = _depth(value)
    except RecursionError as error:
        raise MalformedRequest(f"the body is nested deeper than {DEEPEST_JSON} levels") from error
    except ValueError as error:
        raise MalformedRequest(f"the body is not JSON: {error}") from error
    if depth > DEEPEST_JSON:
        raise MalformedRequest(f"the body is nested deeper than {DEEPEST_JSON} levels")
    if not isinstance(value, dict):
        raise MalformedRequest(f"the body must be a JSON object, not {type(value).__name__}")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _depth(value: Any) -> int:
    """How deep lists and objects are nested; text that has no UTF-8 (half a surrogate pair) is refused."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError("half a surrogate pair is no text") from error
    if isinstance(value, dict):
        return 1 + max((_depth(item) for pair in value.items() for item in pair), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


def _brief(value: Any) -> str:
    """A value as an error names it: never a whole upload."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}… ({len(text)} characters)"


RequestFields = Annotated[Fields, Depends(_read)]
