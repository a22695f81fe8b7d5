"""A problem with texts for a key and with dates is trained, scored and monitored, from every source."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import houses
import mlflow
import pandas as pd
import pytest
from diabetes.tabular import Column, Schema, Split
from diabetes.tabular.columns import SchemaError
from diabetes.tabular.features import select_labelled
from diabetes.tabular.scoring import predict
from diabetes.tabular.splitting import split_table
from diabetes_mlops import monitor
from diabetes_mlops.models import model_files
from diabetes_mlops.models.contract import Contract
from diabetes_mlops.runs.settings import MonitoringSettings
from diabetes_mlops.runs.tracking import digest_rows
from job_runs import Jobs
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import Model
from mlflow.types import DataType
from pyspark.sql import SparkSession

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
    source.write_text(
        "HOUSE,AREA,KIND,SOLD\n" + "".join(f"{key},100,flat,\n" for key in ("  a ", '"  a "', '" "', " "))
    )

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


def loaded_version(jobs: Jobs) -> ModelVersion:
    return MlflowClient().get_model_version_by_alias(jobs.model_name, "champion")


def test_dates_that_cannot_be_are_rejected_with_their_reasons(sold: Jobs):
    days = ["2024-02-29", "2023-02-29", "1999-12-31", "", "2024-02-29T12:00", "soon", "2031-01-01"]
    batch = houses.make_houses(7).drop(columns=LABEL).assign(SOLD=days)

    scored = sold.score(input_data=sold.write(batch, "days.csv"))

    rejected = sold.rows(scored["batch_id"], f"{sold.table}_rejected").toPandas()["reasons"]
    assert sorted(reason for each in rejected for reason in each) == [
        "SOLD is not a date: 2023-02-29",
        "SOLD is not a date: soon",
        "SOLD is outside 2000-01-01 to 2030-12-31: 1999-12-31",
        "SOLD is outside 2000-01-01 to 2030-12-31: 2031-01-01",
    ]
    assert scored["rows_scored"] == 3


def test_a_time_of_day_counts_the_same_in_a_text_and_in_every_type(sold: Jobs):
    moments = houses.make_houses(40).drop(columns=LABEL)
    moments["SOLD"] += pd.to_timedelta(range(0, 40 * 37, 37), unit="min")
    texts = moments.assign(SOLD=moments["SOLD"].dt.strftime("%Y-%m-%dT%H:%M:%S"))
    zoned = moments.assign(SOLD=moments["SOLD"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"))
    sources = {"texts.csv": texts, "texts.parquet": texts, "typed.parquet": moments, "zoned.parquet": zoned}

    batches = [sold.score(input_data=sold.write(rows, name))["batch_id"] for name, rows in sources.items()]

    found = [sold.rows(each).toPandas().set_index(KEY)["prediction"].sort_index() for each in batches]
    for other in found[1:]:
        assert other.tolist() == found[0].tolist()
    midnight = moments.assign(SOLD=moments["SOLD"].dt.normalize())
    rounded = sold.rows(sold.score(input_data=sold.write(midnight, "days.parquet"))["batch_id"]).toPandas()
    assert rounded.set_index(KEY)["prediction"].sort_index().tolist() != found[0].tolist()


def test_the_zone_of_a_session_moves_no_day(sold: Jobs, own_session: SparkSession):
    moments = houses.make_houses()
    moments["SOLD"] = (moments["SOLD"] + pd.Timedelta("23h")).dt.tz_localize("UTC")
    source = sold.write(moments, "moments.parquet")
    batch = sold.write(moments.drop(columns=LABEL), "moments-to-score.parquet")
    own_session.conf.set("spark.sql.session.timeZone", "America/New_York")
    elsewhere = replace(sold, spark=own_session)

    trained = [jobs.train(training_data=source, promotion="manual") for jobs in (sold, elsewhere)]
    scored = [
        jobs.score(input_data=batch, batch_id=name) for jobs, name in ((sold, "utc"), (elsewhere, "ny"))
    ]

    tags = [mlflow.get_run(each["run_id"]).data.tags for each in trained]
    assert tags[0]["data_digest"] == tags[1]["data_digest"]
    found = [
        sold.rows(each["batch_id"]).toPandas().set_index(KEY)["prediction"].sort_index() for each in scored
    ]
    assert found[0].tolist() == found[1].tolist()


def test_a_date_is_a_double_to_the_model_and_a_day_to_people(sold: Jobs):
    version = loaded_version(sold)
    logged = mlflow.models.get_model_info(f"models:/{version.name}/{version.version}")

    loaded = model_files.load(version, PROBLEM.schema)

    assert logged.signature.inputs.input_dict()["SOLD"].type == DataType.double
    assert loaded.profile is not None
    assert all(
        re.fullmatch(r"[<≤>] 20\d\d-\d\d-\d\d|missing", label) for label in loaded.profile.labels("SOLD")
    )
    statistics = mlflow.artifacts.load_dict(f"runs:/{version.run_id}/feature_statistics.json")
    lowest = [row[statistics["columns"].index("min")] for row in statistics["data"]]
    assert lowest[2].startswith("2015-") and isinstance(lowest[0], float)


def test_a_model_reads_its_dates_as_it_was_trained_whatever_the_code_has_now(sold: Jobs):
    version, schema = loaded_version(sold), PROBLEM.schema
    number = Column("SOLD", "number", "days", low=0, high=20_000)
    later = replace(schema.columns["SOLD"], first="2001-01-01")

    for changed in (number, later):
        loaded = model_files.load(version, replace(schema, features=(*schema.features[:2], changed)))
        assert loaded.schema.columns["SOLD"] == schema.columns["SOLD"]


def test_a_schema_comes_back_from_what_a_model_carries():
    schema = PROBLEM.schema

    assert Schema.from_json(json.loads(json.dumps(schema.as_json()))) == schema


def test_a_date_and_a_number_are_not_taken_for_each_other():
    """Of a model that does not carry its schema."""
    schema = PROBLEM.schema
    asked = replace(Contract.of(schema), has_schema=False)
    number = Column("SOLD", "number", "days", low=0, high=20_000)
    later = replace(schema.columns["SOLD"], first="2001-01-01")

    as_number, from_later = (
        Contract.of(replace(schema, features=(*schema.features[:2], changed))) for changed in (number, later)
    )

    assert asked.differences(as_number) == ["SOLD is a date to the model and a number to the code"]
    assert asked.differences(from_later) == [
        "SOLD is a date since 2000-01-01 to the model and a date since 2001-01-01 to the code"
    ]
    assert not asked.differences(Contract.of(schema))


def test_the_profile_of_a_model_without_a_tag_tells_its_dates(sold: Jobs):
    version = loaded_version(sold)
    logged = Model.load(f"models:/{version.name}/{version.version}")

    assert dict(model_files.contract_of(logged, {}).features) == dict(Contract.of(PROBLEM.schema).features)


def test_a_contract_from_before_there_were_dates_is_read():
    older = Contract.from_text('{"features":{"AREA":"number","KIND":["house","flat"]},"label":"PRICE"}')

    assert older == Contract({"AREA": "number", "KIND": ("house", "flat")}, "PRICE")
    assert Contract.from_text(Contract.of(PROBLEM.schema).as_text()) == Contract.of(PROBLEM.schema)


def test_a_column_of_numbers_is_no_date(sold: Jobs):
    table = houses.make_houses(5).assign(SOLD=range(5))

    with pytest.raises(SchemaError, match="SOLD is bigint, not a date"):
        sold.score(input_data=sold.write(table.drop(columns=LABEL), "no-days.parquet"))
    with pytest.raises(SchemaError, match="SOLD is bigint, not a date"):
        sold.train(training_data=sold.write(table, "no-days-to-train-on.parquet"))


@pytest.mark.parametrize("kind", ["csv", "parquet", "table"])
@pytest.mark.parametrize(
    "by", [Split("SOLD", newest=True), Split("HOUSEHOLD"), Split(holdout_share=0.3)], ids=str
)
def test_rows_are_held_out_as_the_problem_says(sold: Jobs, by: Split, kind: str):
    split = replace(PROBLEM, split=by)
    table = houses.make_houses()
    source = as_source(sold, table, f"{by.column or 'key'}_split", kind)

    trained = replace(sold, problem=split).train(training_data=source, promotion="manual")

    train, holdout = split_table(split, table)
    assert (trained["rows_train"], trained["rows_holdout"]) == (len(train), len(holdout))
    params = mlflow.get_run(trained["run_id"]).data.params
    assert params["split"] == by.describe(PROBLEM.schema)
    assert params["holdout_share"] == str(by.holdout_share)
    tags = mlflow.get_run(trained["run_id"]).data.tags
    assert tags["holdout_digest"] == digest_rows(select_labelled(PROBLEM.schema, holdout))


def test_scoring_does_not_ask_for_what_the_split_is_by(make_jobs: Callable[[str], Jobs]):
    jobs = replace(make_jobs("split_houses"), problem=replace(PROBLEM, split=Split("HOUSEHOLD")))
    table = houses.make_houses()
    jobs.train(training_data=jobs.write(table, "houses.csv"))

    scored = jobs.score(input_data=jobs.write(table.drop(columns=[LABEL, "HOUSEHOLD"]), "batch.csv"))
    reported = monitored(jobs, jobs.write(table[[KEY, LABEL]], "labels.csv"))

    assert (scored["rows_scored"], reported["rows_labelled"]) == (len(table), len(table))
    with pytest.raises(SchemaError, match=r"missing columns \['HOUSEHOLD'\]"):
        jobs.train(training_data=jobs.write(table.drop(columns="HOUSEHOLD"), "alone.csv"))


def test_a_search_keeps_groups_together_on_the_driver_as_on_the_workers(sold: Jobs):
    grouped = replace(sold, problem=replace(PROBLEM, split=Split("HOUSEHOLD")))
    source = sold.write(houses.make_houses(), "searched.csv")

    errors = []
    for jobs, where in ((grouped, "driver"), (grouped, "workers"), (sold, "driver")):
        trained = jobs.train(training_data=source, search_trials="1", search_on=where, promotion="manual")
        errors.append(mlflow.get_run(trained["run_id"]).data.metrics["cv_rmse"])

    assert errors[0] == errors[1] != errors[2]


def test_a_split_without_rows_to_hold_out_leaves_a_failed_run_that_says_so(sold: Jobs):
    jobs = replace(sold, problem=replace(PROBLEM, split=Split("SOLD", newest=True)))
    one_day = houses.make_houses(30).assign(SOLD="2020-01-01")

    with pytest.raises(SchemaError, match="the split by the newest SOLD leaves no row of 30 to train on"):
        jobs.train(training_data=jobs.write(one_day, "one-day.csv"))

    assert "newest SOLD" in jobs.last_run().data.tags["error"]


def test_large_numbers_of_groups_stay_apart_beside_a_gap(sold: Jobs):
    table = houses.make_houses()
    numbers = pd.array([2**53 + row for row in range(len(table))], dtype="Int64")
    table = table.assign(HOUSEHOLD=numbers)
    table.loc[0, "HOUSEHOLD"] = pd.NA
    split = replace(PROBLEM, split=Split("HOUSEHOLD"))

    trained = replace(sold, problem=split).train(
        training_data=sold.write(table, "numbered.parquet"), promotion="manual"
    )

    _, holdout = split_table(split, table.assign(HOUSEHOLD=table["HOUSEHOLD"].astype("string")))
    assert trained["rows_holdout"] == len(holdout)
    tags = mlflow.get_run(trained["run_id"]).data.tags
    assert tags["holdout_digest"] == digest_rows(select_labelled(PROBLEM.schema, holdout))
