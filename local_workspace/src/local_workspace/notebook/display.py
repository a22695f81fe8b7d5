"""`display` and `displayHTML`: tables, figures and HTML as a notebook shows them."""

import dataclasses
import html
import sys
from typing import Any

from IPython.display import HTML
from IPython.display import display as display_in_jupyter

DISPLAY_LIMIT = 1000


def display(value: Any, *_: Any, **__: Any) -> None:
    """Shows a value: of a Spark or pandas table the first 1,000 rows, a figure, or what it says itself."""
    kind = type(value).__module__
    if _is_spark_table(value):
        _show_table(value.limit(DISPLAY_LIMIT + 1).toPandas(), dict(value.dtypes))
    elif kind.partition(".")[0] == "pandas":
        table = value.to_frame() if hasattr(value, "to_frame") else value
        _show_table(table.head(DISPLAY_LIMIT + 1), None, len(table))
    elif kind == "matplotlib.figure":
        _show_figure(value)
    elif records := _records(value):
        import pandas

        display(pandas.DataFrame(records))
    else:
        display_in_jupyter(value)


def display_html(text: str) -> None:
    """Shows a piece of HTML."""
    display_in_jupyter(HTML(text))


def _is_spark_table(value: Any) -> bool:
    return type(value).__module__.startswith("pyspark.sql") and hasattr(value, "toPandas")


def _show_table(table: Any, types: dict[str, str] | None, rows: int | None = None) -> None:
    """Shows a pandas table that holds one row more than is shown where there are more."""
    shown = table.head(DISPLAY_LIMIT)
    types = types or {str(name): str(kind) for name, kind in table.dtypes.items()}
    body = shown.to_html(
        index=shown.index.name is not None, max_rows=None, border=0, classes="table", na_rep="null"
    )
    text = {"text/html": f"{body}<p>{_note(len(table), rows, types)}</p>", "text/plain": repr(shown)}
    display_in_jupyter(text, raw=True)


def _note(fetched: int, rows: int | None, types: dict[str, str]) -> str:
    columns = html.escape(", ".join(f"{name}: {kind}" for name, kind in types.items()))
    if fetched <= DISPLAY_LIMIT:
        count = f"{fetched:,} row{'' if fetched == 1 else 's'}"
    else:
        count = f"First {DISPLAY_LIMIT:,} rows of {f'{rows:,}' if rows else 'more'}"
    return f"{count} · {columns}"


def _show_figure(figure: Any) -> None:
    """Shows a figure once: pyplot would show what it knows a second time at the end of the cell."""
    display_in_jupyter(figure)
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close(figure)


def _records(value: Any) -> list[dict[str, Any]]:
    """A list of rows, file entries or the like as records; empty when it is none."""
    if not isinstance(value, list):
        return []
    return [record for item in value if (record := _record(item)) is not None] if value else []


def _record(item: Any) -> dict[str, Any] | None:
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return dataclasses.asdict(item)
    for name in ("asDict", "_asdict"):
        if hasattr(item, name):
            return dict(getattr(item, name)())
    return item if isinstance(item, dict) else None
