"""Metrics compare predictions with labels, and statistics say what the data holds."""

import numpy as np
import pandas as pd
import pytest
from diabetes.evaluation import describe_features, evaluate
from diabetes.schema import FEATURE_NAMES, TARGET, SchemaError
from diabetes.scoring import predict
from diabetes.splitting import split_by_id
from sklearn.pipeline import Pipeline


def test_metrics_follow_their_formulas(model: Pipeline, raw: pd.DataFrame) -> None:
    _, holdout = split_by_id(raw)
    errors = holdout[TARGET].to_numpy() - predict(model, holdout)
    deviations = holdout[TARGET].to_numpy() - holdout[TARGET].mean()

    metrics = evaluate(model, holdout)

    assert metrics == pytest.approx(
        {
            "rmse": np.sqrt(np.mean(errors**2)),
            "mae": np.mean(np.abs(errors)),
            "r2": 1 - np.sum(errors**2) / np.sum(deviations**2),
        }
    )
    assert all(type(value) is float for value in metrics.values())


def test_the_model_is_better_than_the_mean_on_rows_it_has_not_seen(
    model: Pipeline, raw: pd.DataFrame
) -> None:
    _, holdout = split_by_id(raw)

    metrics = evaluate(model, holdout)

    assert metrics["r2"] > 0.4
    assert 0 < metrics["mae"] < metrics["rmse"] < holdout[TARGET].std()


def test_evaluating_needs_labels(model: Pipeline, raw: pd.DataFrame, batch: pd.DataFrame) -> None:
    with pytest.raises(SchemaError, match=r"missing columns \['Y'\]"):
        evaluate(model, batch)
    with pytest.raises(SchemaError, match="Y: 442 of 442 rows have no label"):
        evaluate(model, raw.assign(Y=None))
    with pytest.raises(SchemaError, match="at least 2 labelled rows; the table has 1"):
        evaluate(model, raw.head(1))


def test_statistics_describe_every_feature(raw: pd.DataFrame) -> None:
    statistics = describe_features(raw)

    assert statistics.index.tolist() == FEATURE_NAMES
    assert (statistics["count"] + statistics["missing"]).tolist() == [442] * len(FEATURE_NAMES)
    assert statistics["missing"].tolist() == raw[FEATURE_NAMES].isna().sum().tolist()
    assert statistics.loc["BMI", ["mean", "std", "min", "50%", "max"]].tolist() == pytest.approx(
        raw["BMI"].agg(["mean", "std", "min", "median", "max"]).tolist()
    )


def test_statistics_count_categories_also_when_one_is_absent(raw: pd.DataFrame) -> None:
    counts = raw["SEX"].value_counts()

    both = describe_features(raw)
    one = describe_features(raw[raw["SEX"] == "Male"])

    assert both.loc["SEX", "categories"] == f"Female {counts['Female']}, Male {counts['Male']}"
    assert one.loc["SEX", "categories"] == f"Female 0, Male {counts['Male']}"
    assert both.loc["BMI", "categories"] == ""
