"""What is written on a run tells code and data apart from other code and other data."""

import mlflow
import pandas as pd
import pytest
from diabetes_mlops.runs.tracking import describe_dirtiness, describe_error, digest_rows, open_run


@pytest.mark.parametrize(
    ("versions", "dirty"),
    [
        (("0.1.0+g1a2b3c4", "0.1.0+g1a2b3c4"), "false"),
        (("0.1.0+g1a2b3c4", "0.1.0+g1a2b3c4.d9f8e7d6c"), "true"),
        (("0.1.0", "0.1.0+g1a2b3c4"), ""),
    ],
)
def test_dirtiness_is_read_from_the_versions_of_the_wheels(versions: tuple[str, str], dirty: str):
    assert describe_dirtiness(*versions) == dirty


def test_the_digest_of_rows_changes_with_each_value_and_each_name():
    table = pd.DataFrame({"a": range(20_000), "b": 1.0})
    changed = table.copy()
    changed.loc[19_999, "b"] = 1.5

    assert digest_rows(table) == digest_rows(table.copy())
    assert len({digest_rows(rows) for rows in (table, changed, table.rename(columns={"b": "c"}))}) == 3


@pytest.mark.parametrize(
    ("error", "kept"),
    [(ValueError("no BMI\n\tat x"), "ValueError: no BMI"), (KeyboardInterrupt(), "KeyboardInterrupt")],
)
def test_an_error_fails_its_run_and_stays_on_it(tracking, error: BaseException, kept: str):
    with pytest.raises(type(error)), open_run("/tests/errors", "job", "") as active:
        raise error

    run = mlflow.get_run(active.info.run_id)
    assert (run.info.status, run.data.tags["error"]) == ("FAILED", kept)


def test_a_long_error_is_cut_to_what_a_tag_holds():
    assert len(describe_error(ValueError("x" * 9_000))) == 500
