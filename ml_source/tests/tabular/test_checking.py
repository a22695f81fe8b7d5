"""A table that breaks the schema is refused with everything that is wrong."""

import pandas as pd
import pytest
from diabetes.tabular.checking import check_table
from diabetes.tabular.columns import SchemaError
from problems import PATIENTS

SCHEMA = PATIENTS.schema


def test_a_table_without_bmi_is_refused(patients: pd.DataFrame) -> None:
    with pytest.raises(SchemaError, match=r"missing columns \['BMI'\]; the table has \['ID', 'AGE'"):
        check_table(SCHEMA, patients.drop(columns="BMI"), labelled=True)


def test_a_label_is_asked_for_only_when_labelled(patients: pd.DataFrame) -> None:
    unlabelled = patients.drop(columns="Y")

    check_table(SCHEMA, unlabelled, labelled=False)
    with pytest.raises(SchemaError, match=r"missing columns \['Y'\]"):
        check_table(SCHEMA, unlabelled, labelled=True)


def test_a_missing_label_is_refused(patients: pd.DataFrame) -> None:
    patients.loc[[3, 4], "Y"] = None

    with pytest.raises(SchemaError, match="Y: 2 missing"):
        check_table(SCHEMA, patients, labelled=True)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("BMI", 812.5, "BMI: 1 outside 10 to 80 kg/m², such as [812.5]"),
        ("S1", float("-inf"), "S1: 1 outside 50 to 600 mg/dl, such as [-inf]"),
        ("S5", "high", "S5: 1 not a number, such as ['high']"),
        ("AGE", 30.5, "AGE: 1 not a whole number, such as [30.5]"),
        ("SEX", "male", "SEX: 1 not one of ['Female', 'Male'], such as ['male']"),
        ("ID", 1, "ID: 1 repeated, such as [1]"),
        ("ID", None, "ID: 1 missing"),
    ],
)
def test_a_wrong_value_is_refused_with_its_column_and_value(
    patients: pd.DataFrame, name: str, value: object, problem: str
) -> None:
    table = patients.astype({name: object})
    table.loc[7, name] = value

    with pytest.raises(SchemaError) as error:
        check_table(SCHEMA, table, labelled=True)

    assert str(error.value) == f"the table of 442 rows breaks the schema: {problem}"


def test_all_problems_are_listed_at_once(patients: pd.DataFrame) -> None:
    table = patients.astype({"BMI": object, "ID": object})
    table.loc[[1, 2, 3, 4], "BMI"] = [900, 901, 902, 903]
    table.loc[[5, 6], "BMI"] = ["thin", "thick"]
    table.loc[8, "SEX"] = "x"
    table.loc[[9, 10], "ID"] = ["a", "b"]

    with pytest.raises(SchemaError) as error:
        check_table(SCHEMA, table, labelled=True)

    assert str(error.value).split(": ", 1)[1].split("; ") == [
        "ID: 2 not a number, such as ['a', 'b']",
        "SEX: 1 not one of ['Female', 'Male'], such as ['x']",
        "BMI: 2 not a number, such as ['thin', 'thick']",
        "BMI: 4 outside 10 to 80 kg/m², such as [900, 901, 902]",
    ]


def test_missing_feature_values_and_numbers_read_as_text_are_allowed(patients: pd.DataFrame) -> None:
    patients.loc[0, SCHEMA.feature_names] = None

    check_table(SCHEMA, patients.astype({"BMI": str}).replace({"BMI": {"nan": None}}), labelled=True)


def test_checking_leaves_the_table_as_it_was(patients: pd.DataFrame) -> None:
    before = patients.copy(deep=True)

    check_table(SCHEMA, patients, labelled=True)

    pd.testing.assert_frame_equal(patients, before)
