"""Records what a client asks of the workspace, and asks the same again where that client is not there.

A recording is a list of exchanges: method, path, query and body of a request, the status of its answer, and
under `reads` the fields of the answer that the client reads. What differs from one workspace to the next is
written as a placeholder: `{run_id:1}` is the first run that the recording knows, `{time}` is any moment.
"""

import base64
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import requests
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FOLDER = Path(__file__).with_name("recordings")
SECONDS_TO_WAIT = 20
NOT_RECORDED = ("/telemetry-ext",)

# Fields whose values the workspace gives out; by name, and the kind of the value.
IDS = {
    "cluster_id": "cluster_id",
    "existing_cluster_id": "cluster_id",
    "handle": "handle",
    "job_id": "job_id",
    "object_id": "object_id",
    "run_id": "run_id",
}
TIMES = ("last_updated_timestamp", "modification_time", "last_modified", "last-modified", "end_time")
IDS_IN_TEXT = (
    (re.compile(r"(?<=/jobs/)(\d+)"), "job_id"),
    (re.compile(r"(?<=\bJob )(\d+)"), "job_id"),
    (re.compile(r"(?<=/runs/)(\d+)"), "run_id"),
    (re.compile(r"(?<=/directories/)(\d+)$"), "object_id"),
    (re.compile(r"\b(\d{4}-\d{6}-[0-9a-f]{8})\b"), "cluster_id"),
)
PLACEHOLDER = re.compile(r"\{(\w+:\d+)\}")

STATE = ("life_cycle_state", "result_state", "state_message")
TASK = ("run_id", "task_key", "end_time", "state.life_cycle_state", "state.result_state")
RUN = ("run_id", "run_name", "run_page_url", *(f"state.{name}" for name in STATE))
ACCESS = tuple(
    f"access_control_list.{name}"
    for name in (
        "user_name",
        "group_name",
        "all_permissions.permission_level",
        "all_permissions.inherited",
    )
)
OBJECT = ("path", "object_type", "object_id", "language", "size")
FILE = ("path", "is_dir", "file_size", "modification_time")
# Which fields of which answer the Go program reads, seen in its source: the structures it fills and uses.
READS: dict[str, tuple[str, ...]] = {
    r"GET /\.well-known/databricks-config": ("oidc_endpoint", "workspace_id"),
    r"GET /api/2\.0/preview/scim/v2/Me": ("id", "userName", "displayName", "groups.display", "active"),
    r"GET /api/2\.0/workspace/get-status": OBJECT,
    r"GET /api/2\.0/workspace/list": tuple(f"objects.{name}" for name in OBJECT),
    r"GET /api/2\.1/clusters/list": ("clusters.cluster_id", "clusters.cluster_name", "clusters.state"),
    r"GET /api/2\.1/clusters/get": ("cluster_id", "cluster_name", "spark_version", "state", "state_message"),
    r"POST /api/2\.1/clusters/create": ("cluster_id",),
    r"GET /api/2\.0/secrets/scopes/list": (
        "scopes.name",
        "scopes.backend_type",
        "scopes.keyvault_metadata.dns_name",
    ),
    r"GET /api/2\.0/secrets/list": ("secrets.key", "secrets.last_updated_timestamp"),
    r"GET /api/2\.0/secrets/get": ("key", "value"),
    r"GET /api/2\.0/secrets/acls/list": ("items.principal", "items.permission"),
    r"POST /api/2\.0/dbfs/create": ("handle",),
    r"GET /api/2\.0/dbfs/get-status": FILE,
    r"GET /api/2\.0/dbfs/list": tuple(f"files.{name}" for name in FILE),
    r"GET /api/2\.0/dbfs/read": ("bytes_read", "data"),
    r"GET /api/2\.0/fs/directories/.*": tuple(
        f"contents.{name}" for name in ("name", "path", "is_directory", "file_size", "last_modified")
    ),
    r"POST /api/2\.2/jobs/(create|run-now|runs/submit)": ("job_id", "run_id"),
    r"GET /api/2\.2/jobs/get": ("job_id", "settings"),
    r"GET /api/2\.2/jobs/list": ("jobs.job_id", "jobs.settings.name"),
    r"GET /api/2\.2/jobs/runs/get": (*RUN, *(f"tasks.{name}" for name in TASK)),
    r"GET /api/2\.2/jobs/runs/list": tuple(f"runs.{name}" for name in (*RUN, "job_id")),
    r"GET /api/2\.2/jobs/runs/get-output": ("notebook_output", "error", "error_trace", "metadata.run_id"),
    r"(GET|PUT|PATCH) /api/2\.0/permissions/.*": ("object_id", "object_type", *ACCESS),
}
ERROR = ("error_code", "message", "details.reason")
HEADERS = ("content-length", "last-modified")


@dataclass
class Exchange:
    """One request and its answer, as they went over the wire."""

    method: str
    path: str
    query: dict[str, list[str]]
    body: bytes
    status: int
    headers: dict[str, str]
    answer: bytes


@dataclass
class Recorder:
    """The workspace's application with an ear at its door."""

    app: ASGIApp
    exchanges: list[Exchange] | None = None

    @contextmanager
    def listen(self) -> Iterator[list[Exchange]]:
        """Collects what is asked in the meantime, in the order of the answers."""
        self.exchanges = exchanges = []
        yield exchanges
        self.exchanges = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self.exchanges is None:
            return await self.app(scope, receive, send)
        body, answer, start = bytearray(), bytearray(), dict[str, Any]()

        async def hear() -> Message:
            message = await receive()
            body.extend(message.get("body", b""))
            return message

        async def answered(message: Message) -> None:
            start.update(message if message["type"] == "http.response.start" else {})
            answer.extend(message.get("body", b""))
            await send(message)

        heard_by = self.exchanges
        await self.app(scope, hear, answered)
        heard_by.append(
            Exchange(
                scope["method"],
                scope["raw_path"].decode(),
                parse_qs(scope["query_string"].decode(), keep_blank_values=True),
                bytes(body),
                start["status"],
                {name.decode(): value.decode() for name, value in start["headers"]},
                bytes(answer),
            )
        )


@dataclass
class Writer:
    """Turns exchanges into a recording."""

    host: str
    folder: str
    _known: dict[str, dict[str, str]] = field(default_factory=dict)

    def write(self, flow: str, version: str, exchanges: list[Exchange]) -> None:
        """Keeps the exchanges of a flow; of equal requests that follow each other the last alone."""
        recorded: list[dict[str, Any]] = []
        for exchange in exchanges:
            if not exchange.path.startswith(NOT_RECORDED):
                entry = self._entry(exchange)
                polled = recorded and entry["method"] == "GET" and _question(recorded[-1]) == _question(entry)
                recorded[-1 if polled else len(recorded) :] = [entry]
        FOLDER.mkdir(exist_ok=True)
        lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in recorded)
        heading = f'{{"flow": {json.dumps(flow)}, "recorded_from": {json.dumps(version)}, "exchanges": [\n'
        (FOLDER / f"{flow}.json").write_text(f"{heading}{lines}\n]}}\n")

    def _entry(self, exchange: Exchange) -> dict[str, Any]:
        entry: dict[str, Any] = {"method": exchange.method, "path": self._text(exchange.path)}
        if exchange.query:
            single = {name: values if values[1:] else values[0] for name, values in exchange.query.items()}
            entry["query"] = self._general(single)
        if exchange.body:
            entry["body"] = self._part(_decoded(exchange.body, exchange.path))
        entry |= {"status": exchange.status, "reads": self._part(_read_fields(exchange))}
        return entry

    def _part(self, part: Any) -> Any:
        """A body or answer; the content of a file stays as it is."""
        return part if isinstance(part, str) else self._general(part)

    def _general(self, value: Any, name: str = "") -> Any:
        """The same with placeholders for what is this workspace's own."""
        if isinstance(value, dict):
            return {key: self._general(item, key) for key, item in value.items()}
        if isinstance(value, list):
            return [self._general(item, name) for item in value]
        if name in TIMES and value:
            return "{time}"
        if name in IDS and str(value).isdecimal():
            return self._placeholder(IDS[name], str(value))
        return self._text(value) if isinstance(value, str) else value

    def _text(self, text: str) -> str:
        text = text.replace(self.host, "{host}").replace(self.folder, "{folder}")
        for pattern, kind in IDS_IN_TEXT:
            text = pattern.sub(lambda found, kind=kind: self._placeholder(kind, found[1]), text)
        return text

    def _placeholder(self, kind: str, value: str) -> str:
        numbers = self._known.setdefault(kind, {})
        return f"{{{kind}:{numbers.setdefault(value, str(len(numbers) + 1))}}}"


@dataclass
class Replay:
    """Asks a workspace what a recording asked, with the ids that this workspace gives out."""

    host: str
    token: str
    _bound: dict[str, str] = field(default_factory=dict)

    def run(self, flow: str) -> int:
        """Every exchange of a flow in turn; the number of them. An AssertionError tells what differs."""
        exchanges = json.loads((FOLDER / f"{flow}.json").read_text())["exchanges"]
        for number, exchange in enumerate(exchanges, 1):
            deadline = time.monotonic() + SECONDS_TO_WAIT
            while difference := self._difference(exchange):
                # The program asks again and again until a run has ended; so does this.
                if exchange["method"] != "GET" or time.monotonic() > deadline:
                    where = f"{flow} {number}: {exchange['method']} {exchange['path']}"
                    raise AssertionError(f"{where}: {difference}")
                time.sleep(0.05)
        return len(exchanges)

    def _difference(self, exchange: dict[str, Any]) -> str:
        answer = self._ask(exchange)
        got = Exchange(
            exchange["method"],
            exchange["path"],
            {},
            b"",
            answer.status_code,
            {name.lower(): value for name, value in answer.headers.items()},
            answer.content,
        )
        if got.status != exchange["status"]:
            return f"status {got.status} instead of {exchange['status']}: {answer.text[:500]}"
        return self._compare(exchange["reads"], _read_fields(got), "answer")

    def _ask(self, exchange: dict[str, Any]) -> requests.Response:
        body = self._own(exchange.get("body"))
        as_bytes = {"data": _encoded(body)} if isinstance(body, str) or "base64" in (body or {}) else {}
        as_json = {} if as_bytes or body is None else {"json": body}
        session = requests.Session()
        session.trust_env = False
        return session.request(
            exchange["method"],
            self.host + str(self._own(exchange["path"])),
            params=self._own(exchange.get("query", {})),
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=30,
            **as_bytes,
            **as_json,
        )

    def _own(self, value: Any) -> Any:
        """A part of a request with this workspace's ids in place of the placeholders."""
        if isinstance(value, dict):
            return {key: self._own(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._own(item) for item in value]
        if not isinstance(value, str):
            return value
        if (whole := PLACEHOLDER.fullmatch(value)) and whole[1] in self._bound:
            own = self._bound[whole[1]]
            return int(own) if own.isdecimal() else own
        return PLACEHOLDER.sub(lambda found: self._bound[found[1]], value).replace("{host}", self.host)

    def _compare(self, expected: Any, actual: Any, where: str) -> str:
        """What in an answer is not as recorded; empty when the client would read the same."""
        if isinstance(expected, dict) and isinstance(actual, dict):
            missing = sorted(expected.keys() - actual.keys())
            inner = (self._compare(expected[k], actual[k], f"{where}.{k}") for k in expected if k in actual)
            return f"{where} lacks {missing}; it has {actual}" if missing else next(filter(None, inner), "")
        if isinstance(expected, list) and isinstance(actual, list):
            return self._compare_lists(expected, actual, where)
        if expected == "{time}":
            return "" if isinstance(actual, int | str) and actual else f"{where} is no time: {actual!r}"
        if isinstance(expected, str) and isinstance(actual, _type_of(expected)):
            return self._compare_texts(expected, str(actual), where)
        return "" if expected == actual else f"{where} is {actual!r} instead of {expected!r}"

    def _compare_lists(self, expected: list[Any], actual: list[Any], where: str) -> str:
        """Each recorded item is found, in any place: the workspace may hold things of other tests too."""
        for item in expected:
            for candidate in actual:
                before = dict(self._bound)
                if not self._compare(item, candidate, where):
                    break
                self._bound = before
            else:
                return f"{where} has no item {item}; it has {actual}"
        return ""

    def _compare_texts(self, expected: str, actual: str, where: str) -> str:
        literal = re.split(r"\{(\w+:\d+)\}", expected.replace("{host}", self.host))
        names = literal[1::2]
        pattern = "".join(
            re.escape(part)
            if number % 2 == 0
            else re.escape(self._bound[part])
            if part in self._bound
            else r"([\w-]+)"
            for number, part in enumerate(literal)
        )
        found = re.fullmatch(pattern, actual, re.DOTALL)
        if found is None:
            return f"{where} is {actual!r} instead of {expected!r} with {self._bound}"
        unbound = [name for name in names if name not in self._bound]
        self._bound |= dict(zip(unbound, found.groups(), strict=True))
        return ""


def _type_of(expected: str) -> type:
    """All ids but those of clusters are numbers."""
    whole = PLACEHOLDER.fullmatch(expected)
    return int if whole and not whole[1].startswith("cluster_id") else str


def _question(entry: dict[str, Any]) -> tuple[Any, ...]:
    return entry["method"], entry["path"], entry.get("query"), entry["status"]


def _decoded(body: bytes, path: str) -> Any:
    """A body as data: JSON where the API takes JSON; else text, or base64 where it is none."""
    if "/import-file/" not in path and "/fs/files/" not in path:
        return json.loads(body)
    try:
        return body.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}


def _encoded(body: Any) -> bytes:
    return body.encode() if isinstance(body, str) else base64.b64decode(body["base64"])


def _read_fields(exchange: Exchange) -> Any:
    """The part of an answer that the client reads."""
    if exchange.method == "HEAD":
        names = HEADERS if exchange.status == 200 else ()
        return {name: exchange.headers[name] for name in names if name in exchange.headers}
    if not exchange.answer:
        return {}
    if "application/json" not in exchange.headers.get("content-type", ""):
        return _decoded(exchange.answer, "/import-file/")
    asked = f"{exchange.method} {unquote(exchange.path)}"
    names = ERROR if exchange.status >= 400 else ()
    for pattern, fields in READS.items():
        if not names and re.fullmatch(pattern, asked):
            names = fields
    return _picked(json.loads(exchange.answer), [name.split(".") for name in names])


def _picked(value: Any, paths: list[list[str]]) -> Any:
    if isinstance(value, list):
        return [_picked(item, paths) for item in value]
    if not isinstance(value, dict):
        return value
    picked = {}
    for name in dict.fromkeys(path[0] for path in paths):
        deeper = [path[1:] for path in paths if path[0] == name]
        if name in value:
            picked[name] = _picked(value[name], deeper) if all(deeper) else value[name]
    return picked
