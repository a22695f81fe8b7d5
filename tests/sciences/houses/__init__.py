"""Predicts the price of a house: the columns, the model and what a good one is, as one problem."""

from diabetes.evaluation import EVALUATION
from diabetes.schema import SCHEMA
from diabetes.tabular import Problem, Split
from diabetes.training import PARAMETERS, TRUSTED, make_pipeline

PROBLEM = Problem(
    schema=SCHEMA,
    parameters=PARAMETERS,
    make_pipeline=make_pipeline,
    trusted=TRUSTED,
    evaluation=EVALUATION,
    split=Split(column="SOLD", newest=True),
)
