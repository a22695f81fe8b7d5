"""`display` and `displayHTML`: tables, figures and HTML as a notebook shows them."""

import dataclasses
import html
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from IPython.display import HTML
from IPython.display import display as display_in_jupyter

DISPLAY_LIMIT = 1000


def display(value: Any, *_: Any, **__: Any) -> None:
    """Shows a value: of a Spark or pandas table the first 1,000 rows, a figure, or what it says itself."""
    if _is_spark_table(value):
        _show_spark_table(value)
    elif _is_pandas_table(value):
        _show_pandas_table(value)
    elif type(value).__module__ == "matplotlib.figure":
        _show_figure(value)
    elif records := _records(value):
        names = list(dict.fromkeys(name for record in records for name in record))
        rows = [[record.get(name) for name in names] for record in records]
        kinds = [
            next((type(v).__name__ for v in column if v is not None), "null")
            for column in zip(*rows, strict=True)
        ]
        _show_table(list(map(str, names)), kinds, rows)
    else:
        display_in_jupyter(value)


def display_html(text: str) -> None:
    """Shows a piece of HTML."""
    display_in_jupyter(HTML(text))


def _is_spark_table(value: Any) -> bool:
    return type(value).__module__.startswith("pyspark.sql") and hasattr(value, "toPandas")


def _is_pandas_table(value: Any) -> bool:
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame | pandas.Series | pandas.Index)


def _show_spark_table(table: Any) -> None:
    """Has Spark itself write each value as text: any other way changes some."""
    from pyspark.sql import functions as F

    names = [field.name for field in table.schema]
    kinds = [field.dataType.simpleString() for field in table.schema]
    places = [f"_{place}" for place in range(len(names))]  # names may be there twice, or hold a dot
    texts = [
        F.base64(place) if kind == "binary" else F.col(place).cast("string")
        for place, kind in zip(places, kinds, strict=True)
    ]
    rows = table.toDF(*places).limit(DISPLAY_LIMIT + 1).select(*texts).collect() if names else []
    _show_table(names, kinds, rows)


def _show_pandas_table(table: Any) -> None:
    frame = table if hasattr(table, "columns") else table.to_frame()
    named_index = any(name is not None for name in frame.index.names)
    if named_index and not set(frame.index.names) & set(frame.columns):
        frame = frame.reset_index()
    fetched = frame.head(DISPLAY_LIMIT + 1)
    # What is missing is null, as in the Spark table that Databricks makes of it.
    rows = fetched.astype(object).where(fetched.notna(), None).itertuples(index=False, name=None)
    _show_table(list(map(str, frame.columns)), list(map(str, frame.dtypes)), rows, len(frame))


def _show_table(
    names: Sequence[str], kinds: Sequence[str], rows: Iterable[Sequence[Any]], count: int | None = None
) -> None:
    """Shows rows of which there is one more than is shown where there are more."""
    texts = [[_text(value) for value in row] for row in rows]
    shown = texts[:DISPLAY_LIMIT]
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(text)}</td>' for text in row)}</tr>" for row in shown)
    table = f'<table class="table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    note = _note(len(texts), count, zip(names, kinds, strict=True))
    plain = "\n".join("\t".join(row) for row in [list(names), *shown])
    display_in_jupyter({"text/html": f"{table}<p>{note}</p>", "text/plain": plain}, raw=True)


def _text(value: Any) -> str:
    """A value as text: a number with all its digits, NaN apart from nothing at all."""
    if value is None:
        return "null"
    if isinstance(value, float):
        return "NaN" if value != value else repr(float(value))
    return str(value)


def _note(fetched: int, rows: int | None, types: Iterable[tuple[str, str]]) -> str:
    columns = html.escape(", ".join(f"{name}: {kind}" for name, kind in types))
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
    """A list of rows, file entries or the like as records; empty when anything else is in it."""
    if not isinstance(value, list):
        return []
    records = [_record(item) for item in value]
    return [] if None in records else [record for record in records if record is not None]


def _record(item: Any) -> dict[str, Any] | None:
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return dataclasses.asdict(item)
    for name in ("asDict", "_asdict"):
        if hasattr(item, name):
            return dict(getattr(item, name)())
    return item if isinstance(item, dict) else None
