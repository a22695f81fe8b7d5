"""`display` and `displayHTML`: tables, figures and HTML as a notebook shows them."""

import dataclasses
import html
import numbers
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from IPython.display import HTML
from IPython.display import display as display_in_jupyter

DISPLAY_LIMIT = 1000
# How Spark writes values within values: as JSON, with what is missing and all digits of a time.
JSON_OPTIONS = {
    "ignoreNullFields": "false",
    "timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX",
    "timestampNTZFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSS",
}


def display(value: Any, *_: Any, **__: Any) -> None:
    """Shows a value: of a table the first 1,000 rows, a figure, or what it says itself."""
    if _is_spark_table(value):
        _show_spark_table(value)
    elif _is_pandas_table(value):
        _show_pandas_table(value)
    elif hasattr(type(value), "__arrow_c_stream__") and hasattr(value, "columns"):
        _show_arrow_table(value)
    elif type(value).__module__ == "matplotlib.figure":
        _show_figure(value)
    elif records := _records(value):
        _show_records(records)
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
    texts = [_as_text(F.col(place), kind) for place, kind in zip(places, kinds, strict=True)]
    rows = table.toDF(*places).limit(DISPLAY_LIMIT + 1).select(*texts).collect() if names else []
    _show_table(names, kinds, rows)


def _as_text(column: Any, kind: str) -> Any:
    """The Spark column of a type, written as text."""
    from pyspark.sql import functions as F

    if kind == "binary":
        return F.base64(column)
    # Spark's JSON has no times of the day and only an object's address for a key of bytes.
    if kind.startswith(("struct<", "array<", "map<")) and not re.search(r"\btime\(|map<binary", kind):
        return F.to_json(column, JSON_OPTIONS)
    return column.cast("string")


def _show_pandas_table(table: Any) -> None:
    if not hasattr(table, "columns"):
        table = table.to_frame(index=False) if hasattr(table, "nlevels") else table.to_frame()
    fetched = table.head(DISPLAY_LIMIT + 1)
    columns = [*_index_columns(fetched), *fetched.items()]
    # What is missing is null, as in the Spark table that Databricks makes of it.
    values = [
        [None if missing else value for value, missing in zip(column.array, column.isna(), strict=True)]
        for _, column in columns
    ]
    rows: list[Any] = list(zip(*values, strict=True)) if values else [()] * len(fetched)
    kinds = [str(column.dtype) for _, column in columns]
    _show_table([str(name) for name, _ in columns], kinds, rows, len(table))


def _show_arrow_table(table: Any) -> None:
    """Shows a table of Arrow, or one that hands out its values so, as those of polars do."""
    import pyarrow as pa

    columns = pa.table(table)
    fetched = columns.slice(0, DISPLAY_LIMIT + 1)
    values = [column.to_pylist() for column in fetched.columns]
    rows: list[Any] = list(zip(*values, strict=True)) if values else [()] * fetched.num_rows
    _show_table(columns.column_names, [str(kind) for kind in columns.schema.types], rows, columns.num_rows)


def _index_columns(frame: Any) -> list[tuple[Any, Any]]:
    """The index of a pandas table, level by level, where it says more than its columns and places of rows."""
    index = frame.index
    places = index.nlevels == 1 and index.name is None and index.dtype.kind in "iu"
    if places or set(index.names) & set(frame.columns):
        return []
    levels = [index.get_level_values(place) for place in range(index.nlevels)]
    return [("" if level.name is None else level.name, level) for level in levels]


def _show_records(records: list[tuple[list[str], list[Any]]]) -> None:
    """Shows records; one that lacks a name that another has shows null there."""
    names = records[0][0]
    rows = [values for _, values in records]
    if any(keys != names for keys, _ in records):
        names = list(dict.fromkeys(name for keys, _ in records for name in keys))
        rows = [[dict(zip(*record, strict=True)).get(name) for name in names] for record in records]
    kinds = [
        next((type(value).__name__ for value in column if value is not None), "null")
        for column in zip(*rows, strict=True)
    ]
    _show_table(list(map(str, names)), kinds, rows)


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
    if isinstance(value, numbers.Real) and value != value:
        return "NaN"
    return repr(float(value)) if isinstance(value, float) else str(value)


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


def _records(value: Any) -> list[tuple[list[str], list[Any]]]:
    """A list of rows, file entries or the like: names and values of each; empty when it has anything else."""
    if not isinstance(value, list):
        return []
    records = [_record(item) for item in value]
    return [] if None in records else [record for record in records if record is not None]


def _record(item: Any) -> tuple[list[str], list[Any]] | None:
    if type(item).__module__ == "pyspark.sql.types" and isinstance(item, tuple):
        # Not by asDict: a row may have a name twice, and one without names has none of its fields there.
        names = getattr(item, "__fields__", None) or [f"_{place + 1}" for place in range(len(item))]
        return list(names), list(item)
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        item = dataclasses.asdict(item)
    elif hasattr(item, "_asdict"):
        item = item._asdict()
    return (list(item), list(item.values())) if isinstance(item, dict) else None
