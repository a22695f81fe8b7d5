"""Answers a request with an error, as both command lines and the SDKs read it."""

import sqlite3
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from local_workspace.errors import ApiError, refusal_of


def to_response(_request: Request | None, error: Exception) -> JSONResponse:
    """The JSON reply to an error."""
    refusal = refusal_of(error)
    reply: dict[str, Any] = {"error_code": refusal.error_code, "message": refusal.message}
    if refusal.reason:
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        reply["details"] = [{"@type": kind, "reason": refusal.reason, "domain": "filesystem.databricks.com"}]
    return JSONResponse(reply, refusal.status)


def add_handlers(app: FastAPI, answer: Callable[[Request, Exception], Response] = to_response) -> None:
    """Have `app` answer errors by `answer`, also those that come from the system."""
    for kind in (ApiError, OSError, sqlite3.OperationalError):
        app.add_exception_handler(kind, answer)
