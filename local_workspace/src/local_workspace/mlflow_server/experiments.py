"""What Databricks answers of MLflow's API, and MLflow's own server does not."""

import json
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

from fastapi import APIRouter, Response
from mlflow.entities import ViewType
from mlflow.entities.model_registry import RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.protos.service_pb2 import SearchExperiments
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as TrackingStore
from mlflow.utils.proto_json_utils import message_to_json

from local_workspace.callers import USER_NAME
from local_workspace.errors import ApiError, InvalidParameter
from local_workspace.mlflow_server.model_requests import MlflowRoute
from local_workspace.rest.catalogs import every_model
from local_workspace.rest.fields import Fields, RequestFields

LISTED_AT_ONCE = 1000
VIEWS = {
    "ACTIVE_ONLY": ViewType.ACTIVE_ONLY,
    "DELETED_ONLY": ViewType.DELETED_ONLY,
    "ALL": ViewType.ALL,
}


class EndpointNotFound(ApiError):
    """What a workspace answers that does not have this yet; MLflow's client then asks in an older way."""

    error_code = "ENDPOINT_NOT_FOUND"
    status = 404


def router(tracking: TrackingStore, registry: SqlAlchemyStore) -> APIRouter:
    """Lists of experiments without `max_results`, models with their ids, and traces in the older way."""
    routes = APIRouter(route_class=MlflowRoute)
    _add_experiments(routes, tracking)
    _add_models(routes, registry)

    @routes.post("/api/4.0/mlflow/traces/search-long-running")
    def search_traces_of_tables() -> None:
        """Not here: traces are in experiments, not in tables, and MLflow's client asks for those instead."""
        raise EndpointNotFound("traces in Unity Catalog tables are not part of the local workspace")

    return routes


def _add_experiments(routes: APIRouter, tracking: TrackingStore) -> None:
    @routes.get("/api/2.0/mlflow/experiments/list")
    def list_experiments(fields: RequestFields) -> Response:
        """Experiments, page by page."""
        return _experiments(tracking, fields)

    @routes.api_route("/api/2.0/mlflow/experiments/search", methods=["GET", "POST"])
    def search_experiments(fields: RequestFields) -> Response:
        """Experiments that meet a filter, page by page; `max_results` may be absent."""
        return _experiments(tracking, fields)


def _add_models(routes: APIRouter, registry: SqlAlchemyStore) -> None:
    @routes.get("/api/2.0/mlflow/databricks/registered-models/get")
    def get_model(fields: RequestFields) -> dict[str, Any]:
        """A model of the workspace's own registry, with the id by which permissions name it."""
        model = registry.get_registered_model(fields.text("name"))
        shown = json.loads(message_to_json(model.to_proto()))
        more = {"id": model_id(model), "permission_level": "CAN_MANAGE", "user_id": USER_NAME}
        return {"registered_model_databricks": shown | more}


def known(tracking: TrackingStore, registry: SqlAlchemyStore) -> dict[str, Callable[[str], bool]]:
    """Whether an id is one of an experiment or of a model, by the words of `/api/2.0/permissions`."""
    return {
        "experiments": partial(_has_experiment, tracking),
        "registered-models": partial(_has_model, registry),
    }


def _has_experiment(tracking: TrackingStore, experiment_id: str) -> bool:
    try:
        tracking.get_experiment(experiment_id)
    except MlflowException:
        return False
    return True


def _has_model(registry: SqlAlchemyStore, wanted: str) -> bool:
    return any(model_id(model) == wanted for model in every_model(registry))


def model_id(model: RegisteredModel) -> str:
    """The id of a model, which MLflow's registry knows by its name alone."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"registered-model:{model.name}").hex


def _experiments(tracking: TrackingStore, fields: Fields) -> Response:
    view = str(fields.get("view_type") or "ACTIVE_ONLY").upper()
    if view not in VIEWS:
        raise InvalidParameter(f"view_type {view!r:.100} is not one of {sorted(VIEWS)}")
    found = tracking.search_experiments(
        view_type=VIEWS[view],
        max_results=fields.natural("max_results", 0) or LISTED_AT_ONCE,
        filter_string=fields.text("filter", "") or None,
        order_by=fields.texts("order_by") or None,
        page_token=fields.text("page_token", "") or None,
    )
    answer = SearchExperiments.Response(next_page_token=found.token or None)
    answer.experiments.extend(experiment.to_proto() for experiment in found)
    return Response(message_to_json(answer), media_type="application/json")
