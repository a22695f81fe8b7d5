"""A run of a job: its parameters, and how it is followed to its end."""

import json
import re
from typing import Any

import pytest
from deployment.databricks_cli import DatabricksCli
from deployment.errors import DeploymentError, RunFailedError
from deployment.runs import check_params, parse_params, poll_seconds, run_job, succeeded
from rest_server import Server, listed_job


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

File /runs/6/python/lib/python3.11/site-packages/diabetes_mlops/data/reading.py:213, in _found(table, source)
    212     try:
--> 213         _ = table.columns

File {pyspark}/sql/connect/dataframe.py:306, in DataFrame.columns(self)
--> 306     return [field.name for field in self._schema.fields]

"""


@pytest.mark.parametrize(
    "pyspark", ["/srv/.venv/lib/python3.11/site-packages/pyspark", "/databricks/spark/python/pyspark"]
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
