"""The workspace's one process: its own routes in front of MLflow's server, on one loopback port."""

import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from flask import request
from werkzeug.exceptions import HTTPException

from local_workspace.clock import now
from local_workspace.errors import ApiError
from local_workspace.jobs.deployment_jobs import DeploymentJobs, watch
from local_workspace.jobs.job_starts import create_scheduled_run
from local_workspace.jobs.run_documents import has_ended, user_of
from local_workspace.jobs.runs import RunManager
from local_workspace.jobs.schedules import Scheduler
from local_workspace.kernel.fork_server import ForkServer
from local_workspace.mlflow_server import artifact_addresses
from local_workspace.mlflow_server.application import mlflow_application
from local_workspace.mlflow_server.kept_models import PutBack, Sources
from local_workspace.mlflow_server.tracking import LoggedRuns
from local_workspace.processes import process_environment
from local_workspace.recovery import recover
from local_workspace.rest import (
    clusters,
    dbfs,
    fallback,
    files,
    gates,
    identity,
    jobs,
    permissions,
    pipeline_updates,
    pipelines,
    policies,
    query_history,
    runtimes,
    scim,
    secrets,
    statements,
    tokens,
    warehouses,
    workspace,
    workspace_settings,
)
from local_workspace.rest import sessions as sessions_of_people
from local_workspace.rest import spark_rights as questions_of_spark
from local_workspace.rest.body_limit import BodyLimit
from local_workspace.rest.error_responses import add_handlers
from local_workspace.rest.securables import Securables
from local_workspace.spark import spark_rights
from local_workspace.spark.cluster import ClusterError, SparkCluster
from local_workspace.spark.sessions import Sessions
from local_workspace.spark.statements import Statements
from local_workspace.spark.warehouse import Warehouse
from local_workspace.store.database import Database, Document
from local_workspace.store.principals import Principals
from local_workspace.store.profile import ADDRESS, Profile
from local_workspace.store.state import StateFolder
from local_workspace.web import access, addresses, openapi, pages
from local_workspace.web.connections import BoundedProtocol

if TYPE_CHECKING:
    from local_workspace.mlflow_server.application import Stores

# An interrupted notebook still closes its MLflow run, so its token outlives the run by a little.
TOKEN_GRACE_SECONDS = 60


def serve(state: StateFolder, profile: Profile) -> None:
    """Serves the workspace until the process is asked to end; then ends its runs and its cluster."""
    # uvicorn hands the signal on when it has closed; by itself it would end the process before the clean-up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # Taken first: a port that is in use is found out before anything is started.
    listener = listen(profile.port)
    keyring = access.Keyring(profile.token, profile.host)
    rights = spark_rights.environment(f"{profile.host}{spark_rights.ADDRESS}", keyring.spark_token())
    cluster = SparkCluster(state.spark, state.dbfs, state.volumes, state.logs / "spark.log", rights)
    cluster.start()
    sessions = Sessions(cluster, state.sessions)
    try:
        with open_runs(state, profile, cluster, keyring) as (database, runs):
            app = create_app(state, profile, database, runs, cluster, keyring, sessions)
            uvicorn.Server(uvicorn.Config(app, http=BoundedProtocol, access_log=False)).run([listener])
    finally:
        sessions.close()
        cluster.stop()


def listen(port: int) -> socket.socket:
    """Takes the port; what is answered on its connections is sent at once.

    Otherwise an answer in two parts waits 40 ms for the client's delayed acknowledgement on a connection that
    is used again. asyncio cares for that only where a socket was made with the number of the protocol.
    """
    listener = socket.create_server((ADDRESS, port))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


@contextmanager
def open_runs(
    state: StateFolder, profile: Profile, cluster: SparkCluster, keyring: access.Keyring
) -> Iterator[tuple[Database, RunManager]]:
    """The state on disk and the manager of its runs, which are ended on the way out."""
    database = Database(state.database)
    recover(database, state)

    def environment(run: Document) -> dict[str, str]:
        cluster.ensure_running()
        cluster.end_warm_up()
        token = keyring.run_token(run["run_id"])
        user = user_of(run)
        own = cluster.environment_of(user)
        if not Securables(database).is_metastore_admin(user):
            own["MLFLOW_REGISTRY_URI"] = "databricks-uc"  # the other one knows no rights
        return process_environment.of_run(state, profile.host, token) | own

    fork_server = ForkServer(state.runs)
    runs = RunManager(
        database,
        state,
        environment,
        profile.host,
        fork_server=fork_server,
        cluster_end=cluster.find_end,
        attached=cluster.attached,
    )

    def prepare() -> None:
        runs.resume()
        with suppress(ClusterError):  # whoever starts a run is told
            cluster.ensure_running()
            fork_server.ensure(
                process_environment.of_run(state, profile.host, token="") | cluster.environment
            )
            cluster.warm_up()

    threading.Thread(target=prepare, daemon=True).start()
    scheduler = Scheduler(database, lambda job: runs.submit(create_scheduled_run(database, job)["run_id"]))
    try:
        yield database, runs
    finally:
        scheduler.stop()
        runs.shutdown()
        fork_server.close()
        database.close()


def create_app(
    state: StateFolder,
    profile: Profile,
    database: Database,
    runs: RunManager,
    cluster: SparkCluster,
    keyring: access.Keyring,
    sessions: Sessions,
) -> FastAPI:
    """MLflow's application with the workspace's routes in front and the access check before all."""
    app, stores, writing = mlflow_application(state)
    sources = Sources(state)
    cookie_name = f"local_workspace_{profile.port}"
    _put_in_front(
        app,
        [
            access.router(keyring, cookie_name, Principals(database).of_token),
            addresses.router(database),
            pages.router(database, state, cluster.state, LoggedRuns(state).of_tasks),
            _mlflow_site(DeploymentJobs(database, runs.submit)),
            *rest_routers(state, profile, database, runs, cluster, stores, sources, writing),
            sessions_of_people.router(cluster, sessions, database),
            openapi.router(),
            fallback.router(),
        ],
    )
    add_handlers(app, pages.error_response)
    app.add_middleware(PutBack, sources=sources)
    app.add_middleware(artifact_addresses.ArtifactAddresses, state=state)
    app.add_middleware(BodyLimit)
    app.add_middleware(gates.RegistryGate, rights=Securables(database))
    app.add_middleware(
        access.AccessCheck,
        keyring=keyring,
        cookie_name=cookie_name,
        user_of_run=lambda run_id: user_of_run(database, run_id),
        user_of_token=Principals(database).of_token,
    )
    return app


def rest_routers(
    state: StateFolder,
    profile: Profile,
    database: Database,
    runs: RunManager,
    cluster: SparkCluster,
    stores: "Stores",
    sources: Sources,
    writing: AbstractContextManager[Any],
) -> list[APIRouter]:
    """What is served of Databricks' REST API, and the pages of what it has of Unity Catalog."""
    # It imports MLflow, whose environment is set before.
    from local_workspace.mlflow_server import experiments, models, unity_catalog
    from local_workspace.rest import catalogs, grants, locations, metastores, tables, tags, volumes
    from local_workspace.web import data_pages

    rights, deployment = Securables(database), DeploymentJobs(database, runs.submit)
    tracking, store = stores
    asked = Statements(cluster)
    inventory = catalogs.Inventory(state, store, Warehouse(cluster), rights)
    return [
        identity.router(profile.host, database),
        scim.router(database),
        tokens.router(database),
        workspace.router(database, state),
        gates.dbfs_gate(dbfs.router(state), rights, state),
        gates.volumes_gate(files.router(state), rights),
        clusters.router(database, cluster.state),
        runtimes.router(),
        jobs.router(database, runs),
        secrets.router(database, state),
        permissions.router(database, experiments.known(tracking, store)),
        policies.router(database),
        workspace_settings.router(database),
        pipelines.router(database),
        pipeline_updates.router(database, runs),
        warehouses.router(database, cluster.state),
        statements.router(database, asked, profile.host),
        query_history.router(asked),
        unity_catalog.router(store, state, sources, writing, rights, deployment),
        experiments.router(tracking, store),
        *(
            each.router(inventory)
            for each in (metastores, catalogs, volumes, tables, locations, grants, tags)
        ),
        data_pages.router(inventory, asked),
        models.router(inventory, writing, deployment),
        questions_of_spark.router(rights),
        artifact_addresses.router(state),
    ]


def user_of_run(database: Database, run_id: str) -> str | None:
    """As whom a run acts; None when its token does not count any more."""
    run = database.get("run", run_id)
    if run is None or (has_ended(run) and now() - run["end_time"] >= TOKEN_GRACE_SECONDS * 1000):
        return None
    return user_of(run)


def _mlflow_site(jobs: DeploymentJobs) -> APIRouter:
    """MLflow's page at an address of its own, since `/` is the workspace's; what it registers starts jobs."""
    from mlflow.server import app as mlflow_site

    watch(mlflow_site, jobs)
    routes = APIRouter(include_in_schema=False)

    @routes.get("/mlflow")
    def mlflow_page() -> HTMLResponse:
        index = (Path(str(mlflow_site.static_folder)) / "index.html").read_text()
        # What it may load is MLflow's own matter, unlike that of the workspace's pages.
        headers = {"Cache-Control": "no-cache", "Content-Security-Policy": "frame-ancestors 'self'"}
        own = '<script src="/local-static/mlflow.js"></script>'
        return HTMLResponse(index.replace("<head>", f"<head>{own}", 1), headers=headers)

    @mlflow_site.errorhandler(404)
    @mlflow_site.errorhandler(405)
    def not_found(error: HTTPException) -> tuple[Any, int] | HTTPException:
        if fallback.is_api(request.path) and request.url_rule is None:
            return refused_by(fallback.refusal(request.method, request.path))
        if error.code != 404 or not pages.wants_page(request.path, request.headers.get("Accept", "")):
            return error
        return pages.not_found(request.path), 404

    return routes


def refused_by(refusal: ApiError) -> tuple[dict[str, str], int]:
    """An error as Flask answers it in JSON."""
    return {"error_code": refusal.error_code, "message": refusal.message}, refusal.status


def _put_in_front(app: FastAPI, routers: list[APIRouter]) -> None:
    """MLflow's application ends in a route that takes everything, so these have to come before it."""
    theirs = list(app.router.routes)
    app.router.routes.clear()
    app.mount("/local-static", StaticFiles(directory=Path(__file__).parent / "web" / "static"))
    for router in routers:
        app.include_router(router)
    app.router.routes.extend(theirs)
