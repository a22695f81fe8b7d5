"""A job tells Application Insights what it does: under its own ids, and never at its own expense."""

import logging
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from diabetes_mlops.runs import telemetry
from diabetes_mlops.runs.telemetry import SECRET, Target, find_target
from ingestion import KEY, Ingestion, open_ingestion

KINDS = ("Request", "RemoteDependency", "Message", "Metric")
WARNING = "warning: telemetry: "
UNSENT = "some of it could not be sent to Application Insights; the job is not affected"


def work(target: Target | None, run_id: str = "r1") -> None:
    """What a job does, as far as telemetry can tell."""
    with telemetry.job("some_job", target, model_name="main.tests.model"):
        telemetry.describe(run_id=run_id)
        with telemetry.step("read"):
            telemetry.say(f"read 3 rows in {run_id}")
        telemetry.describe(model_version="7")
        telemetry.count(rows_in=3)


def names(items) -> list[str]:
    return [item["name"] for item in items]


def metrics(ingestion: Ingestion, run_id: str) -> dict[str, float]:
    found = [item["metrics"][0] for item in ingestion.of("Metric", run_id=run_id)]
    return {metric["name"]: metric["value"] for metric in found}


@pytest.fixture
def endpoint():
    with open_ingestion() as ingestion:
        yield ingestion


@pytest.fixture
def shown():
    """What a handler of the root logger, such as a notebook may have, gets to show."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    yield records
    logging.getLogger().removeHandler(handler)


def test_a_scoring_run_tells_its_steps_and_counts(scored, ingestion):
    _, result = scored
    run_id = result["run_id"]

    steps = ingestion.of("RemoteDependency", run_id=run_id)

    assert names(steps) == ["load", "read", "stage", "check", "publish"]
    assert all(step["success"] for step in steps)
    assert names(ingestion.of("Request", run_id=run_id)) == ["diabetes_batch_scoring"]
    counted = metrics(ingestion, run_id)
    assert counted.pop("duration") > 0
    assert counted == {name: result[name] for name in ("rows_in", "rows_scored", "rows_rejected")}


def test_a_training_run_tells_its_steps(trained, ingestion):
    _, result = trained
    run_id = result["run_id"]

    steps = ingestion.of("RemoteDependency", run_id=run_id)

    assert names(steps) == ["read", "fit", "evaluate", "register", "gate"]
    assert metrics(ingestion, run_id)["rows_in"] == result["rows_train"] + result["rows_holdout"]
    (job,) = ingestion.of("Request", run_id=run_id)
    assert job["success"]
    assert job["properties"]["model_version"] == result["model_version"]


def test_all_that_a_scoring_run_sends_says_what_it_belongs_to(scored, ingestion):
    jobs, result = scored
    ids = {"job_id": "10", "job_run_id": "20", "task_run_id": "30", "job": "diabetes_batch_scoring"}
    model = {"model_name": jobs.model_name, "model_version": "1"}

    for kind in KINDS:
        items = ingestion.of(kind, run_id=result["run_id"])
        begun = [item for item in items if item.get("name") != "load"]
        assert begun
        assert all((ids | model).items() <= item["properties"].items() for item in begun), kind


def test_the_milestones_that_are_printed_are_reported(scored, ingestion):
    _, result = scored

    said = [item["message"] for item in ingestion.of("Message", run_id=result["run_id"])]

    assert f"published 100 rows in {result['output_table']}, rejected 0" in said


def test_milestones_are_printed_once_also_where_every_record_is_shown(endpoint, capsys, shown):
    work(endpoint.target())

    assert capsys.readouterr().out == "read 3 rows in r1\n"
    assert not shown


@pytest.mark.parametrize("error", [ValueError("no such column"), KeyboardInterrupt()], ids=repr)
def test_a_failed_job_is_reported_with_its_error_once(endpoint, error: BaseException):
    with pytest.raises(type(error)) as raised, telemetry.job("some_job", endpoint.target()):
        telemetry.describe(run_id="r1")
        with telemetry.step("read"):
            telemetry.say("about to read")
        with telemetry.step("fit"):
            raise error

    assert raised.value is error
    assert [job["success"] for job in endpoint.of("Request")] == [False]
    assert {step["name"]: step["success"] for step in endpoint.of("RemoteDependency")} == {
        "read": True,
        "fit": False,
    }
    (told,) = endpoint.of("Exception", run_id="r1", job_run_id="20")
    assert told["exceptions"][0]["typeName"] == type(error).__name__
    assert str(error) in told["exceptions"][0]["message"]


def test_each_run_of_a_process_has_its_own_ids(endpoint):
    for run_id in ("first", "second"):
        work(endpoint.target(job_run_id=f"job of {run_id}"), run_id)

    for run_id in ("first", "second"):
        own = {"run_id": run_id, "job_run_id": f"job of {run_id}"}
        assert [len(endpoint.of(kind, run_id=run_id)) for kind in KINDS] == [1, 1, 1, 2]
        assert [len(endpoint.of(kind, **own)) for kind in KINDS] == [1, 1, 1, 2]
        assert endpoint.of("Message", **own)[0]["message"] == f"read 3 rows in {run_id}"


def test_a_run_without_a_target_after_one_with_a_target_sends_nothing(endpoint):
    work(endpoint.target(), "with")
    before = len(endpoint.items)

    work(None, "without")

    assert len(endpoint.items) == before > 0
    assert isinstance(telemetry.step("of no job"), nullcontext)


def test_two_runs_at_the_same_time_do_not_mix(endpoint):
    both = threading.Barrier(2)

    def run(run_id: str) -> None:
        with telemetry.job("some_job", endpoint.target()):
            telemetry.describe(run_id=run_id)
            both.wait(timeout=10)
            telemetry.say(f"said by {run_id}")
            both.wait(timeout=10)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, ("one", "other")))

    for run_id in ("one", "other"):
        assert [item["message"] for item in endpoint.of("Message", run_id=run_id)] == [f"said by {run_id}"]
        assert len(endpoint.of("Request", run_id=run_id)) == 1


def test_without_a_target_no_thread_is_started_and_nothing_is_imported():
    program = (
        "import sys, threading\n"
        "from diabetes_mlops.runs import telemetry\n"
        "with telemetry.job('some_job', None), telemetry.step('read'):\n"
        "    telemetry.describe(run_id='r1')\n"
        "    telemetry.count(rows_in=3)\n"
        "    telemetry.say('read 3 rows')\n"
        "    print(threading.active_count())\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'azure'))])\n"
    )

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert (ran.stdout, ran.stderr) == ("read 3 rows\n1\n[]\n", "")


def test_two_threads_send_and_end_with_the_job_and_nothing_is_kept(endpoint, tmp_path):
    program = (
        "import sys, threading\n"
        "from diabetes_mlops.runs import telemetry\n"
        "def threads():\n"
        "    return sorted(thread.name for thread in threading.enumerate())\n"
        "with telemetry.job('some_job', telemetry.Target(sys.stdin.read())):\n"
        "    print(threads())\n"
        "print(threads())\n"
    )
    given = endpoint.target().connection_string
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", program]

    ran = subprocess.run(command, input=given, env=environment, capture_output=True, text=True, check=True)

    # The exporter would report on itself by further threads, to other addresses.
    during = ["MainThread", "OtelBatchLogRecordProcessor", "OtelBatchSpanRecordProcessor"]
    assert (ran.stdout, ran.stderr) == (f"{during}\n['MainThread']\n", "")
    assert not list(tmp_path.iterdir())
    assert set(endpoint.requests) == {"/v2.1/track"}


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_the_service_cannot_take_now_is_sent_again(endpoint, capsys, status: int):
    endpoint.answers = [status]

    work(endpoint.target())

    assert [len(endpoint.of(kind, run_id="r1")) for kind in KINDS] == [1, 1, 1, 2]
    assert WARNING not in capsys.readouterr().out


@pytest.mark.parametrize("status", [206, 400, 402])
def test_what_the_service_refuses_is_told_in_one_line(endpoint, capfd, status: int):
    endpoint.answers = [status]

    work(endpoint.target())

    assert endpoint.items
    assert capfd.readouterr() == (f"read 3 rows in r1\n{WARNING}{UNSENT}\n", "")


def test_an_endpoint_that_is_not_there_costs_seconds_and_one_line(capfd, shown):
    start = time.monotonic()

    work(Ingestion(port=1).target())

    assert time.monotonic() - start < telemetry.FLUSH_SECONDS + 2
    assert capfd.readouterr() == (f"read 3 rows in r1\n{WARNING}{UNSENT}\n", "")
    assert not [record for record in shown if record.name.startswith("azure.monitor")]


def test_a_slow_endpoint_holds_no_job_up(endpoint, monkeypatch, capsys):
    monkeypatch.setattr(telemetry, "FLUSH_SECONDS", 0.2)
    endpoint.seconds_to_answer = 1.5
    start = time.monotonic()

    work(endpoint.target())

    assert time.monotonic() - start < 1.2
    assert WARNING + UNSENT in capsys.readouterr().out


@pytest.mark.parametrize(
    "text", ["nonsense", "InstrumentationKey=", "InstrumentationKey=secret-1;x=y", "a=b;c"]
)
def test_a_wrong_connection_string_turns_telemetry_off_and_is_not_shown(capfd, text: str):
    work(Target(text))

    out, err = capfd.readouterr()
    assert out.startswith(f"{WARNING}off (")
    assert out.endswith(
        f"the secret {SECRET} is no connection string of Application Insights\nread 3 rows in r1\n"
    )
    assert err == ""
    assert text not in out.replace(SECRET, "")


def test_an_absent_package_turns_telemetry_off(endpoint, capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "diabetes_mlops.runs.application_insights", raising=False)
    monkeypatch.setitem(sys.modules, "azure.monitor.opentelemetry.exporter", None)

    work(endpoint.target())

    warning, milestone = capsys.readouterr().out.splitlines()
    assert warning.startswith(f"{WARNING}off, because a package is missing (")
    assert warning.endswith("deploy with TELEMETRY=1, which brings it")
    assert milestone == "read 3 rows in r1"
    assert not endpoint.items


def test_the_connection_string_is_in_nothing_that_is_shown_or_told(endpoint, capfd):
    target = endpoint.target()
    with pytest.raises(ValueError), telemetry.job("some_job", target):
        telemetry.say(f"sending to {target}")
        raise ValueError("stop")

    shown = "".join(capfd.readouterr()) + repr(target)
    told = [item["data"] for item in endpoint.items]
    assert told
    assert KEY not in shown + str(told)


WIDGETS = {"secret_scope": "project", "job_id": "10", "job_run_id": "20", "task_run_id": "30"}


class Secrets:
    """Databricks' dbutils.secrets on these scopes, of which some may not be read."""

    def __init__(self, scopes: dict[str, dict[str, str] | None]) -> None:
        self._scopes = scopes

    def listScopes(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name=name) for name in self._scopes]

    def list(self, scope: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(key=key) for key in self._readable(scope)]

    def get(self, scope: str, key: str) -> str:
        return self._readable(scope)[key]

    def _readable(self, scope: str) -> dict[str, str]:
        secrets = self._scopes[scope]
        if secrets is None:
            raise PermissionError(f"User u does not have READ permission on scope {scope}")
        return secrets


def dbutils_with(scopes: dict[str, dict[str, str] | None], **widgets: str) -> SimpleNamespace:
    return SimpleNamespace(widgets=WIDGETS | widgets, secrets=Secrets(scopes))


def test_the_target_is_read_from_the_scope_and_the_widgets():
    dbutils = dbutils_with({"other": None, "project": {"some-key": "s", SECRET: " InstrumentationKey=1 \n"}})

    assert find_target(dbutils) == Target("InstrumentationKey=1", "10", "20", "30")


@pytest.mark.parametrize(
    ("scopes", "scope"),
    [
        ({"project": {SECRET: ""}}, "project"),
        ({"project": {"some-key": "s"}}, "project"),
        ({"other": {SECRET: "InstrumentationKey=1"}}, "project"),
        ({"project": None}, ""),
    ],
    ids=["empty", "no secret", "no scope", "no widget"],
)
def test_without_the_secret_telemetry_is_off_in_silence(capfd, scopes, scope: str):
    assert find_target(dbutils_with(scopes, secret_scope=scope)) is None
    assert capfd.readouterr() == ("", "")


def test_a_secret_that_may_not_be_read_is_told_in_one_line(capsys):
    assert find_target(dbutils_with({"project": None})) is None

    told = f"the secret {SECRET} of the scope project could not be read: PermissionError"
    assert capsys.readouterr().out == f"{WARNING}{told}\n"
