"""Metrics compare predictions with labels, intervals say how sure that is, statistics what the data holds."""

from dataclasses import astuple, replace

import numpy as np
import pandas as pd
import pytest
from diabetes.tabular import Schema
from diabetes.tabular.columns import SchemaError
from diabetes.tabular.fitting import fit, fit_baseline, make
from diabetes.tabular.measuring import (
    Interval,
    bootstrap_metrics,
    compare_models,
    cross_validate,
    describe_features,
    evaluate,
    evaluate_slices,
    feature_importance,
    validate,
)
from diabetes.tabular.scoring import predict
from diabetes.tabular.splitting import assign_folds, split_by_key
from problems import PATIENTS, TUMOURS, make_tumours, slice_patients
from scipy.stats import bootstrap
from sklearn.linear_model import Ridge
from sklearn.metrics import brier_score_loss
from sklearn.model_selection import PredefinedSplit, cross_val_score
from sklearn.pipeline import Pipeline

SCHEMA = PATIENTS.schema


def test_metrics_follow_their_formulas(model: Pipeline, patients: pd.DataFrame) -> None:
    _, holdout = split_by_key(SCHEMA, patients)
    errors = holdout["Y"].to_numpy() - predict(SCHEMA, model, holdout)
    deviations = holdout["Y"].to_numpy() - holdout["Y"].mean()

    metrics = evaluate(PATIENTS, model, holdout)

    assert metrics == pytest.approx(
        {
            "rmse": np.sqrt(np.mean(errors**2)),
            "mae": np.mean(np.abs(errors)),
            "r2": 1 - np.sum(errors**2) / np.sum(deviations**2),
        }
    )
    assert all(type(value) is float for value in metrics.values())


@pytest.fixture
def holdout(patients: pd.DataFrame) -> pd.DataFrame:
    return split_by_key(SCHEMA, patients)[1]


def label_of(table: pd.DataFrame) -> np.ndarray:
    return table["Y"].to_numpy()


def make_rows(count: int, error: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels, and predictions that miss them by normal errors of a standard deviation."""
    random = np.random.default_rng(count)
    actual = random.normal(size=count)
    return actual, actual + random.normal(scale=error, size=count)


def test_the_model_is_better_than_the_mean_on_rows_it_has_not_seen(
    model: Pipeline, patients: pd.DataFrame
) -> None:
    _, holdout = split_by_key(SCHEMA, patients)

    metrics = evaluate(PATIENTS, model, holdout)

    assert metrics["r2"] > 0.4
    assert 0 < metrics["mae"] < metrics["rmse"] < holdout["Y"].std()


def test_evaluating_needs_labels(model: Pipeline, patients: pd.DataFrame, batch: pd.DataFrame) -> None:
    with pytest.raises(SchemaError, match=r"missing columns \['Y'\]"):
        evaluate(PATIENTS, model, batch)
    with pytest.raises(SchemaError, match="Y: 442 of 442 rows have no label"):
        evaluate(PATIENTS, model, patients.assign(Y=None))
    with pytest.raises(SchemaError, match="at least 2 labelled rows; the table has 1"):
        evaluate(PATIENTS, model, patients.head(1))


def test_a_model_of_shuffled_labels_knows_nothing_about_the_holdout(patients: pd.DataFrame) -> None:
    # With the label among the features, or rows of the holdout in training, r2 would be well above 0.
    train, holdout = split_by_key(SCHEMA, patients)
    train["Y"] = train["Y"].sample(frac=1, random_state=0).to_numpy()

    metrics = evaluate(PATIENTS, fit(PATIENTS, train, {"alpha": 1.0}), holdout)

    assert metrics["r2"] < 0.1


def test_the_baseline_predicts_the_mean_of_the_training_rows_only(patients: pd.DataFrame) -> None:
    train, holdout = split_by_key(SCHEMA, patients)

    predictions = predict(SCHEMA, fit_baseline(PATIENTS, train), holdout.assign(Y=1000.0))

    assert predictions == pytest.approx(np.full(len(holdout), train["Y"].mean()))


def test_each_metric_lies_in_its_interval(model: Pipeline, holdout: pd.DataFrame) -> None:
    metrics = evaluate(PATIENTS, model, holdout)

    intervals = bootstrap_metrics(
        PATIENTS.evaluation, label_of(holdout), predict(SCHEMA, model, holdout), seed=0
    )

    assert {name: interval.value for name, interval in intervals.items()} == pytest.approx(metrics)
    for interval in intervals.values():
        assert interval.low < interval.value < interval.high
        assert {type(number) for number in astuple(interval)} == {float}


def test_intervals_are_those_of_scipy(model: Pipeline, holdout: pd.DataFrame) -> None:
    rows = label_of(holdout), predict(SCHEMA, model, holdout)

    def rmse(actual: np.ndarray, predicted: np.ndarray, axis: int) -> np.ndarray:
        return np.sqrt(np.mean((actual - predicted) ** 2, axis=axis))

    options = {"paired": True, "method": "percentile", "n_resamples": 20_000, "vectorized": True}
    expected = bootstrap(rows, rmse, confidence_level=0.9, rng=1, **options).confidence_interval

    interval = bootstrap_metrics(PATIENTS.evaluation, *rows, seed=0, resamples=20_000, confidence=0.9)["rmse"]

    assert [interval.low, interval.high] == pytest.approx([expected.low, expected.high], abs=0.15)


def test_intervals_shrink_with_the_root_of_the_rows() -> None:
    # The standard error of an rmse of n normal errors of deviation 1 is 1 / sqrt(2 n).
    widths = []
    for count in (1_000, 100_000):
        interval = bootstrap_metrics(PATIENTS.evaluation, *make_rows(count), seed=0, resamples=300)["rmse"]
        assert interval.low < 1 < interval.high
        widths.append(interval.high - interval.low)

    assert widths == pytest.approx([2 * 1.96 / np.sqrt(2_000), 2 * 1.96 / np.sqrt(200_000)], rel=0.2)


def test_more_confidence_needs_a_wider_interval() -> None:
    narrow, wide = (
        bootstrap_metrics(PATIENTS.evaluation, *make_rows(100), seed=0, confidence=confidence)["mae"]
        for confidence in (0.5, 0.99)
    )

    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high
    assert wide.value == narrow.value


def test_the_same_seed_gives_the_same_digits_and_another_seed_does_not() -> None:
    actual, predicted = make_rows(50)
    champion = actual + 0.5

    metrics = [bootstrap_metrics(PATIENTS.evaluation, actual, predicted, seed=seed) for seed in (4, 4, 5)]
    differences = [
        compare_models(PATIENTS.evaluation, actual, predicted, champion, seed=seed) for seed in (4, 4, 5)
    ]

    for first, again, other in (metrics, differences):
        assert first == again
        assert first != other


def test_perfect_predictions_have_no_doubt() -> None:
    actual = np.arange(10.0)

    intervals = bootstrap_metrics(PATIENTS.evaluation, actual, actual, seed=0)

    assert intervals == {"rmse": Interval(0, 0, 0), "mae": Interval(0, 0, 0), "r2": Interval(1, 1, 1)}


def test_resamples_that_do_not_define_a_metric_are_left_out() -> None:
    actual = np.array([1.0, 2.0])  # half of the resamples have equal labels, and so no r2

    interval = bootstrap_metrics(PATIENTS.evaluation, actual, np.array([1.5, 2.0]), seed=0)["r2"]

    assert astuple(interval) == (0.5, 0.5, 0.5)


@pytest.mark.filterwarnings("error")
def test_a_metric_that_no_resample_defines_has_no_interval(model: Pipeline, holdout: pd.DataFrame) -> None:
    equal = holdout.assign(Y=100.0)

    interval = bootstrap_metrics(PATIENTS.evaluation, label_of(equal), predict(SCHEMA, model, equal), seed=0)[
        "r2"
    ]

    assert np.isnan([evaluate(PATIENTS, model, equal)["r2"], *astuple(interval)]).all()


def test_equal_models_differ_by_exactly_nothing(model: Pipeline, holdout: pd.DataFrame) -> None:
    predicted = predict(SCHEMA, model, holdout)

    difference = compare_models(PATIENTS.evaluation, label_of(holdout), predicted, predicted.copy(), seed=0)

    assert difference == Interval(0.0, 0.0, 0.0)


def test_a_better_challenger_is_below_zero_and_a_worse_one_above(
    model: Pipeline, patients: pd.DataFrame
) -> None:
    train, holdout = split_by_key(SCHEMA, patients)
    actual, predicted = label_of(holdout), predict(SCHEMA, model, holdout)
    mean = predict(SCHEMA, fit_baseline(PATIENTS, train), holdout)

    better = compare_models(PATIENTS.evaluation, actual, predicted, mean, seed=0)
    worse = compare_models(PATIENTS.evaluation, actual, mean, predicted, seed=0)

    expected = np.sqrt(np.mean((actual - predicted) ** 2)) - np.sqrt(np.mean((actual - mean) ** 2))
    assert better.value == pytest.approx(expected)
    assert better.low < better.value < better.high < 0
    assert astuple(worse) == pytest.approx((-better.value, -better.high, -better.low))


def test_comparing_on_the_same_rows_sees_what_two_intervals_cannot() -> None:
    actual, champion = make_rows(200)
    challenger = actual + (champion - actual) * 0.97

    difference = compare_models(PATIENTS.evaluation, actual, challenger, champion, seed=0)
    alone = [
        bootstrap_metrics(PATIENTS.evaluation, actual, predicted, seed=0)["rmse"]
        for predicted in (challenger, champion)
    ]

    assert difference.high < 0
    assert alone[0].high > alone[1].low


@pytest.mark.parametrize(
    ("predicted", "options", "message"),
    [
        (np.zeros(3), {}, r"at least 2 rows; got \{'actual': \(4,\), '[a-z]+': \(3,\)"),
        (np.zeros((4, 1)), {}, r"one shape \(n,\) .* got \{'actual': \(4,\), '[a-z]+': \(4, 1\)"),
        (np.full(4, np.nan), {}, "contains NaN"),
        (np.zeros(4), {"resamples": 0}, "resamples must be at least 1 .* got 0 and 0.95"),
        (np.zeros(4), {"confidence": 1.0}, "confidence between 0 and 1; got 2000 and 1.0"),
    ],
)
def test_rows_and_numbers_that_give_no_interval_are_refused(
    predicted: np.ndarray, options: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_metrics(PATIENTS.evaluation, np.arange(4.0), predicted, seed=0, **options)
    with pytest.raises(ValueError, match=message):
        compare_models(PATIENTS.evaluation, np.arange(4.0), predicted, predicted, seed=0, **options)


def test_one_row_gives_no_interval() -> None:
    with pytest.raises(ValueError, match=r"at least 2 rows; got \{'actual': \(1,\), 'predicted': \(1,\)\}"):
        bootstrap_metrics(PATIENTS.evaluation, np.zeros(1), np.zeros(1), seed=0)


def test_slices_read_values_like_the_model_does(patients: pd.DataFrame) -> None:
    labels, text = label_of(patients), patients.astype({"AGE": "Int64"}).astype({"AGE": "string"})

    slices, of_text = (evaluate_slices(PATIENTS, labels, labels + 1, table) for table in (patients, text))

    pd.testing.assert_frame_equal(of_text, slices)
    with pytest.raises(SchemaError, match=r"SEX: 442 not one of \['Female', 'Male'\]"):
        evaluate_slices(PATIENTS, labels, labels, patients.assign(SEX="M"))


def test_each_slice_is_evaluated_like_a_table_of_its_own(model: Pipeline, holdout: pd.DataFrame) -> None:
    slices = evaluate_slices(PATIENTS, label_of(holdout), predict(SCHEMA, model, holdout), holdout)

    assert slices.index.name == "slice"
    assert slices.columns.tolist() == ["rows", "rmse", "mae", "r2"]
    masks = slice_patients(holdout)
    assert slices["rows"].to_dict() == {name: mask.sum() for name, mask in masks.items()}
    older = holdout[holdout["AGE"] >= 50]
    assert slices.loc["AGE>=50"].to_dict() == pytest.approx(
        {"rows": len(older), **evaluate(PATIENTS, model, older)}
    )


def test_a_slice_that_falls_apart_shows(model: Pipeline, holdout: pd.DataFrame) -> None:
    male = (holdout["SEX"] == "Male").to_numpy()
    actual, predicted = label_of(holdout), predict(SCHEMA, model, holdout)

    before = evaluate_slices(PATIENTS, actual, predicted, holdout)
    after = evaluate_slices(PATIENTS, actual, np.where(male, predicted + 150, predicted), holdout)

    assert after.loc["SEX=Male", "rmse"] > 2 * before.loc["SEX=Male", "rmse"]
    assert after.loc["SEX=Male", "r2"] < 0 < before.loc["SEX=Male", "r2"]
    pd.testing.assert_series_equal(after.loc["SEX=Female"], before.loc["SEX=Female"])


@pytest.mark.filterwarnings("error")
def test_a_slice_with_too_few_rows_has_no_metric(patients: pd.DataFrame) -> None:
    table = patients.head(3).assign(SEX="Male", AGE=[30, 70, 71])

    slices = evaluate_slices(PATIENTS, np.array([1.0, 2.0, 3.0]), np.array([4.0, 2.0, 3.0]), table)

    assert slices["rows"].tolist() == [0, 3, 1, 2]
    assert slices.loc["SEX=Female", ["rmse", "mae", "r2"]].isna().all()
    assert slices.loc["AGE<50", ["rmse", "mae"]].tolist() == [3, 3]
    assert np.isnan(slices.loc["AGE<50", "r2"])
    assert slices.loc["AGE>=50", ["rmse", "mae", "r2"]].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("mask", "got"),
    [
        (np.array([1, 0, 0]), r"int64 of shape \(3,\)"),
        (np.array([True, False]), r"bool of shape \(2,\)"),
        (np.ones((3, 1), dtype=bool), r"bool of shape \(3, 1\)"),
        ([0, 2], r"int64 of shape \(2,\)"),
    ],
)
def test_a_slice_that_is_no_mask_of_the_rows_is_refused(
    patients: pd.DataFrame, mask: np.ndarray, got: str
) -> None:
    evaluation = replace(PATIENTS.evaluation, slice_rows=lambda _: {"some": mask})

    with pytest.raises(ValueError, match=rf"slice 'some' must be a boolean mask of shape \(3,\); got {got}"):
        evaluate_slices(replace(PATIENTS, evaluation=evaluation), np.zeros(3), np.zeros(3), patients.head(3))


def test_a_problem_without_slices_has_an_empty_table_of_them() -> None:
    tumours = make_tumours()

    slices = evaluate_slices(TUMOURS, np.zeros(len(tumours)), np.zeros(len(tumours)), tumours)

    assert (slices.index.name, slices.columns.tolist()) == ("slice", ["rows", "brier", "accuracy"])
    assert slices.empty


def test_predictions_of_other_rows_are_refused(patients: pd.DataFrame) -> None:
    with pytest.raises(
        ValueError, match=r"442 rows needs one value a row; got actual \(442,\), predicted \(5,\)"
    ):
        evaluate_slices(PATIENTS, label_of(patients), np.zeros(5), patients)


def test_body_mass_and_triglycerides_matter_most(model: Pipeline, holdout: pd.DataFrame) -> None:
    importance = feature_importance(PATIENTS, model, holdout, seed=0)

    assert {*importance.index[:2]} == {"S5", "BMI"}
    assert sorted(importance.index) == sorted(SCHEMA.feature_names)
    assert importance["mean"].is_monotonic_decreasing
    assert (importance["mean"] > 2 * importance["std"])[["S5", "BMI"]].all()


def test_a_feature_of_shuffled_noise_does_not_matter(patients: pd.DataFrame) -> None:
    train, holdout = split_by_key(
        SCHEMA, patients.assign(BMI=patients["BMI"].sample(frac=1, random_state=0).to_numpy())
    )

    importance = feature_importance(PATIENTS, fit(PATIENTS, train, {"alpha": 1.0}), holdout, seed=0)

    assert abs(importance.loc["BMI", "mean"]) < 1
    assert importance.loc["S5", "mean"] > 10


def test_importance_is_the_growth_of_rmse_without_the_feature(model: Pipeline, holdout: pd.DataFrame) -> None:
    shuffled = [holdout.assign(S5=np.random.default_rng(i).permutation(holdout["S5"])) for i in range(40)]
    growth = (
        np.mean([evaluate(PATIENTS, model, table)["rmse"] for table in shuffled])
        - evaluate(PATIENTS, model, holdout)["rmse"]
    )

    importance = feature_importance(PATIENTS, model, holdout, seed=0, repeats=40)

    assert importance.loc["S5", "mean"] == pytest.approx(growth, abs=1.5)


def test_importance_has_the_same_digits_with_the_same_seed(model: Pipeline, holdout: pd.DataFrame) -> None:
    first, again, other = (
        feature_importance(PATIENTS, model, holdout, seed=seed, repeats=2) for seed in (3, 3, 4)
    )

    pd.testing.assert_frame_equal(first, again, check_exact=True)
    assert first.loc["S5", "mean"] != other.loc["S5", "mean"]


def test_evaluating_leaves_rows_as_they_were(model: Pipeline, holdout: pd.DataFrame) -> None:
    before = holdout.copy(deep=True)
    actual, predicted = label_of(holdout).copy(), predict(SCHEMA, model, holdout)
    actual.flags.writeable = predicted.flags.writeable = False

    evaluate_slices(PATIENTS, actual, predicted, holdout)
    bootstrap_metrics(PATIENTS.evaluation, actual, predicted, seed=0, resamples=10)
    compare_models(PATIENTS.evaluation, actual, predicted, predicted, seed=0, resamples=10)
    feature_importance(PATIENTS, model, holdout, seed=0, repeats=1)

    pd.testing.assert_frame_equal(holdout, before)


def test_statistics_describe_every_feature(patients: pd.DataFrame) -> None:
    statistics = describe_features(SCHEMA, patients)

    assert statistics.index.tolist() == SCHEMA.feature_names
    assert (statistics["count"] + statistics["missing"]).tolist() == [442] * len(SCHEMA.feature_names)
    assert statistics["missing"].tolist() == patients[SCHEMA.feature_names].isna().sum().tolist()
    assert statistics.loc["BMI", ["mean", "std", "min", "50%", "max"]].tolist() == pytest.approx(
        patients["BMI"].agg(["mean", "std", "min", "median", "max"]).tolist()
    )


def test_statistics_count_categories_also_when_one_is_absent(patients: pd.DataFrame) -> None:
    counts = patients["SEX"].value_counts()

    both = describe_features(SCHEMA, patients)
    one = describe_features(SCHEMA, patients[patients["SEX"] == "Male"])

    assert both.loc["SEX", "categories"] == f"Female {counts['Female']}, Male {counts['Male']}"
    assert one.loc["SEX", "categories"] == f"Female 0, Male {counts['Male']}"
    assert both.loc["BMI", "categories"] == ""


def rmse_over_folds(model: Pipeline | Ridge, features: object, table: pd.DataFrame) -> float:
    """Return scikit-learn's own cross-validation, on the folds of seed 0."""
    folds = PredefinedSplit(assign_folds(SCHEMA, table, folds=5, seed=0))
    scores = cross_val_score(model, features, table["Y"], cv=folds, scoring="neg_root_mean_squared_error")
    return float(-scores.mean())


def with_many_gaps(table: pd.DataFrame) -> pd.DataFrame:
    empty = np.random.default_rng(0).random((len(table), len(SCHEMA.numeric_names))) < 0.4
    return table.assign(**table[SCHEMA.numeric_names].mask(empty))


def test_each_fold_is_filled_scaled_and_fitted_from_the_other_folds_only(patients: pd.DataFrame) -> None:
    table = with_many_gaps(patients)
    prepared_from_all = fit(PATIENTS, table, {"alpha": 1.0})[:-1].transform(table)
    filled_from_all = table.fillna(table[SCHEMA.numeric_names].median())

    rmse = cross_validate(PATIENTS, table, {"alpha": 1.0}, seed=0)

    assert rmse == pytest.approx(rmse_over_folds(make(PATIENTS, {"alpha": 1.0}), table, table), rel=1e-12)
    assert rmse != pytest.approx(rmse_over_folds(Ridge(alpha=1.0), prepared_from_all, table), rel=1e-6)
    assert rmse != pytest.approx(cross_validate(PATIENTS, filled_from_all, {"alpha": 1.0}, seed=0), rel=1e-6)


def test_cross_validation_does_not_measure_on_the_rows_it_learned_from(patients: pd.DataFrame) -> None:
    # Features say nothing about shuffled labels, so only rows seen in training can be predicted well.
    table = patients.head(60)
    table = table.assign(Y=table["Y"].sample(frac=1, random_state=0).to_numpy())
    seen = table["Y"] - predict(SCHEMA, fit(PATIENTS, table, {"alpha": 0.01}), table)

    rmse = cross_validate(PATIENTS, table, {"alpha": 0.01}, seed=0)

    assert np.sqrt(np.mean(seen**2)) < table["Y"].std() < rmse


def test_the_same_rows_and_seed_give_the_same_rmse_in_any_order(patients: pd.DataFrame) -> None:
    rmse = cross_validate(PATIENTS, patients, {"alpha": 1.0}, seed=0)

    assert cross_validate(PATIENTS, patients, {"alpha": 1.0}, seed=0) == rmse
    assert cross_validate(
        PATIENTS, patients.sample(frac=1, random_state=7), {"alpha": 1.0}, seed=0
    ) == pytest.approx(rmse, rel=1e-9)
    assert cross_validate(PATIENTS, patients, {"alpha": 1.0}, seed=1) != pytest.approx(rmse, rel=1e-6)


def test_cross_validation_leaves_the_table_as_it_was(patients: pd.DataFrame) -> None:
    before = patients.copy(deep=True)

    cross_validate(PATIENTS, patients, {"alpha": 1.0}, seed=0)

    pd.testing.assert_frame_equal(patients, before)


def test_numbers_alone_have_no_categories_and_two_classes_are_validated_by_their_probability() -> None:
    tumours = make_tumours()
    held_out = assign_folds(TUMOURS.schema, tumours, folds=5, seed=0) == 0
    model = fit(TUMOURS, tumours[~held_out], {"alpha": 2.0})
    probability = predict(TUMOURS.schema, model, tumours[held_out])

    error = validate(TUMOURS, tumours, held_out, {"alpha": 2.0})

    assert error == pytest.approx(brier_score_loss(tumours["MALIGNANT"][held_out], probability))
    assert describe_features(TUMOURS.schema, tumours)["categories"].tolist() == [""] * 4


def test_categories_alone_are_described() -> None:
    schema = Schema(key=PATIENTS.schema.key, features=(SCHEMA.columns["SEX"],), label=PATIENTS.schema.label)

    statistics = describe_features(schema, pd.DataFrame({"SEX": ["Male", None, "Male"]}))

    assert statistics.loc["SEX", ["count", "missing", "categories"]].tolist() == [2, 1, "Female 0, Male 2"]
