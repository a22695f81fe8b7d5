"""SQL statements over the one Spark, with the rights of who asks: `/api/2.0/sql/statements`."""

import asyncio
import re
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from local_workspace.callers import caller
from local_workspace.errors import DoesNotExist, InvalidParameter, NotSupported
from local_workspace.kernel.catalog_statements import Rows, Session, carried_out
from local_workspace.kernel.rest import Workspace, WorkspaceError
from local_workspace.rest.fields import Fields, RequestFields
from local_workspace.spark.sql_warehouses import SqlWarehouses
from local_workspace.spark.statement_session import Own, Statement
from local_workspace.spark.statements import SUCCEEDED, Chunk, Execution, Statements
from local_workspace.store.database import Database

PREFIX = "/api/2.0/sql/statements"
USUAL_WAIT = "10s"
SHORTEST_WAIT, LONGEST_WAIT = 5, 50
LONGEST_STATEMENT = 16 * 1024 * 1024


def router(database: Database, statements: Statements, host: str) -> APIRouter:
    """Run a statement, ask for it, read its result in chunks, and cancel it."""
    routes, warehouses = APIRouter(), SqlWarehouses(database)

    @routes.post(PREFIX)
    async def execute_statement(fields: RequestFields, request: Request) -> dict[str, Any]:
        """Run a statement; answers with its result if that is there within `wait_timeout`."""
        seconds, cancels = _seconds(fields), _cancels(fields)
        _check_form(fields)
        statement = replace(_statement(fields), own=_own_statements(host, request))
        warehouse = await run_in_threadpool(warehouses.set_stopped, fields.text("warehouse_id"), False)
        execution = statements.submit(replace(statement, warehouse=warehouse["id"]))
        await asyncio.wait([asyncio.wrap_future(execution.ended)], timeout=seconds)
        if cancels and not execution.ended.done():
            execution.cancel()
        return shown(execution)

    @routes.get(f"{PREFIX}/{{statement_id}}")
    def get_statement(statement_id: str) -> dict[str, Any]:
        """The state of a statement, and the first chunk of its result."""
        return shown(statements.find(statement_id, caller()))

    @routes.get(f"{PREFIX}/{{statement_id}}/result/chunks/{{chunk_index}}")
    def get_chunk(statement_id: str, chunk_index: int) -> dict[str, Any]:
        """A chunk of the result."""
        execution = statements.find(statement_id, caller())
        chunks = execution.result.chunks
        if not 0 <= chunk_index < len(chunks):
            raise DoesNotExist(
                f"The statement {statement_id} is {execution.state} and has {len(chunks)} chunks, "
                f"none with the index {chunk_index}."
            )
        return _chunk_shown(execution, chunk_index)

    @routes.post(f"{PREFIX}/{{statement_id}}/cancel")
    def cancel_statement(statement_id: str) -> dict[str, Any]:
        """Cancel a statement; what has ended already stays as it is."""
        statements.find(statement_id, caller()).cancel()
        return {}

    return routes


def shown(execution: Execution) -> dict[str, Any]:
    """A statement in the official form, with the manifest and the first chunk of what it has found."""
    status: dict[str, Any] = {"state": execution.state}
    if execution.failure:
        failure = execution.failure
        status["error"] = {"error_code": failure.code, "message": failure.message}
        status |= {"sql_state": failure.sql_state} if failure.sql_state else {}
    answer = {"statement_id": execution.id, "status": status}
    if execution.state != SUCCEEDED:
        return answer
    chunks = execution.result.chunks
    return answer | {
        "manifest": _manifest(execution),
        "result": _chunk_shown(execution, 0) if chunks else {},
    }


def _manifest(execution: Execution) -> dict[str, Any]:
    result = execution.result
    return {
        "format": "JSON_ARRAY",
        "schema": {"column_count": len(result.columns), "columns": result.columns},
        "total_chunk_count": len(result.chunks),
        "chunks": [_place(chunk, index) for index, chunk in enumerate(result.chunks)],
        "total_row_count": result.row_count,
        "total_byte_count": result.size,
        "truncated": result.truncated,
    }


def _place(chunk: Chunk, index: int) -> dict[str, Any]:
    return {
        "chunk_index": index,
        "row_offset": chunk.offset,
        "row_count": len(chunk.rows),
        "byte_count": chunk.size,
    }


def _chunk_shown(execution: Execution, index: int) -> dict[str, Any]:
    chunks, following = execution.result.chunks, index + 1
    answer = _place(chunks[index], index) | {"data_array": chunks[index].rows}
    if following == len(chunks):
        return answer
    link = f"{PREFIX}/{execution.id}/result/chunks/{following}?row_offset={chunks[following].offset}"
    return answer | {"next_chunk_index": following, "next_chunk_internal_link": link}


def _own_statements(host: str, request: Request) -> Own:
    """What carries out grants, owners and volumes as who asks, with the sign-in of the request."""
    workspace = Workspace(host, request.headers.get("authorization", ""))

    def carry_out(text: str, session: Any) -> Rows | None:
        try:
            return carried_out(text, Session(session.catalog, lambda: workspace))
        except WorkspaceError as error:
            raise InvalidParameter(str(error)) from error

    return carry_out


def _statement(fields: Fields) -> Statement:
    text = fields.text("statement")
    if len(text.encode()) > LONGEST_STATEMENT:
        raise InvalidParameter(f"a statement has at most {LONGEST_STATEMENT} bytes")
    given = fields.get("parameters") or []
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise InvalidParameter("parameters must be a list of objects with name, value and type")
    limits = {
        name: fields.natural(name) if fields.get(name) is not None else None
        for name in ("row_limit", "byte_limit")
    }
    return Statement(
        text=text,
        user=caller(),
        catalog=fields.text("catalog", ""),
        schema=fields.text("schema", ""),
        parameters=tuple({**each, "name": Fields(each).text("name")} for each in given),
        row_limit=limits["row_limit"],
        byte_limit=limits["byte_limit"],
    )


def _seconds(fields: Fields) -> int:
    given = fields.text("wait_timeout", USUAL_WAIT)
    seconds = int(given[:-1]) if re.fullmatch(r"\d{1,3}s", given) else -1
    if seconds != 0 and not SHORTEST_WAIT <= seconds <= LONGEST_WAIT:
        raise InvalidParameter(
            f"wait_timeout {given!r:.100} is neither 0s nor between {SHORTEST_WAIT}s and {LONGEST_WAIT}s"
        )
    return seconds


def _cancels(fields: Fields) -> bool:
    given = fields.text("on_wait_timeout", "CONTINUE")
    if given not in ("CONTINUE", "CANCEL"):
        raise InvalidParameter(f"on_wait_timeout {given!r:.100} is neither CONTINUE nor CANCEL")
    return given == "CANCEL"


def _check_form(fields: Fields) -> None:
    disposition, form = fields.text("disposition", "INLINE"), fields.text("format", "JSON_ARRAY")
    if disposition != "INLINE":
        raise NotSupported(
            f"disposition {disposition!r:.100} is not part of the local workspace: there is no cloud storage "
            "to link to; send INLINE"
        )
    if form != "JSON_ARRAY":
        raise InvalidParameter(f"format is {form!r:.100}; with the disposition INLINE it is JSON_ARRAY")
