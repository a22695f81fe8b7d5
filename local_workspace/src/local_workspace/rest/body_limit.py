"""How many bytes one request may carry, counted as they arrive, whatever its header says."""

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from local_workspace.errors import RequestTooLarge
from local_workspace.rest.error_responses import to_response

MEGABYTE = 1024 * 1024
# What is kept in memory while it is read: JSON, which may carry a notebook of 10 MB, and MLflow's requests.
LARGEST_BODY = 32 * MEGABYTE
LARGEST_FORM_OF_A_STRANGER = MEGABYTE // 16
# What goes to disk piece by piece. 5 GiB is the limit of Databricks' Files API.
LARGEST_UPLOAD = 5 * 1024 * MEGABYTE
UPLOADS = (
    "/api/2.0/fs/files/",
    "/api/2.0/workspace-files/import-file/",
    "/api/2.0/mlflow-artifacts/artifacts/",
    "/ajax-api/2.0/mlflow-artifacts/artifacts/",
)
FORMS = ("/api/2.0/dbfs/put", "/api/2.0/workspace/import")


class BodyLimit:
    """Answers 413 to a request whose body is larger than its route takes."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on with a body that ends in an error when it grows too large."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        limit = largest_body(scope["path"], headers.get("content-type", ""))
        announced = headers.get("content-length", "0")
        if announced.isdecimal() and int(announced) > limit:
            return await to_response(None, _too_large(scope, limit))(scope, receive, send)
        arrived = 0

        async def counted() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > limit:
                raise _too_large(scope, limit)
            return message

        try:
            await self.app(scope, counted, send)
        except RequestTooLarge as error:  # read by another middleware, before any handler of errors
            await to_response(None, error)(scope, receive, send)
        except ClientDisconnect:  # nobody is there to be told
            return


def largest_body(path: str, content_type: str) -> int:
    """The most bytes that a request to `path` may carry."""
    if path == "/login":
        return LARGEST_FORM_OF_A_STRANGER
    is_form = path in FORMS and content_type.startswith("multipart/form-data")
    return LARGEST_UPLOAD if is_form or path.startswith(UPLOADS) else LARGEST_BODY


def _too_large(scope: Scope, limit: int) -> RequestTooLarge:
    return RequestTooLarge(
        f"{scope['method']} {scope['path'][:200]} takes at most {limit} bytes in one request"
    )
