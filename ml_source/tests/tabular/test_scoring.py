"""A prediction depends on the row's own feature values and on nothing else."""

from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from diabetes.tabular.columns import SchemaError
from diabetes.tabular.features import select_features, select_label
from diabetes.tabular.fitting import fit_baseline
from diabetes.tabular.scoring import predict, predict_arrays
from diabetes.tabular.screening import screen
from problems import PATIENTS
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder

SCHEMA = PATIENTS.schema
# Matrix products of different heights may differ in the last bit.
EXACT = 1e-12


def test_every_row_gets_a_finite_prediction_even_with_gaps(model: Pipeline, batch: pd.DataFrame) -> None:
    predictions = predict(SCHEMA, model, batch)

    assert batch[SCHEMA.feature_names].isna().to_numpy().any()
    assert predictions.shape == (100,)
    assert predictions.dtype == np.float64
    assert np.isfinite(predictions).all()


def test_reordered_and_extra_columns_change_nothing(model: Pipeline, batch: pd.DataFrame) -> None:
    turned = batch[batch.columns[::-1]].assign(Y=np.nan, NOTE="x")

    assert predict(SCHEMA, model, turned).tolist() == predict(SCHEMA, model, batch).tolist()


@pytest.mark.parametrize("sex", ["Female", "Male"])
def test_a_batch_with_one_sex_scores_like_the_same_rows_in_the_full_batch(
    model: Pipeline, batch: pd.DataFrame, sex: str
) -> None:
    chosen = (batch["SEX"] == sex).to_numpy()

    alone = predict(SCHEMA, model, batch[chosen])

    assert len(alone) == chosen.sum() > 0
    assert alone == pytest.approx(predict(SCHEMA, model, batch)[chosen], rel=EXACT)


def test_a_row_scores_the_same_alone_as_in_a_batch(model: Pipeline, batch: pd.DataFrame) -> None:
    alone = [predict(SCHEMA, model, batch.iloc[[row]])[0] for row in range(len(batch))]

    assert alone == pytest.approx(predict(SCHEMA, model, batch), rel=EXACT)


def test_nothing_is_learned_from_the_batch(model: Pipeline, batch: pd.DataFrame) -> None:
    others_changed = batch.copy()
    others_changed.loc[1:, "BMI"] = 79.0
    others_changed.loc[1:, "SEX"] = "Male"
    with_gaps = others_changed.copy()
    with_gaps.loc[0, ["BMI", "SEX"]] = None

    first = predict(SCHEMA, model, others_changed)[0]
    filled = predict(SCHEMA, model, with_gaps)[0]

    assert first == pytest.approx(predict(SCHEMA, model, batch)[0], rel=EXACT)
    assert filled == pytest.approx(predict(SCHEMA, model, with_gaps.iloc[[0]])[0], rel=EXACT)


def test_a_filtered_table_gets_one_prediction_a_row_and_no_nan(model: Pipeline, batch: pd.DataFrame) -> None:
    older = batch[batch["AGE"] > 50]

    predictions = predict(SCHEMA, model, older)

    assert 0 < len(older) < len(batch)
    assert len(predictions) == len(older)
    assert predictions.tolist() == predict(SCHEMA, model, older.reset_index(drop=True)).tolist()
    assert not np.isnan(predictions).any()


def test_a_repeated_index_changes_nothing(model: Pipeline, batch: pd.DataFrame) -> None:
    repeated = batch.set_index(pd.Index([0] * len(batch)))

    assert predict(SCHEMA, model, repeated).tolist() == predict(SCHEMA, model, batch).tolist()


def test_scoring_leaves_the_table_as_it_was(model: Pipeline, batch: pd.DataFrame) -> None:
    before = batch.copy(deep=True)

    predict(SCHEMA, model, batch)

    pd.testing.assert_frame_equal(batch, before)


def with_none(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(SEX=table["SEX"].astype(object).mask(table["SEX"].isna(), None))


def with_decimals(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(BMI=[None if pd.isna(v) else Decimal(str(v)) for v in table["BMI"]])


@pytest.mark.parametrize(
    "retype",
    [with_none, with_decimals, lambda t: t.convert_dtypes(), lambda t: t.astype({"SEX": "category"})],
    ids=["None", "Decimal", "nullable types", "category"],
)
def test_other_spellings_of_the_same_values_score_the_same(
    model: Pipeline, batch: pd.DataFrame, retype: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    assert predict(SCHEMA, model, retype(batch)).tolist() == predict(SCHEMA, model, batch).tolist()


def test_an_empty_table_gives_no_predictions(model: Pipeline, batch: pd.DataFrame) -> None:
    empty = batch.iloc[:0]

    for predictions in (predict(SCHEMA, model, empty), predict_from_arrow(model, empty)):
        assert predictions.shape == (0,)
        assert predictions.dtype == np.float64


@pytest.mark.parametrize(
    ("table_change", "message"),
    [
        ({"SEX": "male"}, r"SEX: 100 not one of \['Female', 'Male'\], such as \['male', 'male', 'male'\]"),
        ({"S6": "sweet"}, "S6: 100 not a number, such as"),
    ],
)
def test_a_value_that_cannot_be_read_is_refused(
    model: Pipeline, batch: pd.DataFrame, table_change: dict[str, str], message: str
) -> None:
    with pytest.raises(SchemaError, match=message):
        predict(SCHEMA, model, batch.assign(**table_change))


def predict_from_arrow(model: Pipeline, table: pd.DataFrame) -> np.ndarray:
    screened = screen(SCHEMA, pa.RecordBatch.from_pandas(table, preserve_index=False))
    assert screened.reasons == {}
    return predict_arrays(SCHEMA, model, screened.numbers, screened.codes)


def test_arrays_score_like_a_table(model: Pipeline, batch: pd.DataFrame) -> None:
    expected = predict(SCHEMA, model, batch)

    assert batch["SEX"].isna().any()
    for spelling in (
        batch,
        batch[batch.columns[::-1]],
        batch.astype({"SEX": "category"}),
        with_decimals(batch),
    ):
        assert predict_from_arrow(model, spelling) == pytest.approx(expected, rel=EXACT)


def make_model(preprocess: ColumnTransformer, table: pd.DataFrame) -> Pipeline:
    return make_pipeline(preprocess, Ridge()).fit(select_features(SCHEMA, table), select_label(SCHEMA, table))


def fill_and(*steps: BaseEstimator) -> Pipeline:
    return make_pipeline(SimpleImputer(strategy="most_frequent"), *steps)


@pytest.mark.parametrize(
    "preprocess",
    [
        ColumnTransformer([("sex", fill_and(OneHotEncoder()), ["SEX"])], remainder="drop"),
        ColumnTransformer([("some", fill_and(), ["S5", "AGE"]), ("sex", fill_and(OneHotEncoder()), ["SEX"])]),
        ColumnTransformer([("all", fill_and(OneHotEncoder(handle_unknown="ignore")), ["SEX", "AGE"])]),
        ColumnTransformer([("sex", fill_and(OneHotEncoder()), ["SEX"])], remainder=SimpleImputer()),
    ],
    ids=["a sparse part", "other columns first", "numbers and categories in one part", "a remainder"],
)
def test_arrays_score_like_a_table_whatever_the_preprocessing(
    preprocess: ColumnTransformer, patients: pd.DataFrame, batch: pd.DataFrame
) -> None:
    other = make_model(preprocess, patients)

    assert predict_from_arrow(other, batch) == pytest.approx(predict(SCHEMA, other, batch), rel=EXACT)


def test_a_pipeline_without_a_column_transformer_scores_arrays_too(batch: pd.DataFrame) -> None:
    baseline = fit_baseline(PATIENTS, batch.assign(Y=150.0))

    assert predict_from_arrow(baseline, batch).tolist() == [150.0] * len(batch)


def classify(preprocess: Pipeline, table: pd.DataFrame, labels: np.ndarray) -> Pipeline:
    return make_pipeline(preprocess, LogisticRegression()).fit(select_features(SCHEMA, table), labels)


def test_a_classifier_predicts_the_probability_of_1(
    model: Pipeline, patients: pd.DataFrame, batch: pd.DataFrame
) -> None:
    above = (select_label(SCHEMA, patients) > 140).astype(float)
    classifier = classify(model[0], patients, above)

    predicted = predict(SCHEMA, classifier, batch)

    assert predicted == pytest.approx(
        classifier.predict_proba(select_features(SCHEMA, batch))[:, 1], rel=EXACT
    )
    assert predict_from_arrow(classifier, batch) == pytest.approx(predicted, rel=EXACT)
    assert (
        predict(SCHEMA, classifier, patients)[above == 1].mean()
        > 0.6
        > predict(SCHEMA, classifier, patients)[above == 0].mean()
    )


@pytest.mark.parametrize("labels", [[1.0, 2.0], [0.0, 1.0, 2.0]])
def test_a_classifier_of_other_classes_is_refused(
    model: Pipeline, patients: pd.DataFrame, labels: list[float]
) -> None:
    classifier = classify(model[0], patients, np.resize(labels, len(patients)))

    with pytest.raises(ValueError, match="must have learned the classes 0 and 1; got ") as error:
        predict(SCHEMA, classifier, patients)
    assert str(error.value).endswith(f"got {labels}")


def test_missing_columns_are_named(model: Pipeline, batch: pd.DataFrame) -> None:
    with pytest.raises(SchemaError, match=r"missing columns \['BMI'\]; the table has \['ID', 'AGE'"):
        predict(SCHEMA, model, batch.drop(columns="BMI"))
