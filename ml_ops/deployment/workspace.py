"""The workspace that a profile of the Databricks configuration file names, and its REST API."""

import json
import os
import re
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from deployment.errors import DeploymentError
from deployment.settings import ROOT, Settings

LOCAL = "local"
CONNECT_SECONDS = 10
TIMEOUT_SECONDS = 30
# What only reads is asked again for about two minutes: a long run is waited for through a gap in the network,
# or a restart at the other end. What writes is sent once.
READING = ("GET", "HEAD")
PATIENCE = Retry(
    total=8,
    connect=3,
    other=0,
    allowed_methods=READING,
    status_forcelist=(429, 500, 502, 503, 504),
    backoff_factor=1,
    backoff_max=30,
    retry_after_max=60,
    raise_on_status=False,
)
RESTART = "restart it with `make local-workspace-stop local-workspace-start`"


@dataclass(frozen=True)
class Workspace:
    """A host and a sign-in: of a profile that `databricks configure` or the local workspace wrote, or of now.

    `config_file` is None for a token of now, which stands in no file. `sign_in` gives the token, a new one
    when the last has had its hour.
    """

    profile: str
    config_file: Path | None
    host: str
    sign_in: Callable[[], str] = field(repr=False)
    verify: bool = True

    @property
    def token(self) -> str:
        """A token that is good now; not to be kept."""
        return self.sign_in()

    @property
    def is_local(self) -> bool:
        """Whether this is the workspace of this checkout, and not one in the cloud."""
        return self.profile == LOCAL

    @property
    def has_port(self) -> bool:
        """Whether the host names a port."""
        return urlsplit(self.host).port is not None

    def call(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        """One REST call and what it answers; `content` is what `request` takes."""
        reply = self.request(method, path, **content)
        return dict(reply.json()) if reply.content else {}

    def find(self, path: str, /, **params: str) -> dict[str, Any] | None:
        """What a GET answers, None where the workspace says that there is no such thing."""
        try:
            return self.call("GET", path, params=params)
        except RestError as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def request(
        self, method: str, path: str, timeout: float = TIMEOUT_SECONDS, **content: Any
    ) -> requests.Response:
        """One REST call; `content` is what `requests` takes: `params=`, `json=`, or a file as `data=`.

        What only reads is repeated for a while. Raises DeploymentError.
        """
        with requests.Session() as session:
            session.trust_env = not self.is_local  # a company's proxy does not lead to this machine
            session.mount(self.host, HTTPAdapter(max_retries=self._patience(method)))
            session.headers["Authorization"] = f"Bearer {self.token}"
            # The first is also for each piece of what is sent, the second for the answer to the whole of it.
            seconds = (min(timeout, CONNECT_SECONDS), timeout)
            try:
                reply = session.request(
                    method, self.host + path, timeout=seconds, verify=self.verify, **content
                )
            except requests.RequestException as error:
                raise DeploymentError(self._unreachable(error)) from error
        if reply.status_code in (401, 403):
            raise DeploymentError(self._refused(reply))
        if not reply.ok:
            raise RestError(path, reply)
        return reply

    def user(self) -> "User":
        """Who is signed in; fails when the workspace does not answer or refuses the token."""
        me = self.call("GET", "/api/2.0/preview/scim/v2/Me")
        return User(me["userName"], me.get("displayName") or "")

    def user_name(self) -> str:
        """The name of who is signed in; fails as `user`."""
        return self.user().name

    def _patience(self, method: str) -> Retry:
        if method not in READING:
            return Retry(0, read=False)
        # Where nothing listens on this machine, nothing will.
        return PATIENCE.new(connect=0) if self.is_local else PATIENCE

    @property
    def _where(self) -> str:
        return f"profile '{self.profile}' in {self.config_file}" if self.config_file else "the environment"

    def _unreachable(self, error: requests.RequestException) -> str:
        hint = (
            "start it with `make local-workspace-start`"
            if self.is_local
            else f"is the host of {self._where} right, and the VPN on?"
        )
        cause = "" if self.is_local else f" ({type(error).__name__}: {error})"
        return f"workspace '{self.profile}' at {self.host} does not answer; {hint}{cause}"

    def _refused(self, reply: requests.Response) -> str:
        hint = (
            RESTART
            if self.is_local
            else f"sign in again with `make databricks-authenticate WORKSPACE={self.profile}`"
        )
        said = f"HTTP {reply.status_code}{_said(reply)}"
        return f"workspace {self.host} refuses the token of {self._where} ({said}); {hint}"


@dataclass(frozen=True)
class User:
    """A person, whose name is an address, or a service principal, whose name is its application id."""

    name: str
    display_name: str = ""

    @property
    def short_name(self) -> str:
        """What stands before the @ of an address, or what a service principal is called.

        It is in small letters, with one underscore for all that is no letter or digit.
        """
        called = self.display_name if is_service_principal(self.name) else ""
        return re.sub(r"[\W_]+", "_", (called or self.name).partition("@")[0].lower()).strip("_")


def is_service_principal(user_name: str) -> bool:
    """Whether this is the application id of a service principal, and no address of a person."""
    try:
        return bool(UUID(user_name))
    except ValueError:
        return False


class RestError(DeploymentError):
    """A REST call that was answered with an error; `error_code` is Databricks' own word."""

    def __init__(self, path: str, reply: requests.Response) -> None:
        self.status = reply.status_code
        try:
            answer = json.loads(reply.text)
        except ValueError:
            answer = {}
        self.error_code = str(answer.get("error_code", f"HTTP {reply.status_code}"))
        super().__init__(f"{path}: {self.error_code}: {answer.get('message', reply.reason)}")


def _said(reply: requests.Response) -> str:
    """What the workspace says of a refusal: a right is missing more often than the token is wrong."""
    try:
        return f": {reply.json()['message']}"
    except (ValueError, KeyError, TypeError):
        return ""


def open_workspace(settings: Settings) -> Workspace:
    """Reads the host and the token of the profile that is called like the workspace."""
    config_file = _config_file(settings)
    if settings.workspace == LOCAL and not config_file.exists():
        raise DeploymentError(_no_local_workspace())
    config = ConfigParser(interpolation=None)
    config.read(config_file)
    section = dict(config[settings.workspace]) if settings.workspace in config else {}
    if section.get("host") and section.get("token"):
        return Workspace(
            profile=settings.workspace,
            config_file=config_file,
            host=section["host"].rstrip("/"),
            sign_in=lambda: section["token"],
            verify=not section.get("insecure"),
        )
    if settings.workspace == LOCAL:
        raise DeploymentError(f"profile 'local' in {config_file} has no host and token; {RESTART}")
    if not section and not os.environ.get("DATABRICKS_HOST"):
        raise DeploymentError(
            f"no profile '{settings.workspace}' in {config_file}; it has {config.sections()}. "
            f"Sign in with `make databricks-authenticate WORKSPACE={settings.workspace}`, or set "
            "DATABRICKS_HOST and what else the Databricks SDK signs in with"
        )
    return _signed_in(settings.workspace, config_file if section else None)


def _signed_in(profile: str, config_file: Path | None) -> Workspace:
    """Signs in by other means than a token in a file: environment, service principal, OIDC, Azure CLI."""
    host, token = os.environ.get("DATABRICKS_HOST", ""), os.environ.get("DATABRICKS_TOKEN", "")
    if token and not config_file:
        return Workspace(profile, None, host.rstrip("/"), lambda: token)
    from databricks.sdk.core import Config  # here, because few need it and its import takes a while

    named = {"profile": profile, "config_file": str(config_file)} if config_file else {}
    where = f"profile '{profile}' in {config_file}" if config_file else "DATABRICKS_HOST"
    with _explained(where):
        config = Config(retry_timeout_seconds=TIMEOUT_SECONDS, **named)  # type: ignore[arg-type]

    def renewed() -> str:
        with _explained(where):
            return config.authenticate().get("Authorization", "").removeprefix("Bearer ")

    return Workspace(profile, None, str(config.host).rstrip("/"), renewed)


@contextmanager
def _explained(where: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError) as error:  # OSError: of a program or a service that gives tokens
        raise DeploymentError(f"cannot sign in with {where}: {error}") from error


def _config_file(settings: Settings) -> Path:
    if settings.workspace == LOCAL:
        return ROOT / settings.local_workspace_state / "databrickscfg"
    return Path(os.environ.get("DATABRICKS_CONFIG_FILE", Path.home() / ".databrickscfg"))


def _no_local_workspace() -> str:
    if (ROOT / "local_workspace").exists():
        return "there is no local workspace yet; start it with `make local-workspace-start`"
    return "this checkout has no folder local_workspace/; name a profile with WORKSPACE=<profile>"
