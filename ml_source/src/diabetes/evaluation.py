"""Measures a model on labelled rows and describes the features that it reads."""

import pandas as pd
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from sklearn.pipeline import Pipeline

from diabetes.features import select_features, select_label
from diabetes.schema import CATEGORY_NAMES, COLUMNS, SchemaError
from diabetes.scoring import predict


def evaluate(model: Pipeline, table: pd.DataFrame) -> dict[str, float]:
    """Return rmse and mae (in units of the label) and r2 of the model's predictions against the labels.

    Raises SchemaError when a label is missing or when there are fewer than two rows (r2 needs two).
    """
    labels = select_label(table)
    if len(labels) < 2:
        raise SchemaError(f"evaluation needs at least 2 labelled rows; the table has {len(labels)}")
    predictions = predict(model, table)
    return {
        "rmse": float(root_mean_squared_error(labels, predictions)),
        "mae": float(mean_absolute_error(labels, predictions)),
        "r2": float(r2_score(labels, predictions)),
    }


def describe_features(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row a feature, in its unit: count, missing, mean, std, min, quartiles, max, categories.

    A category has no mean: its `categories` says how often each occurs, such as "Female 5, Male 3".
    """
    features = select_features(table)
    statistics = features.drop(columns=CATEGORY_NAMES).describe().T.reindex(features.columns)
    statistics["count"] = features.count()
    statistics.insert(1, "missing", features.isna().sum())
    statistics["categories"] = [_count_categories(features[name]) for name in features.columns]
    return statistics.rename_axis("feature")


def _count_categories(values: pd.Series) -> str:
    return ", ".join(f"{name} {(values == name).sum()}" for name in COLUMNS[str(values.name)].categories)
