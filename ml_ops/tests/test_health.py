"""What monitoring makes of the numbers of batches, versions and failed runs."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from diabetes_mlops.monitoring.health import History, judge
from diabetes_mlops.monitoring.history import FAILURE, LONGEST_RUN, LOST, list_failures
from mlflow.entities import Metric, Param, Run, RunData, RunInfo, RunTag

NIGHT = pd.Timestamp("2026-03-01 02:00")
DAY = pd.Timedelta(days=1)
NOW = (NIGHT + 3 * DAY).tz_localize("UTC").to_pydatetime()
TABLE = "main.diabetes.scored"
SCORING_JOB = Path(__file__).parents[1] / "deployment/databricks/jobs/diabetes_batch_scoring.yml"


def batches(*drift: str | None, rejected: float = 0.0) -> pd.DataFrame:
    """One batch a night with this drift, b0 the first."""
    found = pd.DataFrame(
        {"batch_id": [f"b{i}" for i in range(len(drift))], "drift": pd.Series(drift, dtype="object")}
    )
    psi = {
        None: "",
        "ok": "",
        "warn": "AGE psi 0.12 (warn from 0.1)",
        "alert": "BMI psi 0.4 (alert from 0.25)",
    }
    return found.assign(
        model_name="m",
        model_version="1",
        run_id="r",
        scored_at=[NIGHT + i * DAY for i in range(len(drift))],
        rows=100,
        drifted=[psi[status] for status in drift],
        rejected=rejected,
        rejected_share=rejected / (100 + rejected),
    )


def history(
    scored: pd.DataFrame, *failures: tuple[float, bool], cancelled: tuple[float, ...] = ()
) -> History:
    """Failures are nights after the first one, and whether their batch was published since."""
    rows = [
        (NIGHT + night * DAY, f"f{night}", "in.csv", np.nan, f"SchemaError: {night}", "r", False, since)
        for night, since in failures
    ]
    rows += [
        (NIGHT + night * DAY, f"c{night}", "in.csv", np.nan, "KeyboardInterrupt", "r", True, False)
        for night in cancelled
    ]
    failed = pd.DataFrame(rows, columns=FAILURE).astype(
        {"ended_at": "datetime64[ns]", "cancelled": "bool", "published_since": "bool"}
    )
    version = {"model_name": "m", "model_version": "1", "labelled": 0, "rmse": np.nan, "ratio": np.nan}
    return History(scored, pd.DataFrame([version]), failed, "rmse")


def find(known: History, name: str, days: float = 7, share: float = 0.05) -> tuple[str | None, str]:
    health = judge(known, lookback_days=days, rejected_share_warn=share, max_error_ratio=1.5)
    return next((check.status, check.finding) for check in health.checks if check.name == name)


def test_the_worst_batch_of_the_window_is_told_first_and_a_good_one_does_not_hide_it():
    status, finding = find(history(batches("alert", "warn", "warn", "ok", None)), "drift")

    assert status == "alert"
    assert finding == (
        "drift in 3 of 4 batches of the last 7 days: batch b0 (100 rows): BMI psi 0.4 (alert from 0.25); "
        "batch b2 (100 rows): AGE psi 0.12 (warn from 0.1); batch b1 (100 rows): AGE psi 0.12 (warn from 0.1)"
        "; 1 not measured"
    )


def test_the_window_is_counted_back_from_the_newest_run():
    known = batches("alert", "ok", "ok")

    assert find(history(known), "drift", days=3)[0] == "alert"
    assert find(history(known), "drift", days=2) == ("ok", "none in 2 batches of the last 2 days")
    assert find(history(known), "drift", days=1) == ("ok", "none in 1 batch of the last day")


def test_only_failed_runs_in_the_window_leave_drift_unknown():
    assert find(history(batches("ok"), (30, False)), "drift") == (
        None,
        "not measured in 0 batches of the last 7 days",
    )
    assert find(history(batches("ok"), (30, False)), "rejected rows")[0] is None


def test_a_finding_names_three_batches_and_counts_the_others():
    _, finding = find(history(batches(*["alert"] * 5)), "drift")

    assert finding.count("psi") == 3
    assert finding.endswith("; and 2 more")


def test_no_rejected_rows_are_said_to_be_none():
    found = find(history(batches("ok", "ok")), "rejected rows")

    assert found == ("ok", "none among 200 rows in 2 batches of the last 7 days")


def test_a_large_share_of_rejected_rows_is_a_warning():
    known = history(batches("ok", "ok", rejected=10))

    assert find(known, "rejected rows", share=0.1) == (
        "ok",
        "20 of 220 rows in 2 batches of the last 7 days, 9.09% of a batch at most",
    )
    status, finding = find(known, "rejected rows", share=0.05)
    assert status == "warn"
    assert finding.endswith("above 5.00%: batch b0 9.09%; batch b1 9.09%")


@pytest.mark.parametrize(
    ("failures", "status", "said"),
    [
        ((), "ok", "each batch of the last 7 days was published"),
        (
            ((0.5, False),),
            "warn",
            "1 scoring run of the last 7 days failed, the newest of 2026-03-01 14:00 UTC: SchemaE",
        ),
        (((0.5, False), (1.5, False)), "alert", "SchemaError: 1.5; no batch was published since"),
        (((0.5, True),), "ok", "each batch of the last 7 days was published"),
        (((0.5, False), (1.5, True)), "warn", "SchemaError: 0.5"),
        (((-20, False),), "ok", "each batch of the last 7 days was published"),
    ],
)
def test_a_failed_run_is_told_until_its_batch_is_published(failures, status: str, said: str):
    found = find(history(batches("ok", "ok"), *failures), "scoring runs")

    assert found[0] == status
    assert said in found[1]


def test_a_cancelled_run_is_a_warning_and_no_failure():
    known = history(batches("ok"), cancelled=(0.5,))

    assert find(known, "scoring runs") == (
        "warn",
        "1 scoring run of the last 7 days cancelled, the newest of 2026-03-01 14:00 UTC: KeyboardInterrupt",
    )
    assert known.failed.empty


def test_a_cancelled_run_neither_hides_a_failed_one_nor_makes_it_worse():
    behind = find(history(batches("ok"), (0.5, False), cancelled=(0.6,)), "scoring runs")
    before = find(history(batches("ok", "ok"), (0.5, False), cancelled=(1.5,)), "scoring runs")

    assert (behind[0], before[0]) == ("alert", "warn")
    assert "SchemaError: 0.5; no batch was published since; 1 scoring run" in behind[1]
    assert "SchemaError: 0.5; 1 scoring run of the last 7 days cancelled" in before[1]


def run(run_id: str, status: str, night: float, **known: object) -> Run:
    """A scoring run for TABLE, spelled in capitals; numbers in `known` are metrics, texts are tags."""
    moment = int((NIGHT + night * DAY).value // 10**6)
    info = RunInfo(run_id, "1", "user", status, moment, moment, "active")
    numbers = [Metric(name, value, moment, 0) for name, value in known.items() if isinstance(value, float)]
    tags = [RunTag(name, value) for name, value in known.items() if isinstance(value, str)]
    return Run(info, RunData(numbers, [Param("output_table", TABLE.upper())], tags))


def test_failures_are_the_runs_that_published_no_row_and_say_whether_their_batch_came_later():
    runs = [
        run("crashed", "FAILED", 2.5, error="SchemaError: no BMI"),
        run(
            "refused", "FAILED", 0.5, error="TooManyRejectedError: 4 of 9", batch_id="b1", rejected_share=0.4
        ),
        run("after", "KILLED", 1.5, batch_id="b1"),
        run("all rejected", "FINISHED", 0.6, batch_id="x", rows_scored=0.0, rows_rejected=7.0, rows_in=7.0),
        run("well", "FINISHED", 0.7, batch_id="b0", rows_scored=9.0, rows_rejected=0.0, rows_in=9.0),
        run("no rows", "FINISHED", 0.8, rows_scored=0.0, rows_rejected=0.0, rows_in=0.0),
        run("at it", "RUNNING", 2.9),
    ]

    found = list_failures(runs, TABLE, batches("ok", "ok"), NOW)

    assert found["run_id"].tolist() == ["refused", "all rejected", "after", "crashed"]
    assert found["published_since"].tolist() == [True, False, False, False]
    assert found["error"].tolist()[1:] == [
        "none of its 7 rows could be scored",
        "no error was kept",
        "SchemaError: no BMI",
    ]
    assert found["rejected_share"].fillna(-1).tolist() == [0.4, -1, -1, -1]
    assert list_failures(runs, "main.diabetes.other", batches("ok"), NOW).empty


def test_a_run_that_failed_after_it_had_published_leaves_no_batch_open():
    runs = [run("shown", "FAILED", 0.5, error="MlflowException: 503", batch_id="b0")]
    shown = batches("ok").assign(run_id="shown")

    found = list_failures(runs, TABLE, shown, NOW)

    assert found["published_since"].tolist() == [True]
    assert find(replace(history(shown), failures=found), "scoring runs")[0] == "ok"


def test_a_run_that_runs_for_longer_than_any_may_is_lost_unless_its_batch_came_later():
    limit = LONGEST_RUN / DAY
    runs = [
        run("killed", "RUNNING", 3 - 1.01 * limit, batch_id="b0"),
        run("scored again", "RUNNING", 0.9, batch_id="b1"),
        run("at it", "RUNNING", 3 - 0.99 * limit, batch_id="b0"),
    ]

    found = list_failures(runs, TABLE, batches("ok", "ok"), NOW)

    assert found["run_id"].tolist() == ["scored again", "killed"]
    assert found["error"].unique().tolist() == [LOST]
    assert found["published_since"].tolist() == [True, False]
    known = replace(history(batches("ok", "ok")), failures=found)
    assert find(known, "scoring runs") == (
        "alert",
        f"1 scoring run of the last 7 days failed, the newest of 2026-03-03 22:58 UTC: {LOST}; "
        "no batch was published since",
    )


def test_no_run_is_lost_that_its_job_still_lets_run():
    job = yaml.safe_load(SCORING_JOB.read_text())["resources"]["jobs"]["diabetes_batch_scoring"]

    assert timedelta(0) < timedelta(seconds=job["timeout_seconds"]) < LONGEST_RUN


def test_a_run_that_was_told_to_stop_is_cancelled_and_one_that_broke_is_not():
    runs = [
        run("interrupted", "FAILED", 0.1, error="KeyboardInterrupt"),
        run("cancelled", "KILLED", 0.2, error="SparkException: Run cancelled"),
        run("broke", "FAILED", 0.3, error="ValueError: no KeyboardInterrupt here"),
        run("lost", "RUNNING", 0.4),
    ]

    found = list_failures(runs, TABLE, batches("ok"), NOW)

    assert found["cancelled"].tolist() == [True, True, False, False]
    assert found["error"].tolist()[0] == "KeyboardInterrupt"
