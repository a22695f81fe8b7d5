"""Rows are written once, and shown when their run is listed; those that were replaced are removed later."""

from datetime import timedelta

import mlflow
import pandas as pd
import pytest
from diabetes.tabular.columns import SchemaError
from diabetes_mlops import batch_score, monitor
from diabetes_mlops.data import scored_tables
from diabetes_mlops.data.scored_tables import RUNS, Output, find_output, number_run
from diabetes_mlops.runs.settings import MonitoringSettings
from test_batch_publishing import make_table_of_before
from test_batch_score import BATCH, expected, found


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.read_csv(BATCH)


@pytest.fixture
def output(trained, request) -> str:
    """A name that nothing has yet."""
    return f"{trained[0].table}_{request.node.name.partition('[')[0][-40:]}"


@pytest.fixture
def score(trained, table, output):
    jobs, _ = trained

    def score_rows(rows: int, batch_id: str, **widgets: str) -> dict:
        path = jobs.write(table.head(rows), "rows.parquet")
        return jobs.score(**{"input_data": path, "batch_id": batch_id, "output_table": output} | widgets)

    return score_rows


def runs_with_rows(jobs, output: str) -> set[str]:
    """Whose rows are there, shown or not."""
    numbers = {row[0] for row in jobs.spark.table(f"{output}_rows").select("_run").distinct().collect()}
    experiments = [experiment.experiment_id for experiment in mlflow.search_experiments()]
    runs = {run.info.run_id for run in mlflow.search_runs(experiments, output_format="list")}
    of_runs = {number_run(run_id): run_id for run_id in runs}
    return {of_runs[number] for number in numbers}


def test_a_batch_is_written_once_and_shown_by_one_line(trained, table, output, score):
    jobs, _ = trained

    first, second = score(40, "night"), score(60, "night")

    assert found(jobs, second) == expected(jobs, "1", table.head(60))
    lines = jobs.spark.table(output + RUNS).orderBy("scored_at").collect()
    counts = ["run_id", "batch_id", "model_name", "model_version", "rows_in", "rows_scored", "rows_rejected"]
    assert [[line[name] for name in counts] for line in lines] == [
        [run["run_id"], "night", jobs.model_name, "1", rows, rows, 0]
        for run, rows in ((first, 40), (second, 60))
    ]
    assert {line.drift for line in lines} <= {"ok", "warn", "alert"}
    assert jobs.spark.sql(f"DESCRIBE HISTORY {output}_rows").where("operation = 'WRITE'").count() == 2
    assert runs_with_rows(jobs, output) == {first["run_id"], second["run_id"]}, "a query may be reading them"


def test_rows_that_were_replaced_are_removed_when_no_query_reads_them_any_more(
    trained, output, score, monkeypatch
):
    jobs, _ = trained
    first, second = score(40, "night"), score(60, "night")
    monkeypatch.setattr(scored_tables, "KEPT_REPLACED", timedelta(0))

    third = score(20, "night")

    assert runs_with_rows(jobs, output) == {second["run_id"], third["run_id"]} != {first["run_id"]}
    assert {row.run_id for row in jobs.rows("night", output).collect()} == {third["run_id"]}
    assert jobs.spark.table(output + RUNS).count() == 2


def test_rows_of_a_run_that_was_killed_are_never_shown_and_removed_later(trained, output, score, monkeypatch):
    jobs, _ = trained
    before = score(40, "night")
    with monkeypatch.context() as dying:
        dying.setattr(scored_tables.Stage, "close", lambda stage: None)
        dying.setattr(scored_tables, "publish_run", None)
        with pytest.raises(TypeError):
            score(60, "night")
    killed = jobs.last_run().info.run_id
    assert runs_with_rows(jobs, output) == {before["run_id"], killed}
    assert {row.run_id for row in jobs.rows("night", output).collect()} == {before["run_id"]}

    early = score(20, "another")
    assert killed in runs_with_rows(jobs, output), "it may be running still"
    monkeypatch.setattr(scored_tables, "KEPT_REPLACED", timedelta(0))
    later = score(20, "third")

    assert runs_with_rows(jobs, output) == {before["run_id"], early["run_id"], later["run_id"]}
    assert batch_score.UNPUBLISHED not in mlflow.get_run(killed).data.tags


def test_a_run_that_was_killed_after_it_was_listed_stays_shown(trained, output, score, monkeypatch):
    jobs, _ = trained
    with monkeypatch.context() as dying:
        dying.setattr(batch_score.mlflow, "delete_tag", None)
        with pytest.raises(TypeError):
            score(40, "night")
    listed = jobs.last_run().info.run_id
    assert {row.run_id for row in jobs.rows("night", output).collect()} == {listed}

    monkeypatch.setattr(scored_tables, "KEPT_REPLACED", timedelta(0))
    score(20, "another")

    assert jobs.rows("night", output).count() == 40
    assert batch_score.UNPUBLISHED not in mlflow.get_run(listed).data.tags


def test_a_run_that_fails_leaves_no_rows_and_no_views(trained, output, score):
    jobs, _ = trained
    path = jobs.write(pd.read_csv(BATCH).assign(BMI=-1.0), "wrong.parquet")

    with pytest.raises(batch_score.TooManyRejectedError):
        jobs.score(input_data=path, batch_id="night", output_table=output, max_rejected_share="0")

    assert runs_with_rows(jobs, output) == set()
    assert not jobs.spark.catalog.tableExists(output)


def test_the_run_that_comes_last_is_shown_whatever_the_clocks_say(trained, output, score):
    jobs, _ = trained
    score(40, "night")
    jobs.spark.sql(
        f"INSERT INTO {output}{RUNS} SELECT 0, 'ahead', batch_id, model_name, model_version, "
        f"scored_at + INTERVAL 1 DAY, 0, 0, 0, drift FROM {output}{RUNS}"
    )

    last = score(60, "night")

    assert {row.run_id for row in jobs.rows("night", output).collect()} == {last["run_id"]}


def test_rows_that_were_replaced_just_now_stay_though_a_clock_was_ahead(trained, output, score):
    jobs, _ = trained
    first, second = score(10, "night"), score(20, "night")
    jobs.spark.sql(
        f"INSERT INTO {output}{RUNS} SELECT 0, 'ahead', batch_id, model_name, model_version, "
        f"scored_at + INTERVAL 5 DAY, 0, 0, 0, drift FROM {output}{RUNS} LIMIT 1"
    )

    last = score(30, "night")

    assert runs_with_rows(jobs, output) == {run["run_id"] for run in (first, second, last)}


def test_what_cannot_be_removed_is_told_and_the_batch_stays_published(output, score, monkeypatch, capsys):
    score(40, "night"), score(60, "night")
    monkeypatch.setattr(scored_tables, "KEPT_REPLACED", timedelta(0))

    def refuse(spark, output, run_ids):
        spark.sql(f"DELETE FROM {output}_not_there")

    monkeypatch.setattr(scored_tables, "remove_runs", refuse)

    assert score(20, "night")["rows_scored"] == 20
    assert (
        f"rows of earlier runs stay in {output}_rows, unseen: [TABLE_OR_VIEW_NOT_FOUND]"
        in capsys.readouterr().out
    )


def test_a_table_of_before_is_scored_into_and_monitored(trained, table, output, score):
    jobs, _ = trained
    make_table_of_before(jobs.spark, output)
    day = f"'{jobs.model_name}', '1', '%s', now() - INTERVAL 1 DAY, 'a run'"
    jobs.spark.sql(f"INSERT INTO {output} VALUES (1, 100.0, {day % 'old'}), (2, 120.0, {day % 'night'})")

    result = score(40, "night")

    assert found(jobs, result) == expected(jobs, "1", table.head(40))
    assert [row.ID for row in jobs.rows("old", output).collect()] == [1]
    assert not any(jobs.spark.catalog.tableExists(output + end) for end in ("_rows", "_runs"))
    widgets = {
        "output_table": output,
        "experiment_name": f"/tests/{jobs.name}",
        "data_root": str(jobs.folder),
    }
    report = monitor.run(jobs.spark, MonitoringSettings.from_widgets(widgets, jobs.problem), jobs.problem)
    assert (report["batches"], report["rows_scored"]) == (2, 41)


def test_a_run_that_was_killed_between_the_two_views_leaves_the_other_to_the_next(
    trained, output, score, monkeypatch
):
    jobs, _ = trained
    create = scored_tables._create_view

    def create_or_die(spark, output, view, *rest):
        if view.endswith("_rejected"):
            raise KeyboardInterrupt
        create(spark, output, view, *rest)

    with monkeypatch.context() as dying:
        dying.setattr(scored_tables, "_create_view", create_or_die)
        with pytest.raises(KeyboardInterrupt):
            score(40, "night")
    assert jobs.rows("night", output).isEmpty()

    score(40, "night")

    assert jobs.rows("night", output).count() == 40
    assert jobs.rows("night", f"{output}_rejected").isEmpty()


def test_a_table_that_somebody_drops_is_made_again_by_the_next_run(trained, output, score):
    jobs, _ = trained
    score(10, "first")
    for number, end in enumerate(("_rows", "_runs")):
        jobs.spark.sql(f"DROP TABLE {output}{end}")

        score(20 + number, "next")

        assert jobs.spark.table(output).count() == 20 + number


def test_what_no_run_can_write_to_is_refused_before_a_row_is_read(trained, output, score):
    jobs, _ = trained
    jobs.spark.sql(f"CREATE VIEW {output} AS SELECT 1 AS ID, 2.0D AS prediction")
    with pytest.raises(SchemaError, match="is a view that batch scoring did not make: name another table"):
        score(40, "night")
    jobs.spark.sql(f"DROP VIEW {output}")
    make_table_of_before(jobs.spark, f"{output}_rejected")
    with pytest.raises(
        SchemaError, match=r"_rejected is a table of an earlier version, and .* is not: rename it"
    ):
        score(40, "night")
    make_table_of_before(jobs.spark, output)
    jobs.spark.sql(f"DROP TABLE {output}_rejected")
    jobs.spark.sql(f"CREATE VIEW {output}_rejected AS SELECT * FROM {output}")
    with pytest.raises(SchemaError, match=r"is a table, and .*_rejected a view: drop the view"):
        score(40, "night")


@pytest.mark.parametrize("end", ["_rows", "_runs"])
def test_a_table_of_somebody_else_that_has_the_name_of_one_is_left_alone(trained, output, score, end):
    jobs, _ = trained
    output = f"{output}{end}"
    jobs.spark.sql(f"CREATE TABLE {output}{end} (run_id STRING, batch_id STRING) USING DELTA")

    with pytest.raises(SchemaError, match=f"did not make .*{end}, and would write into it: name another out"):
        score(40, "night", output_table=output)

    assert jobs.spark.table(output + end).columns == ["run_id", "batch_id"]


def test_an_output_may_have_hyphens_in_its_name(spark):
    # Spark without Unity Catalog makes no such table, so no run can be tried with one.
    assert find_output(spark, "spark_catalog.my-schema.my-table") == Output(
        "spark_catalog.my-schema.my-table"
    )


def test_rows_that_were_never_shown_keep_their_types_too(trained, table, output):
    jobs, _ = trained
    for name, ward in (("number", 7), ("text", "b")):
        table.assign(WARD=ward, BMI=-1.0 if ward == 7 else table["BMI"]).to_parquet(
            jobs.folder / f"{name}.parquet"
        )

    def score(name: str, share: str):
        widgets = {"carry_columns": "WARD", "max_rejected_share": share, "output_table": output}
        return jobs.score(input_data=f"{name}.parquet", batch_id=name, **widgets)

    with pytest.raises(batch_score.TooManyRejectedError):
        score("number", "0")
    with pytest.raises(
        SchemaError, match=r"_rows cannot take the rows: WARD is string, and bigint there; name ano"
    ):
        score("text", "0")


def test_two_runs_that_add_columns_at_once_both_show_theirs(trained, table, output, monkeypatch):
    jobs, _ = trained
    jobs.score(input_data=jobs.write(table.head(3), "three.parquet"), batch_id="first", output_table=output)
    jobs.spark.sql(f"ALTER VIEW {output} SET TBLPROPERTIES ('team' = 'ward')")
    create, others = scored_tables._create_view, [("SEEN", "STRING")]

    def create_late(spark, *rest):
        if others:
            name, kind = others.pop()
            spark.sql(f"ALTER TABLE {output}_rows ADD COLUMNS ({name} {kind})")
        create(spark, *rest)

    monkeypatch.setattr(scored_tables, "_create_view", create_late)
    path = jobs.write(table.head(3).assign(WARD="a"), "ward.parquet")
    jobs.score(input_data=path, batch_id="second", output_table=output, carry_columns="WARD")

    rows = jobs.rows("second", output)
    assert rows.columns[-2:] == ["WARD", "SEEN"]
    properties = jobs.spark.sql(f"SHOW TBLPROPERTIES {output}").where("key = 'team'").collect()
    assert [row.value for row in properties] == ["ward"], "on Databricks rights would be lost with it"
    assert {(row.WARD, row.SEEN) for row in rows.collect()} == {("a", None)}
