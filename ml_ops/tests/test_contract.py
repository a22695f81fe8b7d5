"""What keeps code from scoring with a model is told from the columns and the label of both."""

import pytest
from diabetes_mlops.models.contract import NUMBER, Contract
from problems import PATIENTS

KNOWN = {"AGE": NUMBER, "SEX": ("Female", "Male")}
MODEL = Contract(KNOWN, "Y")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (Contract({"SEX": ("Female", "Male")}, "Y"), "the code lacks columns ['AGE']"),
        (Contract(KNOWN | {"S7": NUMBER}, "Y"), "the model does not know columns ['S7']"),
        (Contract(KNOWN | {"AGE": ("old",)}, "Y"), "AGE is a number to the model and a category to the code"),
        (Contract(KNOWN | {"SEX": NUMBER}, "Y"), "SEX is a category to the model and a number to the code"),
        (
            Contract(KNOWN | {"SEX": ("Male", "Female")}, "Y"),
            "SEX has the categories ['Female', 'Male'] in the model and ['Male', 'Female'] in the code",
        ),
        (Contract(KNOWN, "COST"), "the model predicts Y, the label of the code is COST"),
    ],
)
def test_each_difference_is_told(code: Contract, told: str):
    assert MODEL.differences(code) == [told]


def test_the_order_of_columns_and_what_is_not_known_make_no_difference():
    assert MODEL.differences(Contract(dict(reversed(KNOWN.items())), "Y")) == []
    assert Contract(KNOWN | {"SEX": ()}).differences(MODEL) == []


def test_a_contract_is_read_back_as_it_was_written():
    own = Contract.of(PATIENTS.schema)

    assert Contract.from_text(own.as_text()) == own


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"features": {}, "label": "Y"}', '{"features": {"A": 1}, "label": ""}']
)
def test_another_text_is_no_contract(text: str):
    assert Contract.from_text(text) is None
