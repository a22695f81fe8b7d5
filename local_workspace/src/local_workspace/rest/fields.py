"""What a client sent, wherever it put it: query string, JSON body or multipart form."""

import base64
import binascii
import io
import json
from typing import Annotated, Any, BinaryIO

from fastapi import Depends, Request
from starlette.datastructures import UploadFile

from local_workspace.errors import InvalidParameter, MalformedRequest

TRUE_AND_FALSE = {"true": True, "1": True, "false": False, "0": False, "": False}


class Fields(dict[str, Any]):
    """The fields of one request, read with the looseness of the real service.

    The pip CLI sends ids as strings, truth values as words, and JSON as `text/json`.
    """

    def text(self, name: str, default: str | None = None) -> str:
        """A string; required unless a default is given."""
        value = self.get(name) or default
        if value is None:
            raise InvalidParameter(f"missing required field: {name}; the request has {sorted(self)}")
        if not isinstance(value, str):
            raise InvalidParameter(f"{name} must be text, not {type(value).__name__}")
        return value

    def integer(self, name: str, default: int | None = None) -> int:
        """A whole number, sent as such or as digits; required unless a default is given."""
        value = self.get(name, default)
        if value is None:
            raise InvalidParameter(f"missing required field: {name}; the request has {sorted(self)}")
        if isinstance(value, bool) or not str(value).lstrip("-").isdecimal():
            raise InvalidParameter(f"{name} must be a whole number, not {value!r}")
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
            raise InvalidParameter(f"{name} must be true or false, not {self[name]!r}")
        return TRUE_AND_FALSE[value]

    def texts(self, name: str) -> list[str]:
        """Strings, sent as a list or as one; empty when absent."""
        value = self.get(name, [])
        return [str(item) for item in value] if isinstance(value, list) else [str(value)]

    def mapping(self, name: str) -> dict[str, Any]:
        """An object; empty when absent."""
        value = self.get(name) or {}
        if not isinstance(value, dict):
            raise InvalidParameter(f"{name} must be an object, not {value!r}")
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


async def _read(request: Request) -> Fields:
    if request.method in ("GET", "HEAD") or (request.method == "DELETE" and not await request.body()):
        return in_query(request)
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        return Fields(await request.form())
    try:
        # The header does not matter: the pip CLI says text/json.
        body = json.loads(await request.body() or b"{}")
    except ValueError as error:
        raise MalformedRequest(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise MalformedRequest(f"the body must be a JSON object, not {body!r}")
    return Fields(body)


RequestFields = Annotated[Fields, Depends(_read)]
