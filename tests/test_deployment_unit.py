"""The deploy code against a small HTTP server, through the real `databricks` program."""

import json
import os
import re
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import pytest
from deployment.clusters import ensure_cluster, require_cluster
from deployment.command_lines import open_cli
from deployment.databricks_cli import DatabricksCli
from deployment.deployments import choose_compute, prune, roll_back
from deployment.errors import CliError, DeploymentError, RunFailedError
from deployment.experiments import ensure_experiment
from deployment.jobs import check_owner, find_job
from deployment.overrides import params_of_run
from deployment.report import mlflow_page
from deployment.runs import check_params, parse_params, poll_seconds, run_job, succeeded
from deployment.settings import DEFINITION, FOUND_OUT, ROOT, Settings, read_count, read_flag, read_yaml
from deployment.tables import format_table, format_values
from deployment.targets import Target
from deployment.workspace import User, Workspace, open_workspace
from programs import any_cli

TOKEN = "good-token"
API_VERSION = re.compile(r"(?<=/api/2\.)\d")


@dataclass
class Server:
    """A REST server with one reply for each path, prepared or made; it records the bodies that it gets.

    Each program asks for a path of a version of its own: `/api/2.0/clusters/list` answers 2.1 as well.
    """

    host: str = ""
    replies: dict[str, Any] = field(default_factory=dict)
    received: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    tokens: dict[str, str] = field(default_factory=dict)
    also_accepts: str = TOKEN

    def reply_to(self, path: str, body: bytes, token: str) -> tuple[int, Any]:
        path = next((known for known in self.replies if plain(known) == plain(path)), path)
        self.tokens[path] = token.removeprefix("Bearer ")
        if self.tokens[path] not in (TOKEN, self.also_accepts):
            return 403, {"error_code": "PERMISSION_DENIED", "message": "Invalid access token."}
        self.received.append((path, json.loads(body) if body else {}))
        if path not in self.replies:
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"nothing at {path}"}
        try:
            reply = self.replies[path]() if callable(self.replies[path]) else self.replies[path]
        except PermissionError:
            return 403, {"error_code": "PERMISSION_DENIED", "message": "no USE SCHEMA"}
        return 200, reply.pop(0) if isinstance(reply, list) else reply

    def body_sent_to(self, path: str) -> dict[str, Any]:
        return next(body for called, body in self.received if called == path)


def plain(path: str) -> str:
    """A path without the version of the API."""
    return API_VERSION.sub("", path)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = urlsplit(self.path).path  # the program sends the whole address, as to a proxy
            status, reply = state.reply_to(path, body, self.headers.get("Authorization", ""))
            content = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PATCH = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state.host = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield state
        http.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def programs_of_this_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def workspace_at(host: str, folder: Path, token: str = TOKEN, profile: str = "local") -> Workspace:
    config = folder / "databrickscfg"
    config.write_text(f"[{profile}]\nhost = {host}\ntoken = {token}\n")
    return Workspace(profile, config, host, lambda: token)


@pytest.fixture
def cli(server: Server, tmp_path: Path) -> DatabricksCli:
    return any_cli(workspace_at(server.host, tmp_path))


def settings(workspace: str = "local") -> Settings:
    return Settings(workspace=workspace, target="local", local_workspace_state=".local_workspace")


# Settings and sign-in


def test_settings_that_are_missing_are_named() -> None:
    with pytest.raises(DeploymentError, match=r"\['WORKSPACE', 'TARGET'\] are not set"):
        Settings.from_environment({"TARGET": ""})


def test_what_a_make_variable_names_differs_from_the_target_and_nothing_else() -> None:
    given = {
        "WORKSPACE": "dev",
        "TARGET": "dev",
        "LOCAL_WORKSPACE_STATE": "x",
        "CATALOG": "trial",
        "SCHEMA": "",
    }

    assert Settings.from_environment(given | {"MAX_RMSE": "1"}).overrides == {"catalog": "trial"}


GIVEN = {"WORKSPACE": "dev", "TARGET": "dev"}
VARIABLES = read_yaml(ROOT / DEFINITION)["variables"]
OVERRIDABLE = [name for name in VARIABLES if name not in FOUND_OUT]


@pytest.mark.parametrize("name", OVERRIDABLE)
def test_every_variable_is_overridden_by_its_name_in_capitals(name: str) -> None:
    overrides = Settings.from_environment(GIVEN | {name.upper(): "a, b"}).overrides

    assert overrides == {name: ["a", "b"] if name == "notify_on_failure" else "a, b"}
    assert Settings.from_environment(GIVEN | {name.upper(): " "}).overrides == {}


def typed(name: str, value: str = "x") -> dict[str, str]:
    """What `make NAME=value` hands over."""
    known = " ".join([*GIVEN, "VERSION", *(each.upper() for each in VARIABLES)])
    return GIVEN | {name: value, "ON_COMMAND_LINE": name, "SETTINGS": known}


@pytest.mark.parametrize("name", [name.upper() for name in FOUND_OUT if name != "version"])
def test_what_a_deployment_finds_out_is_refused_by_name_and_left_alone_in_the_environment(name: str) -> None:
    with pytest.raises(DeploymentError, match=f"{name} cannot be given: `make deploy` finds it out itself"):
        Settings.from_environment(typed(name))
    assert Settings.from_environment(typed(name, "")).overrides == {}
    assert Settings.from_environment(GIVEN | {name: "x"}).overrides == {}


@pytest.mark.parametrize("value", ["true", "yes", "2", "-1", "1.5", "\u0661"])
def test_a_switch_or_a_count_that_cannot_be_read_is_refused_with_its_value(monkeypatch, value):
    monkeypatch.setenv("OVERWRITE", value)
    monkeypatch.setenv("KEEP_DEPLOYMENTS", "0" if value == "2" else value)

    with pytest.raises(DeploymentError, match=f"OVERWRITE is 1 or 0, not {value!r}"):
        read_flag("OVERWRITE")
    with pytest.raises(DeploymentError, match="KEEP_DEPLOYMENTS is a whole number from 1 on, not"):
        read_count("KEEP_DEPLOYMENTS", default=5)


@pytest.mark.parametrize(("value", "is_set", "count"), [("", True, 5), (" 1 ", True, 1)])
def test_a_switch_or_a_count_that_is_empty_is_the_default(monkeypatch, value, is_set, count):
    monkeypatch.setenv("WAIT", value)

    assert (read_flag("WAIT", default=True), read_count("WAIT", default=5)) == (is_set, count)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CATALOGUE", "CATALOG"),
        ("OUTPUTTABLE", "OUTPUT_TABLE"),
        ("catalog", "CATALOG"),
        ("VERSOIN", "VERSION"),
    ],
)
def test_a_mistyped_variable_is_refused_with_the_one_that_was_meant(name: str, meant: str) -> None:
    with pytest.raises(DeploymentError, match=f"^{name} is not a variable .*; did you mean {meant}\\?"):
        Settings.from_environment(typed(name))


def test_a_variable_of_another_program_is_told_where_it_stands() -> None:
    with pytest.raises(DeploymentError, match=r"databricks\.yml\. .* stands before make: QQ=\.\.\. make"):
        Settings.from_environment(typed("QQ", "secret"))


def test_unknown_profile_is_named_with_those_that_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace_at("https://adb-1.azuredatabricks.net", tmp_path, profile="dev")
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "databrickscfg"))

    with pytest.raises(DeploymentError, match=r"no profile 'prod' in .*it has \['dev'\]"):
        open_workspace(settings("prod"))


def test_without_a_profile_the_environment_signs_in(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("DATABRICKS_HOST", server.host)
    monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
    server.replies["/api/2.0/clusters/list"] = {"clusters": []}

    workspace = open_workspace(settings("staging"))

    assert (workspace.host, workspace.config_file) == (server.host, None)
    assert any_cli(workspace).clusters() == []
    assert any_cli(workspace).environment()["DATABRICKS_AUTH_TYPE"] == "pat"
    assert TOKEN not in repr(workspace)


def test_a_sign_in_that_fails_ends_in_one_message(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("DATABRICKS_HOST", server.host)
    monkeypatch.setenv("DATABRICKS_AUTH_TYPE", "pat")

    with pytest.raises(DeploymentError, match=r"cannot sign in with DATABRICKS_HOST: .*pat"):
        open_workspace(settings("staging"))


def program(folder: Path, content: bytes) -> Path:
    file = folder / "databricks"
    folder.mkdir()
    file.write_bytes(content)
    file.chmod(0o700)
    return file


def test_a_program_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="DATABRICKS_CLI names no program: /nowhere"):
        open_cli(workspace_at("http://127.0.0.1:9", tmp_path), "/nowhere")


def test_token_stays_out_of_what_is_printed_of_a_workspace(tmp_path: Path) -> None:
    assert TOKEN not in repr(workspace_at("http://127.0.0.1:1", tmp_path))


def test_wrong_token_ends_in_one_message(server: Server, tmp_path: Path) -> None:
    workspace = workspace_at(server.host, tmp_path, token="stale")

    with pytest.raises(DeploymentError, match=r"refuses the token of profile 'local' .*HTTP 403"):
        workspace.user_name()
    with pytest.raises(CliError, match=r"Authorization failed|Invalid access token"):
        any_cli(workspace).clusters()


def test_dead_workspace_ends_in_one_message(tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match=r"http://127.0.0.1:9 does not answer; start it with `make"):
        workspace_at("http://127.0.0.1:9", tmp_path).user_name()


# Cluster and experiment


def test_two_clusters_of_one_name_are_refused_with_their_ids(server: Server, cli: DatabricksCli) -> None:
    clusters = [
        {"cluster_id": key, "cluster_name": name} for key, name in (("1", "ml"), ("2", "ml"), ("3", "ml-2"))
    ]
    server.replies["/api/2.0/clusters/list"] = {"clusters": clusters}

    with pytest.raises(DeploymentError, match=r"2 clusters are called 'ml': \['1', '2'\]"):
        require_cluster(cli, "ml")


def test_missing_cluster_is_created_only_when_that_is_allowed(server: Server, cli: DatabricksCli) -> None:
    server.replies["/api/2.0/clusters/list"] = {}

    with pytest.raises(DeploymentError, match=r"no cluster is called 'ml'.*CREATE_CLUSTER=1"):
        ensure_cluster(cli, "ml", create=False)


def test_created_cluster_has_its_name_and_is_waited_for(server: Server, cli: DatabricksCli) -> None:
    known = {"clusters": [{"cluster_id": "7", "cluster_name": "ml"}]}
    server.replies |= {
        "/api/2.0/clusters/list": [{}, known],
        "/api/2.0/clusters/create": {"cluster_id": "7"},
        "/api/2.0/clusters/get": [{"state": "TERMINATED"}, {"state": "RUNNING"}],
        "/api/2.0/clusters/start": {},
    }

    assert ensure_cluster(cli, "ml", create=True) == "7"
    made = server.body_sent_to("/api/2.0/clusters/create")
    assert made["cluster_name"] == "ml" and "single_user_name" not in made
    assert server.body_sent_to("/api/2.0/clusters/start") == {"cluster_id": "7"}


def test_a_new_cluster_obeys_the_policy_of_that_name(server: Server, cli: DatabricksCli) -> None:
    server.replies |= {
        "/api/2.0/policies/clusters/list": {"policies": [{"policy_id": "P1", "name": "small"}]},
        "/api/2.0/clusters/list": [{}, {"clusters": [{"cluster_id": "7", "cluster_name": "ml"}]}],
        "/api/2.0/clusters/create": {"cluster_id": "7"},
        "/api/2.0/clusters/get": {"state": "RUNNING"},
    }

    ensure_cluster(cli, "ml", create=True, policy="small")

    sent = server.body_sent_to("/api/2.0/clusters/create")
    assert (sent["policy_id"], sent["apply_policy_default_values"]) == ("P1", True)
    server.replies["/api/2.0/clusters/list"] = {}
    with pytest.raises(DeploymentError, match=r"0 cluster policies are called 'large'; .* \['small'\]"):
        ensure_cluster(cli, "other", create=True, policy="large")


@pytest.mark.parametrize(
    ("user", "kind"),
    [
        ("11111111-2222-3333-4444-555555555555", "service_principal_name"),
        ("jo@example.com", "user_name"),
    ],
)
def test_a_new_cluster_is_for_whom_the_jobs_run_as(
    server: Server, cli: DatabricksCli, capsys: pytest.CaptureFixture[str], user: str, kind: str
) -> None:
    known = {"clusters": [{"cluster_id": "7", "cluster_name": "ml"}]}
    server.replies |= {
        "/api/2.0/clusters/list": [{}, known, known],
        "/api/2.0/clusters/create": {"cluster_id": "7"},
        "/api/2.0/clusters/get": {"state": "RUNNING", "single_user_name": user},
        "/api/2.0/permissions/clusters/7": {},
    }

    ensure_cluster(cli, "ml", create=True, user=user)

    made = server.body_sent_to("/api/2.0/clusters/create")
    assert (made["data_security_mode"], made["single_user_name"]) == ("SINGLE_USER", user)
    assert server.body_sent_to("/api/2.0/permissions/clusters/7") == {
        "access_control_list": [{kind: user, "permission_level": "CAN_RESTART"}]
    }
    assert f"Cluster 'ml' (7) is running, for jobs that run as {user}" in capsys.readouterr().out


@pytest.mark.parametrize("compute", ["existing", "job", "serverless"])
def test_what_the_jobs_run_on_is_one_setting(server: Server, cli: DatabricksCli, compute: str) -> None:
    clusters = [{"cluster_id": "7", "cluster_name": "azure-databricks-mlops-mlflow"}]
    server.replies["/api/2.0/clusters/list"] = {"clusters": clusters}
    target = Target("staging", lambda: User("ada@example.com"), {"compute": compute})

    chosen = choose_compute(cli, target)

    assert chosen["cluster_id"] == ("7" if compute == "existing" else "")
    assert bool(chosen["job_cluster_key"]) == bool(chosen["job_clusters"]) == (compute == "job")
    if compute == "job":
        assert "cluster_name" not in chosen["job_clusters"][0]["new_cluster"]


def test_a_compute_that_is_none_is_refused(cli: DatabricksCli) -> None:
    target = Target("staging", lambda: User("ada@example.com"), {"compute": "gpu"})

    with pytest.raises(DeploymentError, match="compute is existing, job or serverless; got 'gpu'"):
        choose_compute(cli, target)


def test_experiment_in_the_trash_is_restored(server: Server, tmp_path: Path) -> None:
    found = {"experiment": {"experiment_id": "5", "lifecycle_stage": "deleted"}}
    server.replies |= {
        "/api/2.0/mlflow/experiments/get-by-name": found,
        "/api/2.0/mlflow/experiments/restore": {},
    }

    assert ensure_experiment(workspace_at(server.host, tmp_path), "/Shared/x") == "5"
    assert server.body_sent_to("/api/2.0/mlflow/experiments/restore") == {"experiment_id": "5"}


def test_missing_experiment_is_created(server: Server, tmp_path: Path) -> None:
    server.replies["/api/2.0/mlflow/experiments/create"] = {"experiment_id": "6"}

    assert ensure_experiment(workspace_at(server.host, tmp_path), "/Shared/x") == "6"
    assert server.body_sent_to("/api/2.0/mlflow/experiments/create") == {
        "name": "/Shared/x",
        "tags": [{"key": "mlflow.experimentKind", "value": "custom_model_development"}],
    }


# Jobs


def listed_job(job_id: int, name: str, **parameters: str) -> dict[str, Any]:
    task = {"task_key": "a", "notebook_task": {"base_parameters": parameters}}
    return {"job_id": job_id, "settings": {"name": name, "tasks": [task]}}


def bundled(path: str) -> dict[str, Any]:
    """A job that a bundle has deployed."""
    job = listed_job(3, "train")
    job["settings"]["deployment"] = {"kind": "BUNDLE", "metadata_file_path": path}
    return job


@pytest.mark.parametrize(
    ("job", "bundle", "message"),
    [
        (bundled("/Workspace/a/state/metadata.json"), "", r"belongs to the bundle at /Workspace/a\. Deploy"),
        (
            bundled("/Workspace/a/state/metadata.json"),
            "/Workspace/b/state/metadata.json",
            "bundle at /Workspace/a",
        ),
        (listed_job(3, "train"), "/Workspace/b/state/metadata.json", r"\(3\) was deployed without a bundle"),
    ],
)
def test_a_job_that_somebody_else_has_deployed_is_left_alone(
    server: Server, cli: DatabricksCli, job: dict[str, Any], bundle: str, message: str
) -> None:
    server.replies["/api/2.1/jobs/list"] = {"jobs": [job]}

    with pytest.raises(DeploymentError, match=message):
        check_owner(cli, "train", bundle)


def test_a_job_may_be_deployed_again_by_the_same_owner(server: Server, cli: DatabricksCli) -> None:
    server.replies["/api/2.1/jobs/list"] = {"jobs": [bundled("/Workspace/a/state/metadata.json")]}
    check_owner(cli, "train", "/Workspace/a/state/metadata.json")

    server.replies["/api/2.1/jobs/list"] = {"jobs": [listed_job(3, "train")]}
    check_owner(cli, "train", "")


def test_two_jobs_of_one_name_are_refused_with_their_ids(server: Server, cli: DatabricksCli) -> None:
    server.replies["/api/2.1/jobs/list"] = {"jobs": [listed_job(3, "train"), listed_job(4, "train")]}

    with pytest.raises(DeploymentError, match=r"2 jobs are called 'train': \[3, 4\]"):
        find_job(cli, "train")


def test_a_rollback_keeps_whom_the_target_lets_run_its_jobs(server: Server, cli: DatabricksCli) -> None:
    target = Target("prod", lambda: User("ada@example.com"))
    target.run_as = {"service_principal_name": "1-2-3"}
    names = [target.job_name(key) for key in target.job_keys()]
    folder = f"/Workspace{target.deployments_folder}"
    jobs = [listed_job(i, name, wheel_dir=f"{folder}/0.2.0/dist/0.2.0") for i, name in enumerate(names)]
    record = b64encode(b'{"deployed_at": "2026-11-25 05:00:00"}').decode()
    server.replies |= {
        "/api/2.0/workspace/list": {"objects": [{"path": f"{folder}/{v}"} for v in ("0.1.0", "0.2.0")]},
        "/api/2.0/workspace/export": {"content": record},
        "/api/2.1/jobs/list": {"jobs": jobs},
        "/api/2.1/jobs/runs/list": {},
        "/api/2.1/jobs/reset": {},
    }

    roll_back(cli, target, "0.1.0")

    sent = [body for path, body in server.received if path == "/api/2.1/jobs/reset"]
    assert [int(body["job_id"]) for body in sent] == [0, 1, 2]
    for settings in (body["new_settings"] for body in sent):
        assert settings["run_as"] == {"service_principal_name": "1-2-3"}
        parameters = settings["tasks"][0]["notebook_task"]["base_parameters"]
        assert parameters == {"wheel_dir": f"{folder}/0.1.0/dist/0.1.0"}


def with_old_code(server: Server, target: Target) -> str:
    """Lets the workspace have three versions of the code, of which the jobs use none; gives their folder."""
    folder = f"/Workspace{target.deployments_folder}"
    record = b64encode(b'{"deployed_at": "2026-11-25 05:00:00"}').decode()
    codes = ("0.1.0+gaaaaaaa", "0.1.0+gaaaaaaa.d11111111", "0.1.0+gbbbbbbb")
    server.replies |= {
        "/api/2.0/workspace/list": {"objects": [{"path": f"{folder}/{code}"} for code in codes]},
        "/api/2.0/workspace/export": {"content": record},
        "/api/2.1/jobs/list": {"jobs": []},
        "/api/2.1/jobs/runs/list": {},
        "/api/2.0/workspace/delete": {},
    }
    return folder


def deleted(server: Server) -> list[str]:
    return [Path(body["path"]).name for path, body in server.received if path == "/api/2.0/workspace/delete"]


REGISTRY = "/api/2.0/mlflow"


@pytest.mark.parametrize(
    ("tags", "gone"),
    [
        ({"diabetes_version": "0.1.0+gaaaaaaa", "git_commit": "a" * 40}, {"gaaaaaaa.d11111111", "gbbbbbbb"}),
        ({"diabetes_version": "0.1.0+gaaaaaaa.d11111111"}, {"gaaaaaaa", "gbbbbbbb"}),
        ({"git_commit": "a" * 40}, {"gbbbbbbb"}),
        ({}, {"gaaaaaaa", "gaaaaaaa.d11111111", "gbbbbbbb"}),
    ],
)
def test_code_is_kept_for_the_model_that_exactly_it_trained(
    server: Server, cli: DatabricksCli, tags: dict[str, str], gone: set[str]
) -> None:
    target = Target("prod", lambda: User("ada@example.com"))
    with_old_code(server, target)
    listed = [{"key": key, "value": value} for key, value in tags.items()]
    server.replies |= {
        f"{REGISTRY}/registered-models/get": {
            "registered_model": {"aliases": [{"alias": "shadow", "version": "4"}]}
        },
        f"{REGISTRY}/model-versions/get": {"model_version": {"version": "4", "tags": listed}},
    }

    prune(cli, target, keep=0)

    assert {name.partition("+")[2] for name in deleted(server)} == gone


def no_rights() -> NoReturn:
    raise PermissionError


@pytest.mark.parametrize("reply", [no_rights, None])
def test_nothing_is_removed_where_the_registry_does_not_tell_who_needs_it(
    server: Server, cli: DatabricksCli, capsys: pytest.CaptureFixture[str], reply: Any
) -> None:
    target = Target("prod", lambda: User("ada@example.com"))
    with_old_code(server, target)
    if reply:
        server.replies[f"{REGISTRY}/registered-models/get"] = reply

    prune(cli, target, keep=0)

    assert deleted(server) == []
    assert "0.1.0+gbbbbbbb stays, because" in capsys.readouterr().out


# Runs


KEYS = ("diabetes_model_training", "diabetes_batch_scoring", "diabetes_monitoring")
FOUND: dict[str, Any] = {"version": "0.1.0", "wheels": "0.1.0", "git_commit": "1a2b3c4"}
CLUSTERS = [
    {"cluster_id": "7", "cluster_name": "azure-databricks-mlops-mlflow"},
    {"cluster_id": "8", "cluster_name": "trial"},
]
NO_JOB_CLUSTER: dict[str, Any] = {"job_cluster_key": "", "job_clusters": []}
# Another value for each variable, by its name.
OTHERS: dict[str, Any] = {name: "trial" for name in OVERRIDABLE} | {
    "compute": "serverless",
    "notify_on_failure": ["a@example.com", "b@example.com"],
}


@pytest.fixture
def compute(server: Server) -> Server:
    """A workspace that has two clusters."""
    server.replies["/api/2.0/clusters/list"] = {"clusters": CLUSTERS}
    return server


def overridden(**overrides: Any) -> Target:
    return Target("staging", lambda: User("ada@example.com"), overrides)


def deployed(key: str, **overrides: Any) -> dict[str, Any]:
    """A job as a deployment with these overrides leaves it."""
    ids = {each["cluster_name"]: each["cluster_id"] for each in CLUSTERS}
    target = overridden(**overrides)
    existing = target.text("compute") == "existing"
    compute = {"cluster_id": ids[target.text("cluster_name")] if existing else "", **NO_JOB_CLUSTER}
    return {"job_id": 3, "settings": overridden(**overrides, **compute, **FOUND).jobs()[key]}


def test_an_override_acts_at_the_run_by_the_widgets_that_it_reaches(
    compute: Server, cli: DatabricksCli, capsys: pytest.CaptureFixture[str]
) -> None:
    job = deployed("diabetes_batch_scoring")
    target = overridden(catalog="trial", output_table="a.b.c", thresholds="r2>=0")

    params = params_of_run(cli, target, "diabetes_batch_scoring", job, {"batch_id": "day"})

    assert params == {"model_name": "trial.diabetes.diabetes", "output_table": "a.b.c", "batch_id": "day"}
    said = "Overrides: CATALOG=trial, OUTPUT_TABLE=a.b.c; Overrides without effect here: THRESHOLDS=r2>=0"
    assert capsys.readouterr().out.splitlines() == [said]


def test_params_win_over_an_override(
    compute: Server, cli: DatabricksCli, capsys: pytest.CaptureFixture[str]
) -> None:
    job = deployed("diabetes_batch_scoring")

    target = overridden(output_table="a.b.c")
    params = params_of_run(cli, target, "diabetes_batch_scoring", job, {"output_table": "d.e.f"})

    assert params == {"output_table": "d.e.f"}
    assert capsys.readouterr().out == "Overrides without effect here: OUTPUT_TABLE=a.b.c\n"


@pytest.mark.parametrize("key", KEYS)
def test_an_override_that_the_job_was_deployed_with_changes_nothing(
    compute: Server, cli: DatabricksCli, key: str
) -> None:
    for name, value in OTHERS.items():
        job = deployed(key, **{name: value})

        assert params_of_run(cli, overridden(**{name: value}), key, job, {}) == {}, name


@pytest.mark.parametrize("key", KEYS)
def test_an_override_that_the_job_was_deployed_without_acts_or_is_named(
    compute: Server, cli: DatabricksCli, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    for name, other in OTHERS.items():
        given = f"{name.upper()}={','.join(other) if isinstance(other, list) else other}"
        try:
            params = params_of_run(cli, overridden(**{name: other}), key, deployed(key), {})
        except DeploymentError as error:
            assert str(error).startswith(f"{given} cannot act at a run")
            assert f"make deploy TARGET=staging {given}" in str(error)
        else:
            acts = bool(params) or name == "name_prefix"
            assert capsys.readouterr().out == (
                f"Overrides: {given}\n" if acts else f"Overrides without effect here: {given}\n"
            )


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("compute", "diabetes_batch_scoring"),
        ("cluster_name", "diabetes_batch_scoring"),
        ("training_schedule", "diabetes_model_training"),
        ("schedule_status", "diabetes_monitoring"),
        ("notify_on_failure", "diabetes_monitoring"),
        ("workspace_folder", "diabetes_monitoring"),
    ],
)
def test_an_override_that_only_a_deployment_can_heed_is_refused_at_a_run(
    compute: Server, cli: DatabricksCli, name: str, key: str
) -> None:
    with pytest.raises(DeploymentError, match=f"^{name.upper()}=.* cannot act at a run"):
        params_of_run(cli, overridden(**{name: OTHERS[name]}), key, deployed(key), {})


def test_params_are_read_like_words_of_a_shell() -> None:
    assert parse_params("alpha=0.3 note='two words' model_version=") == {
        "alpha": "0.3",
        "note": "two words",
        "model_version": "",
    }
    assert parse_params("") == {}


@pytest.mark.parametrize("text", ["alpha", "=1", "alpha=1 alpha=2", "note='open"])
def test_params_that_are_no_pairs_are_refused(text: str) -> None:
    with pytest.raises(DeploymentError, match="PARAMS"):
        parse_params(text)


def test_param_that_is_no_widget_is_refused_with_the_list() -> None:
    with pytest.raises(DeploymentError, match=r"no parameters \['beta'\]; it has \['alpha', 'data_root'\]"):
        check_params({"alpha": "1", "beta": "2"}, {"alpha": "", "data_root": ""}, "train")


def described_run(life_cycle_state: str, **state: str) -> dict[str, Any]:
    return {
        "run_id": 8,
        "run_page_url": "http://page/8",
        "state": {"life_cycle_state": life_cycle_state, **state},
        "tasks": [{"run_id": 9}],
    }


def prepare_run(server: Server, *states: dict[str, Any], output: dict[str, Any]) -> None:
    server.replies |= {
        "/api/2.1/jobs/list": {"jobs": [listed_job(3, "train", alpha="0.5")]},
        "/api/2.1/jobs/run-now": {"run_id": 8},
        "/api/2.1/jobs/runs/get": list(states),
        "/api/2.1/jobs/runs/get-output": output,
    }


def test_run_is_followed_to_its_exit_value(
    server: Server, cli: DatabricksCli, capsys: pytest.CaptureFixture[str]
) -> None:
    pending, done = described_run("PENDING"), described_run("TERMINATED", result_state="SUCCESS")
    result = json.dumps({"model_version": "4", "metrics": {"rmse": 55.123456}})
    prepare_run(server, pending, pending, done, output={"notebook_output": {"result": result}})

    run_job(cli, "train", {"alpha": "0.3"}, wait=True)

    printed = capsys.readouterr().out
    assert "http://page/8" in printed and "PENDING" in printed and "SUCCESS" in printed
    assert re.search(r"metrics\.rmse +55\.1235", printed)
    assert server.body_sent_to("/api/2.1/jobs/run-now")["notebook_params"] == {"alpha": "0.3"}


def test_run_that_is_not_waited_for_is_only_triggered(server: Server, cli: DatabricksCli) -> None:
    prepare_run(server, described_run("PENDING"), output={})

    run_job(cli, "train", {}, wait=False)

    assert [path for path, _ in server.received][-1] == "/api/2.1/jobs/runs/get"


def test_failed_run_raises_with_the_error_of_the_notebook(server: Server, cli: DatabricksCli) -> None:
    failed = described_run("INTERNAL_ERROR", result_state="FAILED", state_message="Task failed")
    error = "SchemaError: missing columns ['BMI']"
    output = {
        "error": error,
        "error_trace": "\x1b[31mTraceback\x1b[0m\n  line 3\n" + error,
    }
    prepare_run(server, failed, failed, output=output)

    with pytest.raises(RunFailedError) as raised:
        run_job(cli, "train", {}, wait=True)

    assert str(raised.value).splitlines() == [
        "run 8 of 'train' ended as FAILED: Task failed",
        "SchemaError: missing columns ['BMI']",
        "Traceback",
        "  line 3",
        "Run page: http://page/8",
    ]


# An error of Spark as a notebook leaves it, cut short.
SPARK_ERROR = """SparkException: Job aborted due to stage failure: awaitResult:
\tat org.apache.spark.util.SparkThreadUtils$.awaitResult(SparkThreadUtils.scala:53)
Caused by: java.lang.RuntimeException: dbfs:/bad.parquet is not a Parquet file
\tat org.apache.parquet.hadoop.ParquetFileReader.readFooter(ParquetFileReader.java:622)
\t... 9 more

Driver stacktrace:

JVM stacktrace:
org.apache.spark.SparkException
\tat org.apache.spark.scheduler.DAGScheduler.abortStage(DAGScheduler.scala:3122)
Caused by: java.lang.RuntimeException: dbfs:/bad.parquet is not a Parquet file
"""
SPARK_TRACE = """SparkException                            Traceback (most recent call last)
Cell In[1], line 6
----> 6 result = batch_score.run(spark, settings)

File /runs/6/python/lib/python3.11/site-packages/diabetes_mlops/sources.py:213, in _found(table, source)
    212     try:
--> 213         _ = table.columns

File {pyspark}/sql/connect/dataframe.py:306, in DataFrame.columns(self)
--> 306     return [field.name for field in self._schema.fields]

"""


@pytest.mark.parametrize(
    "pyspark", ["/work/.venv/lib/python3.11/site-packages/pyspark", "/databricks/spark/python/pyspark"]
)
def test_an_error_inside_spark_is_told_first_and_then_where_in_our_code(
    server: Server, cli: DatabricksCli, pyspark: str
) -> None:
    failed = described_run("INTERNAL_ERROR", result_state="FAILED", state_message="Task failed")
    trace = SPARK_TRACE.format(pyspark=pyspark) + SPARK_ERROR
    prepare_run(server, failed, failed, output={"error": SPARK_ERROR, "error_trace": trace})

    with pytest.raises(RunFailedError) as raised:
        run_job(cli, "train", {}, wait=True)

    lines = str(raised.value).splitlines()
    assert lines[1] == "SparkException: Job aborted due to stage failure: awaitResult:"
    assert lines[-4:] == [
        "    212     try:",
        "--> 213         _ = table.columns",
        "Caused by: java.lang.RuntimeException: dbfs:/bad.parquet is not a Parquet file",
        "Run page: http://page/8",
    ]
    assert pyspark not in str(raised.value)


@pytest.mark.parametrize("result_state", ["FAILED", "CANCELED", "TIMEDOUT", None])
def test_only_success_counts_as_success(result_state: str | None) -> None:
    assert succeeded(described_run("TERMINATED", result_state="SUCCESS"))
    assert not succeeded(
        described_run("TERMINATED", **({"result_state": result_state} if result_state else {}))
    )


def test_skipped_run_raises_with_its_reason(server: Server, cli: DatabricksCli) -> None:
    skipped = described_run("SKIPPED", state_message="another run is active")
    prepare_run(server, skipped, skipped, output={})

    with pytest.raises(RunFailedError, match="ended as SKIPPED: another run is active"):
        run_job(cli, "train", {}, wait=True)


def test_job_that_is_not_deployed_is_named(server: Server, cli: DatabricksCli) -> None:
    server.replies["/api/2.1/jobs/list"] = {"jobs": []}

    with pytest.raises(DeploymentError, match="no job is called 'train'; deploy it with `make deploy`"):
        run_job(cli, "train", {}, wait=True)


def test_long_runs_are_asked_about_less_often() -> None:
    assert poll_seconds(0) < poll_seconds(3600)


# What is printed


def test_values_are_shown_by_name_and_lists_of_rows_left_out() -> None:
    shown = format_values({"rows_in": 100, "metrics": {"rmse": 55.0}, "sample": [{"ID": 1}]})

    assert shown.splitlines() == ["  rows_in       100", "  metrics.rmse  55.0000"]


def test_the_reasons_of_a_refusal_are_shown_each_on_a_line() -> None:
    shown = format_values({"decision": {"promote": False, "reasons": ["too high", "too old"]}, "alpha": 0.5})

    assert shown.splitlines() == [
        "  decision.promote  False",
        "  decision.reasons  too high",
        "                    too old",
        "  alpha             0.5000",
    ]


def test_rows_are_shown_under_their_columns() -> None:
    assert format_table([{"ID": 1, "prediction": 2.5}]).splitlines() == ["ID  prediction", "1   2.5000"]
    assert format_table([]) == "(no rows)"


def test_mlflow_page_of_a_run_is_where_each_kind_of_workspace_has_it(tmp_path: Path) -> None:
    training = {"experiment_id": "5", "run_id": "abc"}
    local = workspace_at("http://127.0.0.1:5115", tmp_path)
    cloud = workspace_at("https://adb-1.azuredatabricks.net", tmp_path, profile="dev")

    assert mlflow_page(local, training) == "http://127.0.0.1:5115/#/experiments/5/runs/abc"
    assert mlflow_page(cloud, training) == "https://adb-1.azuredatabricks.net/ml/experiments/5/runs/abc"


# The registry


def test_models_of_a_profile_are_asked_of_its_unity_catalog_whatever_the_environment_names(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deployment.models import open_model  # here, because importing MLflow takes seconds

    elsewhere = {"HOST": "http://127.0.0.1:9", "TOKEN": "other", "AUTH_TYPE": "", "CONFIG_FILE": ""}
    for name, value in elsewhere.items():
        monkeypatch.setenv(f"DATABRICKS_{name}", value)
    server.replies["/api/2.0/preview/scim/v2/Me"] = {"userName": "ada@example.com"}

    model = open_model(workspace_at(server.host, tmp_path, profile="dev"), "main.diabetes.diabetes")
    with pytest.raises(DeploymentError, match=r"no registered model 'main\.diabetes\.diabetes'"):
        model.print_versions()

    assert model.user == "ada@example.com"
    asked = [path for path, _ in server.received]
    assert "/api/2.0/mlflow/unity-catalog/registered-models/get" in asked
