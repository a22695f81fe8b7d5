"""What is written on a run tells code and data apart from other code and other data."""

import pandas as pd
import pytest
from diabetes_mlops.tracking import describe_dirtiness, digest_rows


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
