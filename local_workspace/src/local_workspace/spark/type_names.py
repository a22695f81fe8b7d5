"""How Databricks names the types of columns, in its REST answers and in SQL."""

from typing import Any

# By Spark's own short name: the word of the REST API, where it is not the short name itself.
_WORDS = {
    "tinyint": "BYTE",
    "smallint": "SHORT",
    "integer": "INT",
    "bigint": "LONG",
    "void": "NULL",
    "varchar": "STRING",
}


def described(data_type: Any) -> dict[str, Any]:
    """The `type_name` and `type_text` of a type, with the details that some types have."""
    short = str(data_type.simpleString())
    name = short.partition("(")[0].partition("<")[0]
    word = "INTERVAL" if name.startswith("interval") else _WORDS.get(name, name.upper())
    told: dict[str, Any] = {"type_name": word, "type_text": type_text(data_type)}
    if word == "DECIMAL":
        told |= {"type_precision": data_type.precision, "type_scale": data_type.scale}
    if word == "INTERVAL":
        told["type_interval_type"] = name.removeprefix("interval").strip().upper()
    return told


def type_text(data_type: Any) -> str:
    """A type as SQL writes it: words in capitals, the names of fields as they are."""
    if data_type.typeName() == "array":
        return f"ARRAY<{type_text(data_type.elementType)}>"
    if data_type.typeName() == "map":
        return f"MAP<{type_text(data_type.keyType)}, {type_text(data_type.valueType)}>"
    if data_type.typeName() == "struct":
        fields = (f"{field.name}: {type_text(field.dataType)}" for field in data_type.fields)
        return f"STRUCT<{', '.join(fields)}>"
    return str(data_type.simpleString()).upper()
