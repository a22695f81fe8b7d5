"""What serverless compute refuses of Spark Connect, in Databricks' words."""

from typing import Any, NoReturn

# The settings that a session may change there.
SETTINGS = (
    "spark.databricks.execution.timeout",
    "spark.sql.ansi.enabled",
    "spark.sql.legacy.timeParserPolicy",
    "spark.sql.session.timeZone",
    "spark.sql.shuffle.partitions",
)


def prepare() -> None:
    """Has the sessions and tables of this process refuse it from now on."""
    from pyspark.sql.connect.catalog import Catalog
    from pyspark.sql.connect.conf import RuntimeConf
    from pyspark.sql.connect.dataframe import DataFrame

    set_any = RuntimeConf.set

    def set_allowed(self: Any, key: str, value: Any) -> None:
        if key not in SETTINGS:
            _refuse("CONFIG_NOT_AVAILABLE", f"Configuration {key} is not available.", "42K0I")
        set_any(self, key, value)

    def persist(*_: Any, **__: Any) -> NoReturn:
        what = "PERSIST TABLE is not supported on serverless compute."
        _refuse("NOT_SUPPORTED_WITH_SERVERLESS", what, "0A000")

    for owner, name, refusal in (
        (DataFrame, "persist", persist),
        (DataFrame, "cache", persist),
        (Catalog, "cacheTable", persist),
        (RuntimeConf, "set", set_allowed),
    ):
        setattr(owner, name, refusal)


def _refuse(condition: str, what: str, state: str) -> NoReturn:
    from pyspark.errors.exceptions.connect import AnalysisException

    message = f"[{condition}] {what} SQLSTATE: {state}"
    raise AnalysisException(message, errorClass=condition, sql_state=state)
