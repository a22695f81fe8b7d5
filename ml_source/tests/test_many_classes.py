"""A label of many classes: probabilities of each in their order, measured, bootstrapped and counted."""

import json
from dataclasses import replace

import flowers
import numpy as np
import pandas as pd
import problems
import pyarrow as pa
import pytest
from diabetes.tabular import Column, Problem, Schema
from diabetes.tabular.checking import check_table
from diabetes.tabular.columns import SchemaError
from diabetes.tabular.drift import PREDICTION, Profile, classify, compare, to_arrays
from diabetes.tabular.drift import DriftThresholds as Thresholds
from diabetes.tabular.features import select_features, select_label, select_labelled
from diabetes.tabular.fitting import fit, fit_baseline
from diabetes.tabular.measuring import (
    bootstrap_metrics,
    compare_models,
    cross_validate,
    evaluate,
    evaluate_slices,
    feature_importance,
)
from diabetes.tabular.metrics import find_classes
from diabetes.tabular.scoring import predict, predict_arrays, predict_features
from diabetes.tabular.screening import screen, screen_labels
from diabetes.tabular.splitting import split_by_key
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier

FLOWERS, CLASSES = flowers.FLOWERS, flowers.CLASSES
SCHEMA, EVALUATION = FLOWERS.schema, FLOWERS.evaluation


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return flowers.make_flowers()


@pytest.fixture(scope="module")
def sides(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    return split_by_key(SCHEMA, select_labelled(SCHEMA, table))


@pytest.fixture(scope="module")
def model(sides: tuple[pd.DataFrame, pd.DataFrame]) -> Pipeline:
    return fit(FLOWERS, sides[0], {})


def test_a_category_label_has_classes_and_a_number_has_none():
    assert SCHEMA.classes == CLASSES
    assert problems.TUMOURS.schema.classes == problems.PATIENTS.schema.classes == ()


@pytest.mark.parametrize("classes", [(), ("one",), ("a", "a"), ("a", "")])
def test_classes_that_cannot_be_told_apart_are_refused(classes: tuple[str, ...]):
    with pytest.raises(SchemaError, match=r"categor.* got [\[(]"):
        flowers.with_classes(FLOWERS, classes)


def test_labels_are_the_places_of_their_classes(table: pd.DataFrame):
    labels = select_label(SCHEMA, table)

    assert labels.dtype == np.float64
    assert [CLASSES[int(label)] for label in labels] == table["KIND"].tolist()


def test_a_labelled_table_keeps_the_names_of_its_classes(table: pd.DataFrame):
    labelled = select_labelled(SCHEMA, table)

    assert labelled["KIND"].tolist() == table["KIND"].tolist()
    check_table(SCHEMA, labelled, labelled=True)
    pd.testing.assert_frame_equal(select_labelled(SCHEMA, labelled), labelled)


@pytest.mark.parametrize(
    ("value", "problem"),
    [(None, "1 of 450 rows have no label"), ("", "1 of 450 rows have no label"), ("rose", "1 not one of")],
)
def test_missing_and_unknown_classes_are_refused(table: pd.DataFrame, value: str | None, problem: str):
    broken = table.assign(KIND=table["KIND"].where(table["NO"] != 7, value))

    with pytest.raises(SchemaError, match=rf"KIND: {problem}"):
        select_label(SCHEMA, broken)
    with pytest.raises(SchemaError, match=r"KIND: 1 (missing|not one of)"):
        check_table(SCHEMA, broken, labelled=True)


def test_labels_that_arrive_as_texts_are_read_as_places():
    texts = [*CLASSES, "", None, "rose"]
    batch = pa.RecordBatch.from_pydict({"NO": pa.array(["1", "2", "3", "4", "5", "6"]), "KIND": texts})

    _, labels, reasons = screen_labels(SCHEMA, batch)

    np.testing.assert_array_equal(labels, [0, 1, 2, np.nan, np.nan, np.nan])
    assert reasons == {5: ["KIND is unknown: rose"]}


def test_probabilities_are_those_of_the_classifier_in_the_order_of_the_classes(
    sides: tuple[pd.DataFrame, pd.DataFrame], model: Pipeline
):
    train, holdout = sides
    predicted = predict(SCHEMA, model, holdout)

    places = [CLASSES.index(name) for name in train["KIND"]]
    own = FLOWERS.make_pipeline(alpha=0.5).fit(select_features(SCHEMA, train), places)
    np.testing.assert_allclose(predicted, own.predict_proba(select_features(SCHEMA, holdout)), rtol=1e-9)
    assert predicted.dtype == np.float64
    assert (find_classes(predicted) == own.predict(select_features(SCHEMA, holdout))).all()


def test_arrays_give_the_probabilities_that_a_table_gives(
    sides: tuple[pd.DataFrame, pd.DataFrame], model: Pipeline
):
    batch = pa.RecordBatch.from_pandas(sides[1].drop(columns="KIND"), preserve_index=False)
    screened = screen(SCHEMA, batch)

    predicted = predict_arrays(SCHEMA, model, screened.numbers, screened.codes)

    np.testing.assert_allclose(predicted, predict(SCHEMA, model, sides[1]), rtol=1e-9)


def test_no_rows_have_no_probabilities(table: pd.DataFrame, model: Pipeline):
    numbers, codes = np.empty((0, 4)), np.empty((0, 1), dtype=np.int64)

    assert predict(SCHEMA, model, table.head(0)).shape == (0, 3)
    assert predict_arrays(SCHEMA, model, numbers, codes).shape == (0, 3)


@pytest.mark.parametrize("lacking", CLASSES)
def test_a_class_that_no_training_row_had_has_probability_0(table: pd.DataFrame, lacking: str):
    model = fit(FLOWERS, table[table["KIND"] != lacking], {})

    predicted = predict(SCHEMA, model, table)

    place = CLASSES.index(lacking)
    assert (predicted[:, place] == 0).all()
    assert (np.delete(predicted, place, axis=1) > 0).all()
    np.testing.assert_allclose(predicted.sum(axis=1), 1)
    found = find_classes(predicted)[(table["KIND"] != lacking).to_numpy()]
    assert (found == select_label(SCHEMA, table[table["KIND"] != lacking])).mean() > 0.9


def test_a_regressor_of_classes_is_refused_before_it_is_fitted(table: pd.DataFrame):
    regression = flowers.make_flowers_problem(make=problems.make_ridge)

    with pytest.raises(SchemaError, match=r"KIND has the classes \[.*\], which take a classifier;.* Ridge"):
        fit(regression, table, {})


def test_a_classifier_of_a_number_that_is_not_0_or_1_is_refused(table: pd.DataFrame):
    number = flowers.make_flowers_problem(label=Column("KIND", "integer", "kind"))
    places = table.assign(KIND=select_label(SCHEMA, table))

    with pytest.raises(SchemaError, match=r"KIND is a number.*\[2.0\].*LogisticRegression is a classifier"):
        fit(number, places, {})
    assert fit(number, places[places["KIND"] < 2], {}).classes_.tolist() == [0, 1]


@pytest.mark.parametrize("labels", [[0, 1, 5], [-1, 0], ["a", "b"]])
def test_a_classifier_that_learned_other_labels_is_refused(table: pd.DataFrame, labels: list[object]):
    features = select_features(SCHEMA, table)
    odd = FLOWERS.make_pipeline(alpha=1.0).fit(features, np.resize(labels, len(features)))

    with pytest.raises(ValueError, match=r"must have learned their places, 0 to 2; got \["):
        predict_features(odd, features, CLASSES)


def test_the_model_beats_the_shares_of_the_classes(sides: tuple[pd.DataFrame, pd.DataFrame], model: Pipeline):
    train, holdout = sides
    baseline = fit_baseline(FLOWERS, train)

    shares = train["KIND"].value_counts(normalize=True).reindex(list(CLASSES)).to_numpy()
    np.testing.assert_allclose(predict(SCHEMA, baseline, holdout), np.tile(shares, (len(holdout), 1)))
    ours, theirs = (evaluate(FLOWERS, each, holdout) for each in (model, baseline))
    assert ours["log_loss"] < 0.3 < 1 < theirs["log_loss"]
    assert ours["accuracy"] > 0.9


def test_bootstrap_slices_importance_and_search_take_probabilities(
    sides: tuple[pd.DataFrame, pd.DataFrame], model: Pipeline
):
    train, holdout = sides
    actual, predicted = select_label(SCHEMA, holdout), predict(SCHEMA, model, holdout)
    by_baseline = predict(SCHEMA, fit_baseline(FLOWERS, train), holdout)

    interval = bootstrap_metrics(EVALUATION, actual, predicted, seed=0, resamples=200)["log_loss"]
    difference = compare_models(EVALUATION, actual, predicted, by_baseline, seed=0, resamples=200)
    slices = evaluate_slices(FLOWERS, actual, predicted, holdout)
    importance = feature_importance(FLOWERS, model, holdout, seed=0, repeats=3)

    assert interval.low < interval.value < interval.high
    assert difference.high < -0.5
    assert slices["rows"].sum() == holdout["PLACE"].notna().sum()
    assert slices["accuracy"].min() > 0.8
    assert importance.index[0].startswith("PETAL")
    assert importance["mean"].iloc[0] > 0.1 > importance["mean"]["PLACE"]
    assert 0 < cross_validate(FLOWERS, train, {"alpha": 0.1}, folds=3, seed=0) < 0.3


@pytest.mark.parametrize("shape", [(9, 3), (10, 1), (10, 3, 2)])
def test_probabilities_of_another_shape_are_refused(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"one shape \(n,\) or, of classes,.*\(n, k\).*; got"):
        bootstrap_metrics(EVALUATION, np.zeros(10), np.zeros(shape), seed=0)


def test_models_of_other_numbers_of_classes_cannot_be_compared():
    with pytest.raises(ValueError, match=r"one shape"):
        compare_models(EVALUATION, np.zeros(10), np.ones((10, 3)), np.ones((10, 2)), seed=0)


def test_drift_counts_the_most_probable_classes(table: pd.DataFrame, model: Pipeline):
    numbers, codes = to_arrays(SCHEMA, table)
    predictions = predict(SCHEMA, model, table)
    profile = Profile.describe(SCHEMA, numbers, codes, predictions)

    predicted = find_classes(predictions)
    assert profile.baseline.bins[PREDICTION] == (*np.bincount(predicted, minlength=3).tolist(), 0)
    assert profile.labels(PREDICTION) == [*CLASSES, "missing"]
    values = json.loads(json.dumps(profile.as_json()))
    assert values["categories"]["prediction"] == list(CLASSES)
    assert Profile.from_json(values) == profile
    Profile.from_json(values).check(SCHEMA)

    first = predicted == 0
    moved = profile.count(SCHEMA, numbers[first], codes[first], predictions[first])
    statuses = classify(compare(profile, moved), Thresholds())
    assert statuses[PREDICTION] == "alert"
    assert statuses["PLACE"] == "ok"
    empty = profile.count(SCHEMA, numbers[:0], codes[:0], predictions[:0])
    assert empty == profile.empty_counts()


@pytest.mark.parametrize("other", [CLASSES[::-1], CLASSES[:2], (*CLASSES, "rose")])
def test_a_profile_of_other_classes_is_refused(table: pd.DataFrame, model: Pipeline, other: tuple[str, ...]):
    profile = Profile.describe(SCHEMA, *to_arrays(SCHEMA, table), predict(SCHEMA, model, table))

    with pytest.raises(SchemaError, match="the profile describes"):
        profile.check(flowers.with_classes(FLOWERS, other).schema)


def test_a_profile_of_a_number_is_no_profile_of_classes(table: pd.DataFrame):
    number: Schema = replace(SCHEMA, label=Column("KIND", "number", "a size"))
    profile = Profile.describe(number, *to_arrays(number, table), np.arange(450.0))

    profile.check(number)
    with pytest.raises(SchemaError, match="the profile describes"):
        profile.check(SCHEMA)


@pytest.mark.parametrize("make", [LogisticRegression, DecisionTreeClassifier])
def test_two_classes_may_have_names_too(table: pd.DataFrame, make: type):
    names = ("no", "yes")
    two: Problem = flowers.make_flowers_problem(names, lambda alpha: make())
    rows = table.assign(KIND=np.where(table["KIND"] == CLASSES[0], "yes", "no"))

    predicted = predict(two.schema, fit(two, rows, {}), rows)

    assert predicted.shape == (450, 2)
    assert ((predicted[:, 1] > 0.5) == (rows["KIND"] == "yes")).mean() > 0.95
