"""Gives every row of a batch its types, and tells the rows that cannot be scored and why."""

from diabetes.schema import COLUMNS, ID, Column, check_columns
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from diabetes_mlops.storage import BROKEN_LINE

REASONS = "reasons"
ROW = "row"


def screen(found: DataFrame, features: list[str]) -> DataFrame:
    """Give the ID and the features their types, and add `reasons` (why not to score) and `row` (as found).

    `reasons` is an empty list where nothing is wrong. A missing feature is not wrong: the pipeline fills it.
    Raises SchemaError when a column is missing.
    """
    check_columns([name for name in found.columns if name != BROKEN_LINE], [ID, *features])
    columns = [COLUMNS[name] for name in (ID, *features)]
    reasons = [*(reason for column in columns for reason in _reasons(column)), _is_missing(ID)]
    if BROKEN_LINE in found.columns:
        reasons.append(_reason(F.col(BROKEN_LINE).isNotNull(), "the line does not fit the header"))
    return found.select(
        *[_typed(column).alias(column.name) for column in columns],
        F.array_compact(F.array(*reasons)).alias(REASONS),
        _as_json(found).alias(ROW),
    )


def reject_repeated(screened: DataFrame) -> DataFrame:
    """Add a reason to every row whose ID another row has too: nobody can say which one is meant."""
    times = F.count(ID).over(Window.partitionBy(ID))
    text = F.format_string(f"{ID} %d is there %d times", F.col(ID), times)
    repeated = F.when(times > 1, F.array(text)).otherwise(F.array().cast("array<string>"))
    return screened.withColumn(REASONS, F.concat(REASONS, repeated))


def _as_json(found: DataFrame) -> SparkColumn:
    """Write a whole row as a JSON object: its columns, or the line as it stands where it is broken."""
    columns = [name for name in found.columns if name != BROKEN_LINE]
    row = F.to_json(F.struct(*columns), {"ignoreNullFields": "false"})
    if BROKEN_LINE not in found.columns:
        return row
    return F.when(F.col(BROKEN_LINE).isNull(), row).otherwise(F.to_json(F.struct(BROKEN_LINE)))


def _typed(column: Column) -> SparkColumn:
    """Read a value as its type: a whole number, a number or a text; null where missing or unreadable."""
    value = F.col(column.name)
    if column.kind == "category":
        return F.nullif(value.cast("string"), F.lit(""))
    number = F.nullif(value.try_cast("double"), F.lit(float("nan")))
    return F.when(F.rint(number) == number, number).try_cast("bigint") if column.name == ID else number


def _reasons(column: Column) -> list[SparkColumn]:
    value, name = F.col(column.name), column.name
    text = value.cast("string")
    if column.kind == "category":
        return [_reason(~_typed(column).isin(*column.categories), f"{name} is unknown: ", text)]
    number = value.try_cast("double")
    filled = value.isNotNull() & (text != "")
    reasons = [_reason(filled & number.isNull(), f"{name} is not a number: ", text)]
    outside = ~F.isnan(number) & ((number < F.lit(column.low)) | (number > F.lit(column.high)))
    reasons.append(_reason(outside, f"{name} is outside {column.low} to {column.high}: ", text))
    if column.kind == "integer":
        reasons.append(_reason(F.rint(number) != number, f"{name} is not a whole number: ", text))
    return reasons


def _is_missing(name: str) -> SparkColumn:
    value = F.col(name)
    missing = value.isNull() | (value.cast("string") == "") | F.isnan(value.try_cast("double"))
    return _reason(missing, f"{name} is missing")


def _reason(wrong: SparkColumn, *text: str | SparkColumn) -> SparkColumn:
    parts = [F.lit(part) if isinstance(part, str) else part for part in text]
    return F.when(wrong, F.concat(*parts))
