"""The statements of a `%sql` cell: how they are told apart, and what of them is filled in."""

import pytest
from local_workspace.kernel import sql_cells
from local_workspace.kernel.dbutils import Widgets


def asked(text: str, **values: str) -> list[str]:
    """The statements that reach Spark, where widgets have these values."""
    statements: list[str] = []
    sql_cells.run(text, Widgets(values), statements.append)
    return statements


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("select 1; select ';' -- one; two\n;", ["select 1", "select ';' -- one; two\n"]),
        ("-- a comment alone", []),
        ("select :a, ':a', :other", ["select 'it\\'s', ':a', :other"]),
        ("select * from ${table} where x = '${unknown}'", ["select * from t.u where x = '${unknown}'"]),
        (
            "use {{ table }}; use `{{table}}`; select {{a}}, {{other}}",
            ["use 't.u'", "use `t.u`", "select 'it\\'s', {{other}}"],
        ),
        ("create table widget (remove int)", ["create table widget (remove int)"]),
    ],
)
def test_statements_reach_spark_with_the_values_of_widgets(text, statements):
    assert asked(text, a="it's", table="t.u") == statements


def test_widgets_are_declared_and_removed_in_sql():
    widgets = Widgets({"b": "of the job"})

    sql_cells.run(
        """-- what it takes
        CREATE WIDGET TEXT a DEFAULT "say \\"x\\", y"; create widget text `b` default '';
        CREATE WIDGET TEXT c DEFAULT '1';
        REMOVE WIDGET c""",
        widgets,
        lambda statement: pytest.fail(f"{statement} reached Spark"),
    )

    assert widgets.getAll() == {"a": 'say "x", y', "b": "of the job"}
