"""Who may come in: clients with the workspace's token, and browsers that signed in with it."""

import hashlib
import hmac
import secrets
import time
from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from local_workspace.templates import render

OPEN_PATHS = ("/health", "/version", "/login", "/local-static/", "/.well-known/")
LINK_SECONDS = 3600


class Keyring:
    """The workspace's token, known only by its hash, and the browsers that were let in with it."""

    def __init__(self, token: str) -> None:
        self._token_hash = _hash(token)
        self._session = hmac.new(token.encode(), b"browser session", "sha256").hexdigest()
        self._links: dict[str, float] = {}

    def fits(self, token: str) -> bool:
        """Whether `token` is the workspace's, compared in constant time."""
        return hmac.compare_digest(_hash(token), self._token_hash)

    def new_link_code(self) -> str:
        """A code that signs one browser in, once, within an hour."""
        code = secrets.token_urlsafe(16)
        self._links[_hash(code)] = time.monotonic() + LINK_SECONDS
        return code

    def take_link_code(self, code: str) -> bool:
        """Whether `code` was given out and is fresh; it is used up by this."""
        return self._links.pop(_hash(code), 0) > time.monotonic()

    @property
    def session(self) -> str:
        """What the cookie of a browser that signed in holds."""
        return self._session

    def admits(self, headers: dict[bytes, bytes], cookie_name: str) -> bool:
        """Whether a request with these headers carries the token or a browser's session."""
        scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if scheme.lower() == "bearer":
            return self.fits(token)
        try:
            cookie = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1")).get(cookie_name)
        except CookieError:
            return False
        return cookie is not None and hmac.compare_digest(cookie.value.encode(), self._session.encode())


class AccessCheck:
    """Refuses what comes without the token: clients with 401 or 403, browsers with the sign-in page."""

    def __init__(self, app: ASGIApp, keyring: Keyring, cookie_name: str) -> None:
        self.app = app
        self.keyring = keyring
        self.cookie_name = cookie_name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or answers it."""
        if scope["type"] != "http" or scope["path"].startswith(OPEN_PATHS):
            return await self.app(scope, receive, send)
        headers = dict(scope["headers"])
        if self.keyring.admits(headers, self.cookie_name):
            return await self.app(scope, receive, send)
        await self._refusal(scope, headers)(scope, receive, send)

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> Response:
        if b"text/html" in headers.get(b"accept", b"") and scope["method"] == "GET":
            return RedirectResponse(f"/login?next={quote(scope['path'])}", status_code=303)
        if b"authorization" in headers:
            return _error(403, "PERMISSION_DENIED", "Invalid access token.")
        return _error(401, "UNAUTHENTICATED", "Credential was not sent or was of an unsupported type.")


def router(keyring: Keyring, cookie_name: str) -> APIRouter:
    """The sign-in page, and the links that sign a browser in."""
    routes = APIRouter()

    @routes.get("/login")
    def sign_in_page(next: str = "/jobs", code: str = "") -> Response:
        if code and keyring.take_link_code(code):
            return _signed_in(next)
        message = "This link was used already or is too old." if code else ""
        return HTMLResponse(render("login.html", next=_own_path(next), message=message))

    @routes.post("/login")
    async def sign_in(request: Request) -> Response:
        form = await request.form()
        if keyring.fits(str(form.get("token", ""))):
            return _signed_in(str(form.get("next", "/jobs")))
        page = render("login.html", next=_own_path(str(form.get("next", ""))), message="The token is wrong.")
        return HTMLResponse(page, status_code=403)

    @routes.post("/api/2.0/local-workspace/sign-in-codes")
    def new_code() -> dict[str, str]:
        return {"code": keyring.new_link_code()}

    def _signed_in(path: str) -> Response:
        answer = RedirectResponse(_own_path(path), status_code=303)
        answer.set_cookie(cookie_name, keyring.session, httponly=True, samesite="lax")
        return answer

    return routes


def _own_path(path: str) -> str:
    """`path` if it leads into this workspace, else its front page: a link must not lead elsewhere."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/jobs"


def _error(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error_code": code, "message": message}, status_code=status)


def _hash(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()
