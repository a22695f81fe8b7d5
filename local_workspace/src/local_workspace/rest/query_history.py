"""The statements of the last hour, as who has sent them sees them: `/api/2.0/sql/history/queries`."""

from typing import Any

from fastapi import APIRouter

from local_workspace.callers import caller
from local_workspace.rest.fields import Fields, RequestFields
from local_workspace.spark.statements import Execution, Statements

STATUS = {"PENDING": "QUEUED", "SUCCEEDED": "FINISHED"}
MOST = 1000
USUAL = 100


def router(statements: Statements) -> APIRouter:
    """What was asked over REST; notebooks and jobs are not listed."""
    routes = APIRouter()

    @routes.get("/api/2.0/sql/history/queries")
    def list_queries(fields: RequestFields) -> dict[str, Any]:
        """The caller's statements, the newest first, by `filter_by`."""
        found = [each for each in statements.of(caller()) if _is_wanted(each, fields)]
        most = min(fields.natural("max_results", 0) or USUAL, MOST)
        return {"res": [shown(each) for each in found[:most]], "has_next_page": False}

    return routes


def shown(execution: Execution) -> dict[str, Any]:
    """A statement in the official form of the history."""
    told: dict[str, Any] = {
        "query_id": execution.id,
        "query_text": execution.statement.text,
        "status": STATUS.get(execution.state, execution.state),
        "user_name": execution.statement.user,
        "warehouse_id": execution.statement.warehouse,
        "query_start_time_ms": execution.begun_at,
        "is_final": execution.ended.done(),
        "rows_produced": execution.result.row_count,
    }
    if execution.ended.done():
        took = execution.ended_at - execution.begun_at
        told |= {"query_end_time_ms": execution.ended_at, "execution_end_time_ms": execution.ended_at}
        told["duration"] = took
    return told | ({"error_message": execution.failure.message} if execution.failure else {})


def _is_wanted(execution: Execution, fields: Fields) -> bool:
    begun, end = (
        fields.natural(f"filter_by.query_start_time_range.{name}_time_ms", 0) for name in ("start", "end")
    )
    is_in_time = begun <= execution.begun_at and (not end or execution.begun_at <= end)
    chosen = {
        "statuses": STATUS.get(execution.state, execution.state),
        "warehouse_ids": execution.statement.warehouse,
        "statement_ids": execution.id,
    }
    asked = {name: fields.texts(f"filter_by.{name}") for name in chosen}
    return is_in_time and all(not names or chosen[name] in names for name, names in asked.items())
