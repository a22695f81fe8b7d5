"""Trains, measures and scores on any table: takes a problem, and names nothing that is in one."""

from diabetes.tabular.columns import Column, Schema
from diabetes.tabular.metrics import Evaluation, Metric
from diabetes.tabular.parameters import Parameter
from diabetes.tabular.problem import Problem
from diabetes.tabular.splitting import Split

__all__ = ["Column", "Evaluation", "Metric", "Parameter", "Problem", "Schema", "Split"]
