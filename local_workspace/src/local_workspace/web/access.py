"""Who may come in: clients with the workspace's token, its runs with theirs, and browsers that signed in."""

import hashlib
import hmac
import secrets
import time
from collections import deque
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from local_workspace.callers import USER_NAME, asked_by
from local_workspace.errors import PermissionDenied, Unauthenticated
from local_workspace.rest.error_responses import to_response
from local_workspace.spark import spark_rights
from local_workspace.store.profile import PROOF, proof, proof_key
from local_workspace.web.templates import render

OPEN_PATHS = ("/health", "/login", "/.well-known/databricks-config", PROOF)
OPEN_FOLDER = "/local-static/"
# Who asks for what is open to everybody.
NOBODY = ""
OWNER_ONLY = "/api/2.0/local-workspace/"
# The names of this machine; any other in `Host` is a page elsewhere whose name was made to lead here.
HOST_NAMES = ("127.0.0.1", "localhost", "::1")
READING = ("GET", "HEAD", "OPTIONS")
LINK_SECONDS = 3600
SESSION_SECONDS = 7 * 24 * 3600
FAILURES_PER_MINUTE = 10
OWNERS_PAGES = "These pages are for whoever started the workspace, with the token of its own."
NO_CREDENTIAL = "Credential was not sent or was of an unsupported type."

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# Only the workspace's own scripts: what a notebook shows must not act for the person who looks at it. Other
# addresses of the workspace serve what runs have written, so that 'self' would be too much.
CONTENT_POLICY = (
    "default-src 'none'; script-src http://{host}{scripts}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; connect-src 'self'; frame-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'self'"
)
# What MLflow serves of the files that runs have written acts for nobody, also when it is opened by itself.
FILE_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class Keyring:
    """The workspace's token, known only by its hash, and what was let in with it."""

    def __init__(self, token: str, host: str) -> None:
        self._token_hash = _hash(token)
        self._proof_key = proof_key(token)
        self._host = host
        self._sessions: dict[str, float] = {}
        self._run_key = secrets.token_bytes(32)
        self._links: dict[str, float] = {}
        self._failures: deque[float] = deque(maxlen=FAILURES_PER_MINUTE)

    def fits(self, token: str) -> bool:
        """Whether `token` is the workspace's, compared in constant time."""
        return hmac.compare_digest(_hash(token), self._token_hash)

    def answer(self, challenge: str) -> str:
        """What shows a client that this server knows the token."""
        return proof(self._proof_key, self._host, challenge)

    def run_token(self, run_id: int) -> str:
        """The token of one run, of this server alone; whether the run is still alive is asked at each use."""
        return f"run-{run_id}-{_sign(self._run_key, str(run_id))}"

    def spark_token(self) -> str:
        """The token with which Spark asks for the rights of its users, and nothing else."""
        return f"spark-{_sign(self._run_key, 'spark')}"

    def run_of(self, token: str) -> str | None:
        """The id of the run that `token` was made for, or None."""
        kind, _, rest = token.partition("-")
        run_id, _, signature = rest.partition("-")
        return run_id if kind == "run" and _same(signature, _sign(self._run_key, run_id)) else None

    def new_link_code(self) -> str:
        """A code that signs one browser in, once, within an hour."""
        code = secrets.token_urlsafe(16)
        self._links[_hash(code)] = time.monotonic() + LINK_SECONDS
        return code

    def take_link_code(self, code: str) -> bool:
        """Whether `code` was given out and is fresh; it is used up by this."""
        return self._links.pop(_hash(code), 0) > time.monotonic()

    def new_session(self) -> str:
        """What the cookie of a browser that signs in holds; it counts for seven days, and for this server."""
        session = secrets.token_urlsafe(32)
        self._sessions[_hash(session)] = time.monotonic() + SESSION_SECONDS
        return session

    def knows_session(self, session: str) -> bool:
        """Whether `session` was given out and has not ended."""
        return self._sessions.get(_hash(session), 0) > time.monotonic()

    def end_session(self, session: str) -> None:
        """Ends a session, whoever else has its cookie."""
        self._sessions.pop(_hash(session), None)

    def note_failure(self) -> None:
        """Remembers a failed sign-in."""
        self._failures.append(time.monotonic())

    def is_tried_too_often(self) -> bool:
        """Whether so many sign-ins failed within the last minute that no more are looked at."""
        return len(self._failures) == FAILURES_PER_MINUTE and time.monotonic() - self._failures[0] < 60


class AccessCheck:
    """Stands before every route, MLflow's too: this machine's name, this site's pages, and a credential.

    Clients are refused with 401 or 403, browsers are led to the sign-in page. `user_of_run(run_id)` tells as
    whom a run acts, None where its token does not count any more; `user_of_token` whose token one is.
    """

    def __init__(
        self,
        app: ASGIApp,
        keyring: Keyring,
        cookie_name: str,
        user_of_run: Callable[[str], str | None],
        user_of_token: Callable[[str], str | None],
    ) -> None:
        self.app = app
        self.keyring = keyring
        self.cookie_name = cookie_name
        self.user_of_run = user_of_run
        self.user_of_token = user_of_token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or answers it."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":  # a websocket: none of the routes is one
            return await send({"type": "websocket.close", "code": 1008})
        headers = Headers(scope=scope)
        user = _foreign(headers) or self._user(scope, headers)
        if isinstance(user, Response):
            return await user(scope, receive, _with_headers(scope, send))
        with asked_by(user):
            await self.app(scope, receive, _with_headers(scope, send))

    def _user(self, scope: Scope, headers: Headers) -> str | Response:
        """Whose request this is, or its refusal."""
        path, method = scope["path"], scope["method"]
        if path in OPEN_PATHS or path.startswith(OPEN_FOLDER):
            return NOBODY
        if "authorization" in headers:
            return self._user_of_token(path, headers["authorization"])
        if self.keyring.knows_session(_cookie(headers, self.cookie_name)):
            asked_from_here = "origin" in headers or headers.get("sec-fetch-site") == "same-origin"
            if method in READING or asked_from_here:
                return USER_NAME
            return _denied("A browser must say which page sends this (Origin).")
        if method == "GET" and "text/html" in headers.get("accept", ""):
            asked = f"{path}?{query}" if (query := scope["query_string"].decode("latin-1")) else path
            return RedirectResponse(f"/login?next={quote(asked)}", status_code=303)
        return to_response(None, Unauthenticated(NO_CREDENTIAL))

    def _user_of_token(self, path: str, authorization: str) -> str | Response:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return to_response(None, Unauthenticated(NO_CREDENTIAL))
        if self.keyring.fits(token):
            return USER_NAME
        if path == spark_rights.ADDRESS and _same(token, self.keyring.spark_token()):
            return NOBODY
        run_id = self.keyring.run_of(token)
        user = self.user_of_run(run_id) if run_id else self.user_of_token(token)
        if user is None:
            return _denied(
                f"This access token ended with run {run_id}." if run_id else "Invalid access token."
            )
        if path.startswith(OWNER_ONLY):
            return _denied(f"The workspace's own token alone opens {OWNER_ONLY}.")
        return user


def router(keyring: Keyring, cookie_name: str, user_of_token: Callable[[str], str | None]) -> APIRouter:
    """The sign-in page, the links that sign a browser in, and the way out."""
    routes = APIRouter()

    @routes.get(PROOF)
    def show_proof(challenge: str = "") -> Response:
        return PlainTextResponse(keyring.answer(challenge))

    @routes.get("/login")
    def sign_in_page(request: Request, next: str = "/jobs", code: str = "") -> Response:
        if code and keyring.take_link_code(code):
            return _signed_in(next)
        if keyring.knows_session(request.cookies.get(cookie_name, "")):
            return RedirectResponse(_own_path(next), status_code=303)
        if code:
            return _sign_in_again(_own_path(next), 403, "This link was used already or is too old.")
        return HTMLResponse(render("login.html", next=_own_path(next), message=""))

    @routes.post("/login")
    async def sign_in(request: Request) -> Response:
        form = await request.form()
        path = _own_path(str(form.get("next", "")))
        if keyring.is_tried_too_often():
            return _sign_in_again(path, 429, "Too many wrong tokens. Wait a minute.")
        if keyring.fits(token := str(form.get("token", ""))):
            return _signed_in(path)
        if user := user_of_token(token):
            return _sign_in_again(path, 403, f"{OWNERS_PAGES} This token, of {user}, opens the API.")
        keyring.note_failure()
        return _sign_in_again(path, 403, "The token is wrong.")

    @routes.post("/logout")
    def sign_out(request: Request) -> Response:
        keyring.end_session(request.cookies.get(cookie_name, ""))
        answer = RedirectResponse("/login", status_code=303)
        answer.delete_cookie(cookie_name, httponly=True, samesite="lax")
        return answer

    @routes.post(f"{OWNER_ONLY}sign-in-codes")
    def new_code() -> dict[str, str]:
        return {"code": keyring.new_link_code()}

    def _sign_in_again(path: str, status: int, message: str) -> Response:
        return HTMLResponse(render("login.html", next=path, message=message), status)

    def _signed_in(path: str) -> Response:
        answer = RedirectResponse(_own_path(path), status_code=303)
        session = keyring.new_session()
        answer.set_cookie(cookie_name, session, max_age=SESSION_SECONDS, httponly=True, samesite="lax")
        return answer

    return routes


def _foreign(headers: Headers) -> Response | None:
    """The refusal of a request that a page of somebody else's makes a browser send, or None."""
    hosts = headers.getlist("host")
    if len(hosts) != 1 or _host_name(hosts[0]) not in HOST_NAMES:
        return _denied(f"Host {hosts} is not one of this machine's names {HOST_NAMES}.")
    # The port counts: another server of this machine is another site, though its cookies are the same.
    if any(_site(origin) != hosts[0] for origin in headers.getlist("origin")):
        return _denied(f"Pages of {headers['origin'][:200]} may not ask this.")
    return None


def _site(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _host_name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _cookie(headers: Headers, name: str) -> str:
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return cookie.value if cookie else ""


def _with_headers(scope: Scope, send: Send) -> Send:
    """Sends with the headers that tell a browser what it must not do."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in (HEADERS | _policies(scope)).items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers


def _policies(scope: Scope) -> dict[str, str]:
    if getattr(scope.get("endpoint"), "__module__", "").startswith("local_workspace."):
        policy = CONTENT_POLICY.format(host=Headers(scope=scope).get("host", ""), scripts=OPEN_FOLDER)
        return {"Content-Security-Policy": policy, "Cache-Control": "no-store"}
    return {"Content-Security-Policy": FILE_POLICY} if "artifact" in scope["path"] else {}


def _own_path(path: str) -> str:
    """`path` if it leads into this workspace, else its front page: a link must not lead elsewhere."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/jobs"


def _denied(message: str) -> JSONResponse:
    return to_response(None, PermissionDenied(message))


def _hash(value: str) -> str:
    return hashlib.sha256(value.encode(errors="replace")).hexdigest()


def _sign(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(errors="replace"), "sha256").hexdigest()


def _same(one: str, other: str) -> bool:
    """Compares in constant time; text that is not ASCII is not one of ours."""
    return one.isascii() and hmac.compare_digest(one, other)
