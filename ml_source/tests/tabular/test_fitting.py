"""Everything learned is learned in `fit`, from the training rows, into one pipeline."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from diabetes.tabular.columns import SchemaError
from diabetes.tabular.fitting import fit, fit_baseline
from diabetes.tabular.parameters import ParameterError, Value
from diabetes.tabular.scoring import predict
from diabetes.tabular.splitting import split_by_key
from problems import PATIENTS, TUMOURS, make_tumours
from sklearn.base import is_classifier
from sklearn.linear_model import Ridge

SCHEMA = PATIENTS.schema


def test_nothing_is_learned_from_rows_that_are_held_out(patients: pd.DataFrame) -> None:
    train, holdout = split_by_key(SCHEMA, patients)
    shifted = pd.concat([train, holdout.assign(BMI=75.0, SEX="Female", Y=1000.0)])
    train_again, _ = split_by_key(SCHEMA, shifted)

    again = fit(PATIENTS, train_again, {"alpha": 1.0})

    expected = predict(SCHEMA, fit(PATIENTS, train, {"alpha": 1.0}), holdout)
    assert predict(SCHEMA, again, holdout).tolist() == expected.tolist()


def test_neither_label_nor_id_nor_other_columns_are_read_as_features(patients: pd.DataFrame) -> None:
    model = fit(PATIENTS, patients.assign(Y_COPY=patients["Y"]), {"alpha": 1.0})

    assert model.feature_names_in_.tolist() == SCHEMA.feature_names


def test_a_table_with_one_sex_gives_the_same_columns(patients: pd.DataFrame) -> None:
    one_sex = fit(PATIENTS, patients[patients["SEX"] == "Male"], {"alpha": 1.0})

    assert list(one_sex[:-1].get_feature_names_out()) == list(
        fit(PATIENTS, patients, {"alpha": 1.0})[:-1].get_feature_names_out()
    )


def test_column_order_and_index_do_not_change_the_fit(patients: pd.DataFrame) -> None:
    turned = patients[patients.columns[::-1]].set_index(pd.Index(np.arange(len(patients)) % 7))

    assert (
        fit(PATIENTS, turned, {"alpha": 1.0})[-1].coef_.tolist()
        == fit(PATIENTS, patients, {"alpha": 1.0})[-1].coef_.tolist()
    )


def test_fitting_leaves_the_table_as_it_was(patients: pd.DataFrame) -> None:
    before = patients.copy(deep=True)

    fit(PATIENTS, patients, {"alpha": 1.0})

    pd.testing.assert_frame_equal(patients, before)


def test_a_larger_alpha_shrinks_the_coefficients(patients: pd.DataFrame) -> None:
    weak, strong = (fit(PATIENTS, patients, {"alpha": alpha})[-1].coef_ for alpha in (0.1, 1000.0))

    assert np.linalg.norm(strong) < np.linalg.norm(weak)


@pytest.mark.parametrize("alpha", [0, -1.0, float("nan"), float("inf"), True, "1.0"])
def test_a_wrong_alpha_is_refused_with_its_value(patients: pd.DataFrame, alpha: Value) -> None:
    with pytest.raises(ParameterError, match=f"alpha must be a number from 1e-06 to 1e\\+09; got {alpha!r}"):
        fit(PATIENTS, patients, {"alpha": alpha})


def test_a_parameter_that_is_not_given_has_its_default(patients: pd.DataFrame) -> None:
    told, untold = (fit(PATIENTS, patients, params) for params in ({"alpha": 0.5}, {}))

    assert untold[-1].alpha == 0.5
    assert untold[-1].coef_.tolist() == told[-1].coef_.tolist()


def test_a_parameter_that_the_problem_does_not_have_is_refused(patients: pd.DataFrame) -> None:
    with pytest.raises(ParameterError, match="there is no parameter depth; there is alpha: a number"):
        fit(PATIENTS, patients, {"depth": 3})


@pytest.mark.parametrize("made", [Ridge(alpha=2), None, Ridge])
def test_what_is_not_a_pipeline_is_refused(patients: pd.DataFrame, made: object) -> None:
    problem = replace(PATIENTS, make_pipeline=lambda alpha: made)

    for use in (lambda: fit(problem, patients, {}), lambda: fit_baseline(problem, patients)):
        with pytest.raises(
            TypeError, match="make_pipeline must return a Pipeline of scikit-learn; got "
        ) as error:
            use()
        assert str(error.value).endswith(f"got {made!r}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"BMI": np.nan}, r"columns \['BMI'\] have no value in 442 rows: nothing to learn from"),
        ({"SEX": "M"}, r"SEX: 442 not one of \['Female', 'Male'\], such as \['M', 'M', 'M'\]"),
        ({"Y": np.nan}, "Y: 442 of 442 rows have no label"),
    ],
)
def test_a_table_that_cannot_teach_is_refused(
    patients: pd.DataFrame, change: dict[str, object], message: str
) -> None:
    with pytest.raises(SchemaError, match=message):
        fit(PATIENTS, patients.assign(**change), {"alpha": 1.0})


def test_an_empty_table_is_refused(patients: pd.DataFrame) -> None:
    with pytest.raises(SchemaError, match="have no value in 0 rows"):
        fit(PATIENTS, patients.iloc[:0], {"alpha": 1.0})


def test_the_baseline_predicts_the_mean_label_of_its_training_rows(patients: pd.DataFrame) -> None:
    train, holdout = split_by_key(SCHEMA, patients)

    predictions = predict(SCHEMA, fit_baseline(PATIENTS, train), holdout)

    assert predictions == pytest.approx(np.full(len(holdout), train["Y"].mean()))


def test_a_baseline_needs_labels(patients: pd.DataFrame, batch: pd.DataFrame) -> None:
    with pytest.raises(SchemaError, match=r"missing columns \['Y'\]"):
        fit_baseline(PATIENTS, batch)
    with pytest.raises(SchemaError, match="the table has 0 rows: no label to take the mean of"):
        fit_baseline(PATIENTS, patients.iloc[:0])


def test_the_baseline_of_two_classes_predicts_their_share() -> None:
    train, holdout = split_by_key(TUMOURS.schema, make_tumours())

    baseline = fit_baseline(TUMOURS, train)

    predictions = predict(TUMOURS.schema, baseline, holdout)
    assert is_classifier(baseline)
    assert predictions == pytest.approx(np.full(len(holdout), train["MALIGNANT"].mean()))
