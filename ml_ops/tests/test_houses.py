"""A problem with a key of texts is trained, scored and monitored: from CSV, from Parquet and from a table."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import houses
import mlflow
import pandas as pd
import pytest
from diabetes.tabular.columns import SchemaError
from diabetes.tabular.scoring import predict
from diabetes_mlops import monitor
from diabetes_mlops.settings import MonitoringSettings

from conftest import Jobs

PROBLEM = houses.HOUSES
KEY, LABEL = PROBLEM.schema.key.name, PROBLEM.schema.label.name
# What no line of a CSV holds: white space around a value without quotes, and a break within a value.
ONLY_TYPED = (" ", " 12", "\t", "two\nlines")


def with_odd_keys(*odd: str) -> pd.DataFrame:
    table = houses.make_houses()
    return table.assign(**{KEY: [*houses.ODD_KEYS, *odd, *table[KEY][len(houses.ODD_KEYS) + len(odd) :]]})


def monitored(jobs: Jobs, labels: str) -> dict[str, Any]:
    widgets = {
        "output_table": jobs.table,
        "experiment_name": f"/tests/{jobs.name}",
        "data_root": str(jobs.folder),
        "labels_data": labels,
    }
    given = MonitoringSettings.from_widgets(widgets, jobs.problem)
    return monitor.run(jobs.spark, given, jobs.problem)


def as_source(jobs: Jobs, table: pd.DataFrame, name: str, kind: str) -> str:
    """Write a table as a file of this kind, or as a Delta table, and say what it is called."""
    if kind != "table":
        return jobs.write(table, f"{name}.{kind}")
    source = f"spark_catalog.tests.{name}_of_{jobs.name}"
    jobs.spark.createDataFrame(table.astype(object).where(table.notna(), None)).write.format(
        "delta"
    ).saveAsTable(source)
    return source


@pytest.fixture(scope="module")
def sold(make_jobs: Callable[[str], Jobs]) -> Jobs:
    """Jobs of houses whose champion was trained on a CSV."""
    jobs = replace(make_jobs("sold_houses"), problem=PROBLEM)
    jobs.train(training_data=jobs.write(with_odd_keys(), "sold.csv"))
    return jobs


@pytest.mark.parametrize("kind", ["csv", "parquet", "table"])
def test_odd_ids_are_trained_on_scored_and_monitored(make_jobs: Callable[[str], Jobs], kind: str):
    jobs = replace(make_jobs(f"odd_houses_{kind}"), problem=PROBLEM)
    table = with_odd_keys(*(() if kind == "csv" else ONLY_TYPED))
    batch, labels = table.drop(columns=LABEL), table[[KEY, LABEL]]

    trained = jobs.train(training_data=as_source(jobs, table, "sold", kind))
    scored = jobs.score(input_data=as_source(jobs, batch, "batch", kind))
    reported = monitored(jobs, as_source(jobs, labels, "labels", kind))

    assert trained["rows_train"] + trained["rows_holdout"] == len(table)
    assert (scored["rows_scored"], scored["rows_rejected"]) == (len(table), 0)
    assert reported["rows_labelled"] == len(table)
    assert dict(jobs.spark.table(jobs.table).dtypes)[KEY] == "string"
    found = jobs.rows(scored["batch_id"]).toPandas().set_index(KEY)["prediction"]
    model = mlflow.sklearn.load_model(f"models:/{jobs.model_name}/{trained['model_version']}")
    assert found[table[KEY]].tolist() == pytest.approx(predict(PROBLEM.schema, model, batch).tolist())
    assert all(isinstance(row[KEY], str) for row in scored["sample"])


def test_every_source_is_split_alike(sold: Jobs):
    table = with_odd_keys()

    rows = [
        sold.train(training_data=as_source(sold, table, "alike", kind), promotion="manual")
        for kind in ("csv", "parquet", "table")
    ]

    digests = [mlflow.get_run(each["run_id"]).data.tags["holdout_digest"] for each in rows]
    assert len(set(digests)) == 1


def test_missing_and_repeated_ids_are_rejected_and_the_others_scored(sold: Jobs):
    table = with_odd_keys().drop(columns=LABEL).head(50)
    keys = [None, "", "00012", "0", *table[KEY][4:]]
    batch = table.assign(**{KEY: keys})
    again = pd.concat([batch, batch[batch[KEY] == "Zürich, Bahnhofstraße 1"]])

    scored = sold.score(input_data=sold.write(again, "repeated.parquet"))

    rejected = sold.rows(scored["batch_id"], f"{sold.table}_rejected").toPandas()
    reasons = sorted(reason for each in rejected["reasons"] for reason in each)
    assert (scored["rows_in"], scored["rows_scored"]) == (51, 47)
    twice = "HOUSE is repeated: Zürich, Bahnhofstraße 1 is there 2 times"
    assert reasons == ["HOUSE is missing", "HOUSE is missing", twice, twice]
    assert all("Bahnhof" in row or '"HOUSE": null' in row or '"HOUSE": ""' in row for row in rejected["row"])
    kept = set(sold.rows(scored["batch_id"]).toPandas()[KEY])
    assert {"00012", "0"} <= kept


def test_whole_numbers_of_a_typed_file_are_ids_as_texts(sold: Jobs):
    numbers = houses.make_houses(30).assign(**{KEY: range(7, 37)})
    numbers.loc[5, KEY] = 2**53 + 1
    labels = sold.write(numbers[[KEY, LABEL]].astype({KEY: str}), "labels-of-numbers.csv")

    scored = sold.score(input_data=sold.write(numbers.drop(columns=LABEL), "numbers.parquet"))
    reported = monitored(sold, labels)

    assert {row[KEY] for row in sold.rows(scored["batch_id"]).collect()} == set(numbers[KEY].astype(str))
    assert reported["rows_labelled"] == 30


def test_a_line_break_within_an_id_sets_the_lines_of_a_csv_aside(sold: Jobs):
    batch = houses.make_houses(10).drop(columns=LABEL)
    batch.loc[3, KEY] = "two\nlines"

    scored = sold.score(input_data=sold.write(batch, "broken.csv"))

    assert (scored["rows_in"], scored["rows_scored"], scored["rows_rejected"]) == (11, 9, 2)


def test_white_space_of_a_csv_counts_within_quotes_alone(sold: Jobs):
    source = sold.folder / "spaces.csv"
    source.write_text('HOUSE,AREA,KIND\n  a ,100,flat\n"  a ",100,flat\n" ",100,flat\n ,100,flat\n')

    scored = sold.score(input_data=str(source))

    assert {row[KEY] for row in sold.rows(scored["batch_id"]).collect()} == {"a", "  a ", " "}
    assert scored["rows_rejected"] == 1


def test_a_label_that_is_there_twice_for_an_id_is_refused(sold: Jobs):
    sold.score(input_data=sold.write(houses.make_houses(20).drop(columns=LABEL), "few.csv"))
    labels = houses.make_houses(20)[[KEY, LABEL]]

    with pytest.raises(ValueError, match="have more than one label, such as"):
        monitored(sold, sold.write(pd.concat([labels, labels[3:4]]), "twice.csv"))


def test_a_column_of_another_type_is_no_id(sold: Jobs):
    batch = houses.make_houses(5).drop(columns=LABEL)

    with pytest.raises(SchemaError, match="HOUSE is boolean, not a text"):
        sold.score(input_data=sold.write(batch.assign(**{KEY: True}), "booleans.parquet"))


def test_a_table_with_ids_of_the_other_type_is_refused_before_anything_is_scored(
    sold: Jobs, trained: tuple[Jobs, dict[str, Any]]
):
    taken = "spark_catalog.tests.taken_by_numbers"
    sold.spark.sql(f"CREATE TABLE {taken} (house BIGINT, batch_id STRING) USING DELTA")
    batch = sold.write(houses.make_houses(5).drop(columns=LABEL), "five.csv")
    told = "has the key HOUSE as bigint, and to this code it is string: name another output_table"

    with pytest.raises(SchemaError, match=told):
        sold.score(input_data=batch, output_table=taken)

    assert "rows_in" not in sold.last_run().data.metrics
    by_texts = "spark_catalog.tests.taken_by_texts"
    sold.spark.sql(f"CREATE TABLE {by_texts} (ID STRING, batch_id STRING) USING DELTA")
    with pytest.raises(SchemaError, match="has the key ID as string, and to this code it is bigint"):
        trained[0].score(output_table=by_texts)
