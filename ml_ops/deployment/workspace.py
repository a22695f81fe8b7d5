"""The workspace that a profile of the Databricks configuration file names, and its REST API."""

import hmac
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from configparser import ConfigParser, DuplicateOptionError, DuplicateSectionError, Error, ParsingError
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import UUID

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ReadTimeoutError
from urllib3.util import Retry

from deployment.errors import DeploymentError
from deployment.gaps import GAPS, LONGEST, LOOK_FIRST, PAUSES
from deployment.settings import ROOT, Settings

LOCAL = "local"
CONNECT_SECONDS = 10
TIMEOUT_SECONDS = 30
# What only reads is asked again for about two minutes: a long run is waited for through a gap in the network,
# or a restart at the other end. What writes is sent once, but for what ends the same each time it is sent.
READING = ("GET", "HEAD")
PATIENCE = Retry(
    total=8,
    connect=3,
    other=0,
    allowed_methods=READING,
    status_forcelist=GAPS,
    backoff_factor=1,
    backoff_max=30,
    retry_after_max=60,
    raise_on_status=False,
)


class ToldRetry(Retry):
    """Says each time what was answered, and that the call is sent again."""

    def increment(self, method: str | None = None, url: str | None = None, *args: Any, **more: Any) -> Self:
        """As urllib3 has it; raises when it is enough, or when there was no answer for the whole time."""
        if isinstance(error := more.get("error"), ReadTimeoutError):
            raise error
        further = super().increment(method, url, *args, **more)
        last = further.history[-1]
        said = f"was answered by HTTP {last.status}" if last.status else f"was not answered ({last.error})"
        print(f"{method} {(url or '').partition('?')[0]} {said}; it is sent again", flush=True)
        return further

    def get_backoff_time(self) -> float:
        """Seconds, where the workspace does not say how many."""
        return PAUSES[len(self.history) - 1]


# What writes and may be sent again.
TRIES = ToldRetry(
    total=len(PAUSES),
    connect=0,
    other=0,
    allowed_methods=None,
    status_forcelist=GAPS,
    retry_after_max=int(LONGEST),
    raise_on_status=False,
)
RESTART = "restart it with `make local-workspace-stop local-workspace-start`"
# What in the environment signs in, or leads to another workspace; what else is called DATABRICKS_ tells a
# program how to behave.
_SIGN_IN = re.compile(
    r"DATABRICKS_(?!CLI$|(?:CLI|LOG|DEBUG|CACHE|HTTP|RATE|TF)_)|ARM_|GOOGLE_CREDENTIALS$|NETRC$"
    r"|MLFLOW_TRACKING_(?:USERNAME|PASSWORD|TOKEN|AUTH|AWS_SIGV4)$"
)
# Its entries would replace a token that is sent by `requests`, that of `default` for every host.
_NO_NETRC = {"NETRC": os.devnull}
_TOKEN = re.compile(r"[!-~]+")
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
_THIS_MACHINE = re.compile(r"localhost|::1|127(?:\.[0-9]+){3}")
_DEFAULT_PORTS = {"https": 443, "http": 80}
# Where the local workspace shows that it knows its token, and those that have shown it.
_PROOF = "/.well-known/local-workspace"
_SHOWN: set[tuple[str, str]] = set()
# Of these nothing is taken: WORKSPACE names the profile.
_PROFILES = ("DATABRICKS_CONFIG_PROFILE", "DATABRICKS_CONFIG_FILE")


@dataclass(frozen=True)
class Workspace:
    """A host and a sign-in: of a profile that `databricks configure` or the local workspace wrote, or of now.

    `config_file` is where other programs find the profile as it is meant here, None where they have to be
    given host and token. `sign_in` gives the token, a new one when the last has had its hour.
    """

    profile: str
    config_file: Path | None
    host: str
    sign_in: Callable[[], str] = field(repr=False)
    verify: bool = True
    origin: str = ""
    """What signs in, for people."""

    @property
    def token(self) -> str:
        """A token that is good now; not to be kept."""
        token = self.sign_in()
        if not _TOKEN.fullmatch(token):
            raise DeploymentError(
                f"the token of {self._where} is empty, or has white space or other characters that no token "
                f"has; sign in again with `make databricks-authenticate WORKSPACE={self.profile}`"
            )
        return token

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
        if not reply.content:
            return {}
        answer = _document(reply)
        if answer is None:
            raise DeploymentError(self._foreign(path, reply))
        return answer

    def find(self, path: str, /, **params: str) -> dict[str, Any] | None:
        """What a GET answers, None where the workspace says that there is no such thing."""
        try:
            return self.call("GET", path, params=params)
        except RestError as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def pages(self, path: str, /, **params: str) -> Iterator[dict[str, Any]]:
        """What a GET answers, page by page."""
        token: str | None = ""
        while token is not None:
            page = self.call("GET", path, params=params | ({"page_token": token} if token else {}))
            yield page
            token = page.get("next_page_token") or None

    def request(
        self,
        method: str,
        path: str,
        timeout: float = TIMEOUT_SECONDS,
        *,
        repeats: bool = False,
        **content: Any,
    ) -> requests.Response:
        """One REST call; `content` is what `requests` takes: `params=`, `json=`, or a file as `data=`.

        What only reads is repeated for a while, and so is what `repeats`: a call that ends the same however
        often it is sent. Raises DeploymentError.
        """
        with requests.Session() as session:
            session.trust_env = not self.is_local  # a company's proxy does not lead to this machine
            session.mount(self.host, HTTPAdapter(max_retries=self._patience(method, repeats)))
            session.auth = self._sign  # and not only a header, which an entry of ~/.netrc replaces
            # The first is also for each piece of what is sent, the second for the answer to the whole of it.
            seconds = (min(timeout, CONNECT_SECONDS), timeout)
            try:
                reply = session.request(
                    method,
                    self.host + path,
                    timeout=seconds,
                    verify=self.verify,
                    allow_redirects=False,  # a workspace answers itself; elsewhere nobody is to get the token
                    **content,
                )
            except requests.RequestException as error:
                said = self._unreachable(error) + self._look_first(method, path, repeats, error)
                raise DeploymentError(said) from error
        if reply.is_redirect:
            raise DeploymentError(self._foreign(path, reply))
        if _is_not_allowed(reply):
            raise NotAllowedError(method, path, reply)
        if reply.status_code in (401, 403):
            raise RefusedError(self._refused(reply))
        if not reply.ok:
            may_have_acted = method not in READING and not repeats and reply.status_code in GAPS
            raise RestError(method, path, reply, LOOK_FIRST if may_have_acted else "")
        return reply

    def user(self) -> "User":
        """Who is signed in; fails when the workspace does not answer or refuses the token."""
        me = self.call("GET", "/api/2.0/preview/scim/v2/Me")
        if "userName" not in me:
            raise DeploymentError(f"{self.host} does not say who is signed in; is it a Databricks workspace?")
        return User(me["userName"], me.get("displayName") or "")

    def user_name(self) -> str:
        """The name of who is signed in; fails as `user`."""
        return self.user().name

    def own_catalog(self) -> str:
        """The catalog that the workspace has by itself; empty where it has none."""
        try:
            assignment = self.find("/api/2.1/unity-catalog/current-metastore-assignment") or {}
        except RestError as error:
            if error.status != 404:
                raise
            return ""
        return str(assignment.get("default_catalog_name", ""))

    def environment(self) -> dict[str, str]:
        """This process's environment, in which another program finds this workspace and no other one."""
        environment = without_sign_in(os.environ) | _NO_NETRC
        # A service principal in the environment would be one way too many to sign in.
        environment["DATABRICKS_AUTH_TYPE"] = "pat"
        if self.config_file:
            return environment | {"DATABRICKS_CONFIG_FILE": str(self.config_file)}
        if not self.verify:
            environment["DATABRICKS_INSECURE"] = "True"
        given = {"DATABRICKS_HOST": self.host, "DATABRICKS_TOKEN": self.token}
        return environment | given | {"DATABRICKS_CONFIG_FILE": os.devnull}

    def token_if_known(self) -> str:
        """The token, where what listens has shown that it knows it already; raises DeploymentError.

        While the workspace of this machine is stopped, another program may listen on its port.
        """
        token = self.sign_in()
        if (self.host, token) in _SHOWN:
            return token
        challenge = secrets.token_hex(16)
        key = hmac.digest(token.encode(), b"proof of the server", "sha256")
        expected = hmac.new(key, f"{self.host} {challenge}".encode(), "sha256").hexdigest()
        with requests.Session() as session:
            session.trust_env = False
            try:
                answer = session.get(
                    self.host + _PROOF, params={"challenge": challenge}, timeout=TIMEOUT_SECONDS
                )
            except requests.RequestException as error:
                raise DeploymentError(self._unreachable(error)) from error
        if not hmac.compare_digest(answer.text.encode(), expected.encode()):
            raise DeploymentError(
                f"another program than the local workspace listens at {self.host}; the token was not sent. "
                "End it, or start the workspace on another port: "
                "`make local-workspace-stop local-workspace-start LOCAL_WORKSPACE_PORT=5116`"
            )
        _SHOWN.add((self.host, token))
        return token

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request

    def _patience(self, method: str, repeats: bool) -> Retry:
        if method not in READING:
            return TRIES if repeats else Retry(0, read=False)
        # Where nothing listens on this machine, nothing will.
        return PATIENCE.new(connect=0) if self.is_local else PATIENCE

    @property
    def _where(self) -> str:
        written = f"profile '{self.profile}' in {self.config_file}" if self.config_file else "the environment"
        return self.origin or written

    def _unreachable(self, error: requests.RequestException) -> str:
        hint = (
            "start it with `make local-workspace-start`"
            if self.is_local
            else f"is the host of {self._where} right, and the VPN on?"
        )
        cause = "" if self.is_local else f" ({type(error).__name__}: {error})"
        return f"workspace '{self.profile}' at {self.host} does not answer; {hint}{cause}"

    def _look_first(self, method: str, path: str, repeats: bool, error: requests.RequestException) -> str:
        """What to do about a call that may have been heard, although its answer was not."""
        reached_nobody = "NewConnectionError" in repr(error) or isinstance(error, requests.ConnectTimeout)
        if method in READING or repeats or reached_nobody:
            return ""
        return f". {method} {path} was not answered. {LOOK_FIRST}"

    def _foreign(self, path: str, reply: requests.Response) -> str:
        """Of an answer that no workspace gives: that of a proxy, or the page on which one signs in."""
        kind = reply.headers.get("Content-Type", "nothing that has a type").partition(";")[0]
        elsewhere = urlsplit(reply.headers.get("Location", "")).netloc
        said = f"sends on to {elsewhere or 'another page'}" if reply.is_redirect else f"brings {kind}"
        return (
            f"{self.host} answers {path} with HTTP {reply.status_code} and {said}, and not with a JSON "
            "object as a workspace does; is that the workspace's address, and does a proxy or a sign-in page "
            "stand before it?"
        )

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


class RefusedError(DeploymentError):
    """A call whose token is refused; where the answer has no words, a right may be missing instead."""


class RestError(DeploymentError):
    """A REST call that was answered with an error; `error_code` is Databricks' own word."""

    def __init__(self, method: str, path: str, reply: requests.Response, hint: str = "") -> None:
        self.status = reply.status_code
        answer, http = _document(reply) or {}, f"HTTP {reply.status_code}"
        self.error_code = str(answer.get("error_code", http))
        host = urlsplit(reply.url).netloc
        kind = reply.headers.get("Content-Type", "").partition(";")[0]
        no_workspace = f"{reply.reason}, with {kind or 'nothing'} from {host}, and not a workspace's JSON"
        code = http if self.error_code == http else f"{http} {self.error_code}"
        said = f"{method} {path}: {code}: {answer.get('message', no_workspace)}"
        super().__init__(f"{said.rstrip('.')}. {hint}" if hint else said)


class NotAllowedError(RestError):
    """A call that the user has no right to; `said` are the workspace's own words, which name it."""

    def __init__(self, method: str, path: str, reply: requests.Response) -> None:
        super().__init__(method, path, reply, "Ask for that right, or sign in as somebody who has it")
        self.said = str((_document(reply) or {}).get("message", "no reason given")).rstrip(".")


def without_sign_in(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without what signs in, or leads a program to another workspace."""
    return {name: value for name, value in environment.items() if not _SIGN_IN.match(name)}


def parse_address(address: str, setting: str) -> str:
    """Scheme, host and port of a workspace's address, also where it was copied from a browser.

    Without a scheme it is https, and http on this machine. Raises DeploymentError.
    """
    try:
        text = address.strip()
        parts = urlsplit(text if re.match(r"(?:\w*:)?//", text) else f"//{text}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise DeploymentError(_no_address(address, setting)) from None
    is_here = bool(_THIS_MACHINE.fullmatch(host))
    scheme = parts.scheme or ("http" if is_here else "https")
    is_host = is_here or (_HOST.fullmatch(host) and "." in host) or ":" in host
    if scheme not in _DEFAULT_PORTS or not is_host or "@" in parts.netloc or "\n" in address:
        raise DeploymentError(_no_address(address, setting))
    name = f"[{host}]" if ":" in host else host
    return f"{scheme}://{name}" if port in (None, _DEFAULT_PORTS[scheme]) else f"{scheme}://{name}:{port}"


def _no_address(address: str, setting: str) -> str:
    # What stands before an @, or in a line that was indented by mistake, may be a secret.
    shown = f"'{address}'" if not {"@", "\n"} & set(address) else "of more than an address"
    return (
        f"{setting} is {shown}, which is not the address of a workspace; it looks like "
        "https://adb-1234567890123456.7.azuredatabricks.net"
    )


def _document(reply: requests.Response) -> dict[str, Any] | None:
    """The JSON object of an answer, None for anything else."""
    try:
        answer = json.loads(reply.text)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _is_not_allowed(reply: requests.Response) -> bool:
    """Tell a missing right from a token that is refused, which has the same status and code."""
    answer = _document(reply) or {}
    about_token = re.search(r"\btoken\b(?!')", str(answer.get("message", "")), re.IGNORECASE)
    is_a_right = answer.get("error_code") == "PERMISSION_DENIED" and about_token is None
    return reply.status_code == 403 and is_a_right


def _said(reply: requests.Response) -> str:
    """What the workspace says of a refusal: a right is missing more often than the token is wrong."""
    message = (_document(reply) or {}).get("message")
    return f": {message}" if message else ""


def open_workspace(settings: Settings) -> Workspace:
    """The workspace of the profile that is called like it; without one that of the environment.

    A profile is taken as it stands, alone: what the environment or another profile has is for other places.
    """
    config_file = _config_file(settings)
    if settings.workspace == LOCAL and not config_file.exists():
        raise DeploymentError(_no_local_workspace())
    profiles = _read_profiles(config_file)
    if settings.workspace in profiles:
        return _of_profile(settings.workspace, config_file, dict(profiles[settings.workspace]))
    if settings.workspace == LOCAL:
        raise DeploymentError(f"{config_file} has no profile 'local'; {RESTART}")
    if os.environ.get("DATABRICKS_HOST"):
        return _of_environment(settings.workspace)
    raise DeploymentError(
        f"no profile '{settings.workspace}' in {config_file}; it has {profiles.sections()}. "
        f"Sign in with `make databricks-authenticate WORKSPACE={settings.workspace}`, or set "
        "DATABRICKS_HOST and what else the Databricks SDK signs in with"
    )


def no_profile_either(settings: Settings) -> str:
    """A word on the profiles there are, where no target and no profile is called like the workspace."""
    config_file = _config_file(settings)
    names = _read_profiles(config_file).sections()
    if settings.workspace in (LOCAL, *names):
        return ""
    return f" There is no profile '{settings.workspace}' in {config_file} either; it has {names}"


def _read_profiles(config_file: Path) -> ConfigParser:
    # [DEFAULT] is a profile like the others, whose values are no values of theirs.
    profiles = ConfigParser(interpolation=None, default_section="")
    try:
        profiles.read_string(config_file.read_text("utf-8-sig"))
    except FileNotFoundError:
        return profiles
    except OSError as error:
        raise DeploymentError(f"{config_file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DeploymentError(f"{config_file} is not UTF-8 text") from error
    except Error as error:
        # Without the cause: it repeats the line, which may be a token.
        raise DeploymentError(f"{config_file} is not a configuration file: {_broken(error)}") from None
    return profiles


def _broken(error: Error) -> str:
    match error:
        case DuplicateSectionError():
            return f"line {error.lineno} begins profile '{error.section}' a second time"
        case DuplicateOptionError():
            return f"line {error.lineno} names a key a second time in profile '{error.section}'"
        case ParsingError(errors=[(number, _), *_]):
            return f"line {number} is neither `[profile]` nor `key = value`"
        case _:
            return f"line {getattr(error, 'lineno', 1)} is before the first `[profile]`"


def _of_profile(profile: str, config_file: Path, values: Mapping[str, str]) -> Workspace:
    where = f"profile '{profile}' in {config_file}"
    hint = RESTART if profile == LOCAL else f"`make databricks-authenticate WORKSPACE={profile}` asks for it"
    values = {name: value for name, value in values.items() if value}
    if "host" not in values and "azure_workspace_resource_id" not in values:
        raise DeploymentError(f"{where} has no host; {hint}")
    if "host" in values:
        values["host"] = parse_address(written := values["host"], f"the host of {where}")
    if "token" not in values or values.get("auth_type", "pat") != "pat":
        if profile == LOCAL:
            raise DeploymentError(f"{where} has no token; {hint}")
        # `databricks auth token`, which may be asked, reads the profile for itself.
        own = without_sign_in(os.environ) | {"DATABRICKS_CONFIG_FILE": str(config_file)}
        return _signed_in(profile, where, values | {"profile": profile}, own)
    token = values["token"]
    # Other programs may take an address in fewer forms, and % for the beginning of a reference.
    is_plain = written.rstrip("/") == values["host"] and _TOKEN.fullmatch(token) and "%" not in token
    verify = "insecure" not in values
    found = Workspace(
        profile, config_file if is_plain else None, values["host"], lambda: token, verify, where
    )
    return replace(found, sign_in=found.token_if_known) if profile == LOCAL else found


def _of_environment(name: str) -> Workspace:
    values = {"host": parse_address(os.environ["DATABRICKS_HOST"], "DATABRICKS_HOST")}
    if token := os.environ.get("DATABRICKS_TOKEN", ""):
        return Workspace(name, None, values["host"], lambda: token)
    own = {key: value for key, value in os.environ.items() if key not in _PROFILES}
    return _signed_in(name, "DATABRICKS_HOST", values, own)


def _signed_in(name: str, where: str, values: Mapping[str, str], environment: Mapping[str, str]) -> Workspace:
    """Signs in by other means than a token in a file: service principal, OIDC, Azure CLI.

    What the values do not have may stand in the environment.
    """
    from databricks.sdk.core import Config  # here, because few need it and its import takes a while

    alone = {**environment, **_NO_NETRC}
    known = {attribute.name for attribute in Config.attributes()} - {"config_file"}
    given = {"retry_timeout_seconds": TIMEOUT_SECONDS} | {k: v for k, v in values.items() if k in known}
    with _explained(where), _inside(alone):
        config = Config(**given)  # type: ignore[arg-type]

    def renewed() -> str:
        with _explained(where), _inside(alone):
            kind, _, token = config.authenticate().get("Authorization", "").partition(" ")
        if kind != "Bearer":
            raise DeploymentError(f"{where} signs in without a token, which a workspace asks for")
        return token

    return Workspace(name, None, parse_address(str(config.host), where), renewed, origin=where)


@contextmanager
def _inside(environment: Mapping[str, str]) -> Iterator[None]:
    """For a while this process has another environment: the SDK takes what it misses from there."""
    kept = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(environment)
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


@contextmanager
def _explained(where: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError, Error) as error:  # OSError: of a program or a service that gives tokens
        raise DeploymentError(f"cannot sign in with {where}: {error}") from error


def _config_file(settings: Settings) -> Path:
    if settings.workspace == LOCAL:
        return ROOT / settings.local_workspace_state / "databrickscfg"
    return Path(os.environ.get("DATABRICKS_CONFIG_FILE") or "~/.databrickscfg").expanduser()


def _no_local_workspace() -> str:
    if (ROOT / "local_workspace").exists():
        return "there is no local workspace yet; start it with `make local-workspace-start`"
    return "this checkout has no folder local_workspace/; name a profile with WORKSPACE=<profile>"
