"""Serves the REST API of a workspace in a new process for each line of input; made to be killed.

A line names the state folder and the port. The parent has done the imports: a server is up a moment after it
is asked for.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from local_workspace.callers import USER_NAME, asked_by
from local_workspace.jobs.runs import RunManager
from local_workspace.recovery import recover
from local_workspace.rest import clusters, dbfs, files, jobs, secrets, workspace
from local_workspace.rest.error_responses import add_handlers
from local_workspace.store.database import Database
from local_workspace.store.state import StateFolder


def serve(state: StateFolder, port: int, stand_in: str) -> None:
    """Serves `state` until the process is killed."""
    state.create()
    database = Database(state.database)
    recover(database, state)
    runs = RunManager(database, state, lambda run: dict(os.environ), "", (sys.executable, stand_in))
    app = FastAPI()
    add_handlers(app)
    app.include_router(workspace.router(database, state))
    app.include_router(dbfs.router(state))
    app.include_router(files.router(state))
    app.include_router(clusters.router(database, lambda: "RUNNING"))
    app.include_router(jobs.router(database, runs))
    app.include_router(secrets.router(database, state))
    uvicorn.run(by_first_user(app), port=port, http="httptools", log_level="warning")


def by_first_user(app: FastAPI) -> Any:
    """Takes each request for one of the first user's: nobody signs in here."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        with asked_by(USER_NAME):
            await app(scope, receive, send)

    return answer


if __name__ == "__main__":
    for line in sys.stdin:
        folder, chosen_port, script = json.loads(line)
        child = os.fork()
        if child == 0:
            sys.stdin.close()
            serve(StateFolder(Path(folder)), chosen_port, script)
            os._exit(0)
        print(child, flush=True)
        os.waitpid(child, 0)
