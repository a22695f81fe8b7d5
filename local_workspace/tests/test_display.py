"""What `display` shows of each kind of value, on a real Spark: the value as Spark has it."""

import re
from html import unescape

import pytest
from real_workspace import FOLDER, NOTEBOOKS, RealWorkspace


@pytest.fixture(scope="module")
def shown(real_workspace: RealWorkspace) -> dict[str, str]:
    """What the cells put out, by their titles."""
    for name in ("values", "helpers/with_parameters"):
        real_workspace.upload(f"{FOLDER}/{name}", (NOTEBOOKS / f"{name}.py").read_text())
    run = real_workspace.finished(real_workspace.submit(real_workspace.task("values")))
    assert run["state"]["result_state"] == "SUCCESS", real_workspace.client.jobs.get_run_output(
        run["tasks"][0]["run_id"]
    ).error_trace
    return real_workspace.executed(run["tasks"][0]["run_id"])


def cells(output: str) -> list[str]:
    return [unescape(text) for text in re.findall(r"<td>(.*?)</td>", output)]


def heads(output: str) -> list[str]:
    return [unescape(text) for text in re.findall(r"<th>(.*?)</th>", output)]


def test_whole_numbers_keep_their_digits_beside_nothing(shown):
    assert cells(shown["whole numbers beside nothing"]) == ["9007199254740993", "1", "null", "2"]
    assert cells(shown["SQL"]) == ["9007199254740993", "null"]


def test_numbers_are_shown_as_spark_writes_them(shown):
    assert cells(shown["numbers"]) == [
        *("NaN", "null", "1.234E-6", "1.0E300", "-Infinity", "0.1", "1.10", "-0.0", "true")
    ]


def test_values_within_values_keep_what_is_missing(shown):
    assert cells(shown["values within values"]) == [
        "[1,null]",
        '["NaN",null]',
        '{"k":null}',
        '{"x":9007199254740993,"y":null}',
        '[{"z":1}]',
        '["null",null]',
        '["AQI="]',
        "{\x01 -> 1}",
        '{"t":"2020-01-01T00:00:00.000001Z","d":1.10}',
    ]


def test_times_far_away_are_shown(shown):
    assert cells(shown["times"]) == [
        "9999-12-31 23:59:59.123456",
        "0001-01-01 00:00:00",
        "1969-12-31 23:59:59",
        "2024-05-06 07:08:09",
        "0001-01-01",
        "INTERVAL '1-2' YEAR TO MONTH",
        "INTERVAL '3 04:05:06' DAY TO SECOND",
    ]


def test_bytes_variants_and_columns_of_nothing_are_shown(shown):
    assert cells(shown["bytes and variants"]) == ["AP8=", '{"a":[1,null]}', "null"]


def test_names_may_be_there_twice_or_look_like_html(shown):
    assert heads(shown["names"]) == ["a", "a", "a.b", "<b>", "text"]
    assert cells(shown["names"]) == ["1", "2", "3", "4", "<i>&"]
    assert "<i>&" not in shown["names"].partition("[text/plain]")[0]


def test_a_table_without_rows_has_its_columns(shown):
    assert (heads(shown["no rows"]), cells(shown["no rows"])) == (["id"], [])
    assert "0 rows · id: bigint" in shown["no rows"]


def test_a_pandas_table_shows_its_values_and_what_is_missing_as_null(shown):
    assert cells(shown["pandas"]) == [
        *("9007199254740993", "1.234e-06", "2024-01-02 00:00:00", "x", "u", "y" * 80),
        *("null", "null", "null", "null", "v", "[1, 'a']"),
    ]
    assert heads(shown["an index with a name"]) == ["row", "n", "idx", "0"]


def test_an_index_that_says_something_is_shown(shown):
    assert heads(shown["an index without a name"]) == ["", "n", "n"]
    assert cells(shown["an index without a name"])[:6] == ["count", "2.0", "mean", "2.0", "std", repr(2**0.5)]
    assert cells(shown["an index without a name"])[-3:] == ["max", "3.0", "3"]
    levels = shown["an index of two levels beside columns that are a category"]
    assert heads(levels) == ["a", "b", "k", "l"]
    assert cells(levels) == ["x", "u", "1.0", "null", "y", "v", "null", "2.0"]


def test_a_narrow_number_is_shown_as_it_was_written(shown):
    assert cells(shown["narrow numbers"]) == ["0.1", "null", "0.1"]


def test_a_table_of_arrow_is_shown_with_each_value(shown):
    assert cells(shown["a table of Arrow"]) == [
        *("9007199254740993", "1.234e-06", "null", "[1, None]"),
        *("null", "NaN", "9999-12-31 23:59:59", "null"),
    ]


def test_a_spark_table_shows_itself_by_its_method(shown):
    assert cells(shown["by its method"]) == ["9007199254740993", "null"]


def test_a_list_of_rows_keeps_each_value(shown):
    assert heads(shown["rows"]) == ["a", "a", "_1", "_2", "a", "b"]
    assert cells(shown["rows"]) == ["1", "2", "1", "2", "3", "4", "1", "null", "null", "Row(c=2)"]


def test_a_styled_table_and_what_is_no_table_show_themselves(shown):
    assert "9007199254740993" in shown["a styled table"]
    assert "[1, 'a', None, 2.5]" in shown["mixed lists"]
    assert cells(shown["mixed lists"]) == ["9007199254740993", "null", "null", "null", "null", "y"]
    assert shown["mixed lists"].endswith("9007199254740993")


def test_a_notebook_that_is_run_gets_its_parameters_as_they_are_written(shown):
    assert shown["run with a parameter"] == "got 0.5 {alpha} $alpha = 'x'\n"
