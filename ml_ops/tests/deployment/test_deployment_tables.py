"""Values and rows as they are printed."""

from deployment.tables import format_table, format_values


def test_values_are_shown_by_name_and_lists_of_rows_left_out() -> None:
    shown = format_values({"rows_in": 100, "metrics": {"rmse": 55.0}, "sample": [{"ID": 1}]})

    assert shown.splitlines() == ["  rows_in       100", "  metrics.rmse  55.0000"]


def test_the_reasons_of_a_refusal_are_shown_each_on_a_line() -> None:
    shown = format_values({"decision": {"promote": False, "reasons": ["too high", "too old"]}, "alpha": 0.5})

    assert shown.splitlines() == [
        "  decision.promote  False",
        "  decision.reasons  too high",
        "                    too old",
        "  alpha             0.5000",
    ]


def test_rows_are_shown_under_their_columns() -> None:
    assert format_table([{"ID": 1, "prediction": 2.5}]).splitlines() == ["ID  prediction", "1   2.5000"]
    assert format_table([]) == "(no rows)"
