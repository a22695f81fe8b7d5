"""Many clients that write to MLflow at once: each is answered in Databricks' words, and no write is lost."""

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from real_workspace import RealWorkspace

CLIENTS = 6
ROUNDS = 5
TAKEN, GONE, CONFLICT = "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"
NAMES = itertools.count()

Answer = dict[str, Any]
Call = Callable[..., Answer]


@pytest.fixture(scope="module")
def call(real_workspace: RealWorkspace) -> Iterator[Call]:
    """Sends a request below `/api/2.0/mlflow`, and checks that a refusal is one that Databricks knows."""
    profile = real_workspace.profile
    sessions = threading.local()
    made: list[str] = []

    def send(method: str, path: str, **fields: Any) -> Answer:
        if not hasattr(sessions, "own"):
            sessions.own = requests.Session()
            sessions.own.headers["Authorization"] = f"Bearer {profile['token']}"
        given = {"params": fields} if method == "GET" else {"json": fields}
        address = f"{profile['host']}/api/2.0/mlflow/{path}"
        answer = sessions.own.request(method, address, timeout=60, **given)
        body: Answer = answer.json()
        assert answer.status_code < 500, answer.text
        assert answer.ok is ("error_code" not in body), answer.text
        assert body.get("error_code") in (None, TAKEN, GONE, CONFLICT), answer.text
        if path == "experiments/create" and answer.ok:
            made.append(body["experiment_id"])
        return body

    yield send
    for experiment in made:  # MLflow's front page shows others the newest few
        send("POST", "experiments/delete", experiment_id=experiment)


def at_once(*works: Callable[[int], Any]) -> list[Any]:
    """What the clients get, who all begin at the same moment; they take turns in what they do."""
    gate = threading.Barrier(CLIENTS)

    def begin(client: int) -> Any:
        gate.wait()
        return works[client % len(works)](client)

    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(begin, range(CLIENTS)))


def codes(answers: list[Answer]) -> Counter[str]:
    return Counter(answer.get("error_code", "") for answer in answers)


def new_name() -> str:
    return f"crowd.models.m{next(NAMES)}"


@pytest.fixture(params=["", "unity-catalog/"], ids=["plain", "unity-catalog"])
def model(call: Call, request: pytest.FixtureRequest) -> tuple[str, str]:
    """A model of two versions, and the address of the registry that a client uses."""
    name = new_name()
    call("POST", f"{request.param}registered-models/create", name=name)
    for number in ("1", "2"):
        made = call("POST", f"{request.param}model-versions/create", name=name, source="dbfs:/nowhere")
        assert made["model_version"]["version"] == number
    return request.param, name


def test_aliases_that_are_set_and_removed_at_once_are_set_or_removed(call: Call, model: tuple[str, str]):
    registry, name = model
    alias = {"name": name, "alias": "champion"}

    def set_it(client: int) -> Answer:
        return call("POST", f"{registry}registered-models/alias", **alias, version=str(1 + client // 2 % 2))

    def remove_it(_client: int) -> Answer:
        return call("DELETE", f"{registry}registered-models/alias", **alias)

    for _ in range(ROUNDS):
        assert codes(at_once(set_it, remove_it)) == {"": CLIENTS}
        at_once(set_it)
        kept = call("GET", f"{registry}registered-models/get", name=name)["registered_model"]["aliases"]
        assert [each["alias"] for each in kept] == ["champion"] and kept[0]["version"] in ("1", "2")


@pytest.mark.parametrize("registry", ["", "unity-catalog/"])
def test_an_alias_never_stays_on_a_version_that_was_deleted_meanwhile(call: Call, registry: str):
    for _ in range(ROUNDS):
        name = new_name()
        call("POST", "registered-models/create", name=name)
        call("POST", "model-versions/create", name=name, source="dbfs:/nowhere")
        of_it = {"name": name, "version": "1"}
        answers = at_once(
            lambda _, of_it=of_it: call("POST", f"{registry}registered-models/alias", **of_it, alias="a"),
            lambda _, of_it=of_it: call("DELETE", f"{registry}model-versions/delete", **of_it),
        )

        assert set(codes(answers)) <= {"", GONE}
        assert codes(answers[1::2]) == {"": 1, GONE: CLIENTS // 2 - 1}
        left = call("GET", "registered-models/get", name=name)["registered_model"]
        assert left.get("aliases", []) == []


def test_of_clients_that_make_one_model_one_does(call: Call):
    for registry in ("", "unity-catalog/"):
        for _ in range(ROUNDS):
            fields = {"name": new_name(), "tags": [{"key": "a", "value": "b"}]}
            made = at_once(lambda _, r=registry, f=fields: call("POST", f"{r}registered-models/create", **f))
            assert codes(made) == {"": 1, TAKEN: CLIENTS - 1}


def test_versions_that_are_made_at_once_have_numbers_of_their_own(call: Call, model: tuple[str, str]):
    registry, name = model
    made = at_once(
        lambda _: [
            call("POST", f"{registry}model-versions/create", name=name, source="dbfs:/nowhere")
            for _ in range(ROUNDS)
        ]
    )

    numbers = [int(each["model_version"]["version"]) for answers in made for each in answers]
    assert sorted(numbers) == list(range(3, 3 + CLIENTS * ROUNDS))


def test_a_model_that_is_removed_and_made_anew_at_once_is_there_or_not(call: Call, model: tuple[str, str]):
    registry, name = model

    def remove(_client: int) -> Answer:
        return call("DELETE", f"{registry}registered-models/delete", name=name)

    def make(_client: int) -> Answer:
        call("POST", f"{registry}registered-models/create", name=name)
        return call("POST", f"{registry}model-versions/create", name=name, source="dbfs:/nowhere")

    def look(_client: int) -> Answer:
        call("GET", f"{registry}model-versions/search", filter=f"name = '{name}'")
        return call("GET", f"{registry}registered-models/get", name=name)

    for _ in range(ROUNDS):
        assert set(codes(at_once(remove, make, look))) <= {"", TAKEN, GONE}


def test_a_name_that_two_models_are_renamed_to_at_once_goes_to_one(call: Call):
    for _ in range(ROUNDS):
        old, new = [new_name() for _ in range(CLIENTS)], new_name()
        for name in old:
            call("POST", "registered-models/create", name=name)
        answers = at_once(
            lambda client, o=old, n=new: call("POST", "registered-models/rename", name=o[client], new_name=n)
        )
        assert codes(answers)[""] == 1 and codes(answers)[TAKEN] == CLIENTS - 1


def test_tags_that_are_set_and_removed_at_once_are_set_or_removed(call: Call, model: tuple[str, str]):
    registry, name = model
    experiment = call("POST", "experiments/create", name=new_name())["experiment_id"]
    run = call("POST", "runs/create", experiment_id=experiment)["run"]["info"]["run_id"]
    version = {"name": name, "version": "1", "key": "k"}
    pairs: list[tuple[str, str, str, Answer]] = [
        ("POST", "runs/set-tag", "runs/delete-tag", {"run_id": run, "key": "k"}),
        (
            "POST",
            "experiments/set-experiment-tag",
            "experiments/delete-experiment-tag",
            {"experiment_id": experiment, "key": "k"},
        ),
        (
            "DELETE",
            f"{registry}registered-models/set-tag",
            f"{registry}registered-models/delete-tag",
            {"name": name, "key": "k"},
        ),
        ("DELETE", f"{registry}model-versions/set-tag", f"{registry}model-versions/delete-tag", version),
    ]
    for remove_by, set_at, remove_at, fields in pairs:
        for _ in range(ROUNDS):
            answers = at_once(
                lambda client, p=set_at, f=fields: call("POST", p, **f, value=str(client)),
                lambda _, m=remove_by, p=remove_at, f=fields: call(m, p, **f),
            )
            assert set(codes(answers)) <= {"", GONE}, answers
            assert codes(answers[0::2]) == {"": CLIENTS // 2}, answers


def test_of_clients_that_make_one_experiment_one_does(call: Call):
    for _ in range(ROUNDS):
        name = new_name()
        made = at_once(lambda _, name=name: call("POST", "experiments/create", name=name))
        assert codes(made) == {"": 1, TAKEN: CLIENTS - 1}


def test_what_is_logged_to_one_run_at_once_is_all_there(call: Call):
    experiment = call("POST", "experiments/create", name=new_name())["experiment_id"]
    run = call("POST", "runs/create", experiment_id=experiment)["run"]["info"]["run_id"]

    def log(client: int) -> None:
        for step in range(ROUNDS):
            metric = {"key": "m", "value": client, "timestamp": client, "step": step}
            own = {"key": f"p{client}-{step}", "value": "1"}
            tag = {"key": "t", "value": str(client)}
            logged = call("POST", "runs/log-batch", run_id=run, metrics=[metric], params=[own], tags=[tag])
            assert logged == {}
            call("POST", "runs/log-metric", run_id=run, **(metric | {"key": "n"}))

    at_once(log)
    data = call("GET", "runs/get", run_id=run)["run"]["data"]
    history = call("GET", "metrics/get-history", run_id=run, metric_key="m")["metrics"]
    assert len(data["params"]) == CLIENTS * ROUNDS
    assert len(history) == CLIENTS * ROUNDS
    assert {m["key"]: m["step"] for m in data["metrics"]} == {"m": ROUNDS - 1, "n": ROUNDS - 1}
    assert {m["key"]: m["value"] for m in data["metrics"]} == {"m": CLIENTS - 1, "n": CLIENTS - 1}


def test_of_different_values_for_one_param_the_first_stays(call: Call):
    experiment = call("POST", "experiments/create", name=new_name())["experiment_id"]
    for _ in range(ROUNDS):
        run = call("POST", "runs/create", experiment_id=experiment)["run"]["info"]["run_id"]
        answers = at_once(
            lambda client, r=run: call("POST", "runs/log-parameter", run_id=r, key="k", value=str(client))
        )
        assert codes(answers) == {"": 1, CONFLICT: CLIENTS - 1}
        winner = [answer == {} for answer in answers].index(True)
        kept = call("GET", "runs/get", run_id=run)["run"]["data"]["params"]
        assert kept == [{"key": "k", "value": str(winner)}]
