"""Which names a project can have, and where its names go."""

import pytest

from template.errors import TemplateError
from template.files import ROOT, list_files
from template.names import check_name, rename

FILES = [ROOT / path for path in list_files(ROOT)]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Churn", "small letters"),
        ("customer churn", "small letters"),
        ("customer-churn", "small letters"),
        ("2churn", "begins with a letter"),
        ("churn_", "single underscores"),
        ("", "small letters"),
        ("churn/../x", "small letters"),
        ("lambda", "keyword"),
        ("match", "keyword"),
        ("order", "reserved word of SQL"),
        ("statistics", "a module of Python itself"),
        ("pandas", "a package that the project uses"),
        ("local_workspace", "a package that the project uses"),
        ("orchestrator", "a folder of that name"),
        ("champion", "gives that name to something else"),
        ("diabetes", "the sample's own name"),
        ("churn" * 9, "45 characters"),
    ],
)
def test_a_name_that_will_not_do_is_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(TemplateError, match=f"NAME='{name}' cannot be taken: .*{reason}"):
        check_name(name, FILES)


@pytest.mark.parametrize("name", ["churn", "customer_churn", "churn2026", "c" * 40])
def test_a_good_name_is_taken(name: str) -> None:
    check_name(name, FILES)


@pytest.mark.parametrize(
    ("text", "renamed"),
    [
        ("from diabetes_mlops import train", "from customer_churn_mlops import train"),
        ("make run-diabetes-model-training", "make run-customer-churn-model-training"),
        ("/Shared/azure-databricks-mlops-mlflow", "/Shared/customer-churn"),
        ("sklearn.datasets.load_diabetes()", "sklearn.datasets.load_diabetes()"),
    ],
)
def test_the_names_of_the_sample_become_those_of_the_project(text: str, renamed: str) -> None:
    assert rename(text, "customer_churn") == renamed
