"""Sends made-up requests to every route that the workspace describes, and counts how it answers.

As a program it does so to a whole workspace of its own, with MLflow, Spark and real runs, in a temporary
folder: `python local_workspace/tests/fuzzing.py --examples 20000`.
"""

import argparse
import copy
import io
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import requests
import schemathesis
from databricks.sdk import WorkspaceClient
from databricks.sdk.service.workspace import Language
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from local_workspace.__main__ import start, stop
from local_workspace.store.profile import read_profile
from local_workspace.store.state import StateFolder
from real_workspace import free_port
from schemathesis import Case, GenerationMode

NOT_SERVED_HERE = 501
MOST_A_ROUND = 500
# Of ten requests five name what exists, so that they get past the first checks, two keep to the document
# otherwise, and three break it.
EXISTING, ANY = 0, 1
PARTS = [
    (EXISTING, GenerationMode.POSITIVE, 0.5),
    (ANY, GenerationMode.POSITIVE, 0.2),
    (EXISTING, GenerationMode.NEGATIVE, 0.3),
]


@dataclass
class Findings:
    """How many requests were answered how, and those that the workspace failed at, as curl commands."""

    statuses: Counter[int] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        """All requests that were sent."""
        return self.statuses.total()

    def note(self, operation: str, case: Case, status: int, text: str) -> None:
        """Count one answer; the first failure of each operation is kept."""
        self.statuses[status] += 1
        if status >= 500 and status != NOT_SERVED_HERE:
            self.failures.setdefault(operation, f"{status} {text[:300]}\n{case.as_curl_command()}")


def fuzz(
    host: str,
    token: str,
    document: dict[str, Any],
    known: dict[str, list[Any]],
    examples: int,
    number: int = 0,
    report: Callable[[Findings], None] = lambda findings: None,
) -> Findings:
    """Sends at least `examples` requests, spread over the operations of an OpenAPI document.

    `known` are values that exist, by the name of their field.
    """
    documents = [with_known_values(document, known), document]
    schemas = [schemathesis.openapi.from_dict(one).get_all_operations() for one in documents]
    operations = sorted(
        ([part.ok() for part in pair] for pair in zip(*schemas, strict=True)), key=_takes_away
    )
    findings, session = Findings(), requests.Session()
    session.trust_env = False
    while findings.requests < examples:  # an operation that takes nothing has one request a round
        amount = min(MOST_A_ROUND, (examples - findings.requests) // len(operations) + 1)
        for operation in operations:
            takes_something = bool(operation[ANY].query) or bool(operation[ANY].body)
            for values, mode, share in PARTS if takes_something else [(ANY, GenerationMode.POSITIVE, 1.0)]:
                part = max(1, round(amount * share))
                _send(operation[values], mode, part, number, host, token, session, findings)
            report(findings)
        number += 1
    return findings


def prepare(client: WorkspaceClient) -> dict[str, list[Any]]:
    """Puts something of each kind into a workspace; gives values that exist, by the name of their field."""
    header = "# Databricks notebook source\n"
    client.workspace.upload("/Shared/fuzzed", f"{header}1 + 1\n".encode(), language=Language.PYTHON)
    client.secrets.create_scope("fuzzed")
    client.secrets.put_secret("fuzzed", "key", string_value="value")
    client.dbfs.upload("/fuzzed/file", io.BytesIO(b"content"))
    client.files.upload("/Volumes/a/b/c/file", io.BytesIO(b"content"))
    cluster_id = client.clusters.create(spark_version="18", num_workers=0).response.cluster_id
    task = {"task_key": "a", "existing_cluster_id": cluster_id}
    task["notebook_task"] = {"notebook_path": "/Shared/fuzzed"}
    job = client.api_client.do("POST", "/api/2.1/jobs/create", body={"name": "fuzzed", "tasks": [task]})
    run_id = client.jobs.run_now(job["job_id"]).run_id
    paths = ["/Shared/fuzzed", "/Shared", "/", "/fuzzed/file", "dbfs:/fuzzed", "/Volumes/a/b/c", "/new"]
    return {
        "path": [*paths, "a/b/c/file"],
        "source_path": paths,
        "destination_path": paths,
        "notebook_path": ["/Shared/fuzzed"],
        "cluster_id": [cluster_id],
        "existing_cluster_id": [cluster_id],
        "tasks": [[task]],
        "scope": ["fuzzed"],
        "key": ["key"],
        "job_id": [job["job_id"], str(job["job_id"])],
        "run_id": [run_id, run_id + 1],
        "handle": [1],
        "format": ["SOURCE", "JUPYTER", "AUTO", "RAW"],
        "language": ["PYTHON", "SQL"],
        "page_token": ["0", "5"],
        "limit": [0, 1, 25],
        "permission": ["READ", "MANAGE"],
        "contents": ["", "YQ==", "no base64"],
        "content": ["", "YQ==", "e30="],
        "data": ["", "YQ=="],
    }


def with_known_values(document: dict[str, Any], known: dict[str, list[Any]]) -> dict[str, Any]:
    """The document with values that exist as the only ones of each field of that name, at any depth."""

    def choice(name: str, schema: Any) -> Any:
        values = known.get(name, [])
        return {"enum": values} if values else visited(schema)

    def visited(part: Any) -> Any:
        if isinstance(part, list):
            return [visited(item) for item in part]
        if not isinstance(part, dict):
            return part
        if "schema" in part and "name" in part:
            return part | {"schema": choice(part["name"], part["schema"])}
        if isinstance(part.get("properties"), dict):
            properties = {name: choice(name, schema) for name, schema in part["properties"].items()}
            part = part | {"properties": properties}
            return {name: value if name == "properties" else visited(value) for name, value in part.items()}
        return {name: visited(value) for name, value in part.items()}

    result: dict[str, Any] = visited(copy.deepcopy(document))
    return result


def _takes_away(operation: list[Any]) -> bool:
    """Whether an operation may remove what the others need: those come last."""
    return any(word in operation[ANY].label.lower() for word in ("delete", "move"))


def _send(
    operation: Any,
    mode: GenerationMode,
    amount: int,
    number: int,
    host: str,
    token: str,
    session: requests.Session,
    findings: Findings,
) -> None:
    headers = {"Authorization": f"Bearer {token}"}

    @seed(number)
    @settings(
        max_examples=amount,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Case) -> None:
        case.headers = {k: v for k, v in (case.headers or {}).items() if k.lower() != "authorization"}
        answer = case.call(base_url=host, session=session, headers=headers, timeout=30)
        findings.note(operation.label, case, answer.status_code, answer.content.decode(errors="replace"))

    send()


def main() -> int:
    """Fuzzes a workspace of its own and prints the counts; the exit code is 1 when a request made it fail."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # stops the workspace on the way out
    with tempfile.TemporaryDirectory() as folder:
        state = StateFolder(Path(folder))
        port = free_port()
        try:
            start(state, port)
            profile = read_profile(state.config_file)
            assert profile is not None, "start wrote it"
            client = WorkspaceClient(host=profile.host, token=profile.token, auth_type="pat")
            document = client.api_client.do("GET", "/api/2.0/local-workspace/openapi.json")
            known = prepare(client)
            began = time.monotonic()
            findings = fuzz(
                profile.host, profile.token, document, known, arguments.examples, arguments.seed, _say
            )
        finally:
            stop(state, None)
    for failure in findings.failures.values():
        print(f"\n{failure}")
    result = {
        "requests": findings.requests,
        "statuses": dict(sorted(findings.statuses.items())),
        "operations": sum(len(methods) for methods in document["paths"].values()),
        "failed": len(findings.failures),
        "seconds": round(time.monotonic() - began),
        "versions": {name: version(name) for name in ("schemathesis", "hypothesis", "fastapi", "mlflow")},
    }
    print(json.dumps(result))
    return 1 if findings.failures else 0


def _say(findings: Findings) -> None:
    """One line for every operation."""
    counts = dict(sorted(findings.statuses.items()))
    print(f"{findings.requests:>7} requests: {counts}, failed: {sorted(findings.failures)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
