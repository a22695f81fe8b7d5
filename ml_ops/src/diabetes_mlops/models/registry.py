"""Registers model versions, finds them again, and says which one is the champion, and which one was before.

The registered model's tag `champion_history` keeps the changes of the champion (see `champions`). Who made a
change, and when, is on the version's own tags.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models.model import ModelInfo

from diabetes_mlops.models import approval, champions
from diabetes_mlops.models.contract import CODE_VERSION

CHAMPION, HISTORY, LONGEST_TAG = champions.CHAMPION, champions.HISTORY, champions.LONGEST_TAG
CHALLENGER = "challenger"
# The tag that says who approved a version, where that was by `approve`.
APPROVED_BY = "approved_by"
# The tag with the names of the metrics that a version was judged by, between commas.
METRICS = "metrics"
LISTED_TAGS = (
    "gate",
    "gate_reasons",
    "promoted_by",
    "promoted_at",
    "rolled_back_by",
    "rolled_back_at",
    "git_commit",
    "git_dirty",
    CODE_VERSION,
    "data_source",
    "data_digest",
    "holdout_digest",
)
_Found = TypeVar("_Found")


class ModelNotFoundError(LookupError):
    """There is no such model, version or alias in the registry."""


class VersionDeletedError(ModelNotFoundError):
    """The version that should become champion was deleted."""


class NoEarlierChampionError(LookupError):
    """There is no version to roll back to."""


class AlreadyChampionError(ValueError):
    """The version that should become champion is the champion."""


class ChampionChangedError(ValueError):
    """The champion is another one than the version was compared with."""


class SameVersionError(ValueError):
    """A version was to be compared with itself."""


def register(client: MlflowClient, model: ModelInfo, model_name: str, tags: dict[str, str]) -> ModelVersion:
    """Make a logged model a version of `model_name`, with the alias `challenger`.

    A version that passed the gate and waits for a person keeps the alias: only one that passes too takes it
    over. The version returned is the one that this call made, also where other runs register theirs at the
    same moment.
    """
    version = mlflow.register_model(model.model_uri, model_name, tags=tags)
    if not _someone_waits(client, model_name):
        set_challenger(client, version)
    return version


def find_champion(client: MlflowClient, model_name: str) -> ModelVersion | None:
    """Give the version with the alias `champion`, or None while there is none."""
    number = _aliases(client, model_name).get(CHAMPION)
    # MLflow 3.8 leaves the alias of a deleted version behind.
    return _find_version(client, model_name, number) if number else None


def resolve_version(client: MlflowClient, model_name: str, wanted: str) -> ModelVersion:
    """Find a version by its number or alias; empty means the champion. Raises ModelNotFoundError."""
    aliases = _aliases(client, model_name)
    numbers = [str(version.version) for version in _search(client, model_name)]
    number = wanted if wanted.isdigit() else aliases.get(wanted or CHAMPION)
    if number is None or str(number) not in numbers:
        names_champion = wanted in ("", CHAMPION)
        raise ModelNotFoundError(
            f"{model_name} has no version or alias {wanted or CHAMPION!r}; "
            f"it has versions {sorted(numbers, key=int)} and aliases {aliases}"
            + ("; `make promote` makes a version the champion" if names_champion else "")
        )
    return client.get_model_version(model_name, str(number))


def promote(client: MlflowClient, version: ModelVersion, *, by: str, expected_champion: str | None) -> None:
    """Make a version the champion, and write down who did it; it is no challenger any more.

    `expected_champion` is the number of the champion that the version was compared with, None where there
    was none. The registry has no compare-and-set, so the champion is read right before it is replaced.
    Raises VersionDeletedError, AlreadyChampionError or ChampionChangedError.
    """
    name, number = version.name, str(version.version)
    if _find_version(client, name, number) is None:
        raise VersionDeletedError(f"{name} version {number} was deleted; it cannot become champion")
    champion = _champion_number(client, name)
    if champion == number:
        raise AlreadyChampionError(f"{name} version {number} is the champion already")
    if champion != expected_champion:
        raise ChampionChangedError(
            f"the champion of {name} is version {champion or 'none'}; "
            f"version {number} was compared with {expected_champion or 'none'}"
        )
    before = history(client, name)
    _set_alias(client, name, CHAMPION, number)
    drop_challenger(client, version)
    now = history(client, name)
    changes = champions.with_champion(before, champion) if now == before else now
    if champions.play(changes)[-1:] != [number]:  # else somebody has promoted it at the same moment
        client.set_registered_model_tag(name, HISTORY, champions.encode([*changes, f"+{number}"]))
    _sign(client, name, number, "promoted", by)


def approve(client: MlflowClient, version: ModelVersion, *, by: str) -> None:
    """Let a version through at its deployment job, and write down who did it."""
    number = str(version.version)
    client.set_model_version_tag(version.name, number, approval.APPROVAL, approval.APPROVED)
    _sign(client, version.name, number, "approved", by)


def roll_back(client: MlflowClient, model_name: str, *, by: str) -> ModelVersion:
    """Make the version champion again that was it before the present one, and return it.

    Called again it goes one step further back. Raises NoEarlierChampionError, or VersionDeletedError where
    the earlier champion was deleted; another version can then be promoted by its number.
    """
    champion, before = _champion_number(client, model_name), earlier_champion(client, model_name)
    if champion is None or before is None:
        now = _why_none_is_earlier(history(client, model_name), champion)
        raise NoEarlierChampionError(f"{model_name} has no earlier champion to roll back to: {now}")
    if _find_version(client, model_name, before) is None:
        raise VersionDeletedError(
            f"the champion of {model_name} before version {champion} was version {before}, "
            "which was deleted; promote another version by its number"
        )
    changes = [*champions.with_champion(history(client, model_name), champion), f"-{champion}"]
    _set_alias(client, model_name, CHAMPION, before)
    client.set_registered_model_tag(model_name, HISTORY, champions.encode(changes))
    _sign(client, model_name, champion, "rolled_back", by)
    return client.get_model_version(model_name, before)


def _why_none_is_earlier(changes: Sequence[str], champion: str | None) -> str:
    if champion is None:
        return "there is no champion"
    if f"+{champion}" in changes and any(change[0] == "-" for change in changes):
        return (
            f"version {champion} was the first champion; `make promote VERSION=<number>` goes forward again"
        )
    return f"version {champion} is the only one so far"


def earlier_champion(client: MlflowClient, model_name: str) -> str | None:
    """Give the number of the version that a roll-back goes to; None where there is none."""
    return champions.find_earlier(history(client, model_name), _champion_number(client, model_name))


def find_earlier_champion(client: MlflowClient, model_name: str) -> ModelVersion | None:
    """Give the version that a roll-back goes to; None where there is none, or it was deleted."""
    number = earlier_champion(client, model_name)
    return _find_version(client, model_name, number) if number else None


def find_metric(client: MlflowClient, model_name: str, number: str, metric: str) -> float | None:
    """Give a metric of a version on its holdout; None where the version or its run was removed."""
    try:
        version = client.get_model_version(model_name, number)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    run = _run_of(client, version)
    return run.data.metrics.get(metric) if run else None


def set_challenger(client: MlflowClient, version: ModelVersion) -> None:
    """Give a version the alias `challenger`: the one that waits for a person to promote it."""
    _set_alias(client, version.name, CHALLENGER, str(version.version))


def drop_challenger(client: MlflowClient, version: ModelVersion) -> None:
    """Take the alias `challenger` from a version; another version that has it keeps it."""
    if _aliases(client, version.name).get(CHALLENGER) == str(version.version):
        client.delete_registered_model_alias(version.name, CHALLENGER)


def history(client: MlflowClient, model_name: str) -> list[str]:
    """Give the changes of the champion, oldest first: "+3" for a promotion, "-3" for a roll-back from it."""
    return champions.read_changes(client.get_registered_model(model_name).tags.get(HISTORY, ""))


def list_versions(client: MlflowClient, model_name: str) -> list[dict[str, Any]]:
    """Describe every version, newest first, one dict of JSON values each.

    Keys: version, aliases (a list), run_id, created_at (UTC), metrics (a dict of those of the holdout, None
    where unknown) and LISTED_TAGS (empty where unknown). Raises ModelNotFoundError.
    """
    aliases = _aliases(client, model_name)
    numbers = sorted((int(version.version) for version in _search(client, model_name)), reverse=True)
    # Unity Catalog gives the tags of a version only when it is asked for that version.
    return [_describe(client, client.get_model_version(model_name, str(n)), aliases) for n in numbers]


def compare(client: MlflowClient, model_name: str, a: str, b: str) -> list[dict[str, Any]]:
    """Put two versions, each named by number or alias, side by side: one dict a line.

    Keys: kind (metric, param or tag), name, a, b (None where one lacks it), difference (b - a of metrics,
    else None). All metrics are there, and the params and tags that differ. Raises ModelNotFoundError, and
    SameVersionError where both are one version.
    """
    versions = [resolve_version(client, model_name, wanted) for wanted in (a, b)]
    if versions[0].version == versions[1].version:
        raise SameVersionError(f"{a!r} and {b!r} are both version {versions[0].version} of {model_name}")
    runs = [_run_of(client, version) for version in versions]
    metrics = [run.data.metrics if run else {} for run in runs]
    params = [run.data.params if run else {} for run in runs]
    tags = [version.tags for version in versions]
    differing = [
        line
        for kind, (left, right) in (("param", params), ("tag", tags))
        for line in _side_by_side(kind, left, right)
        if line["a"] != line["b"]
    ]
    return [*_side_by_side("metric", *metrics), *differing]


def _side_by_side(kind: str, a: dict[str, Any], b: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in sorted({*a, *b}):
        left, right = a.get(name), b.get(name)
        both = kind == "metric" and left is not None and right is not None
        difference = right - left if both else None  # type: ignore[operator]
        yield {"kind": kind, "name": name, "a": left, "b": right, "difference": difference}


def _describe(client: MlflowClient, version: ModelVersion, aliases: dict[str, str]) -> dict[str, Any]:
    run = _run_of(client, version)
    number, created = str(version.version), version.creation_timestamp
    names = [name for name in version.tags.get(METRICS, "").split(",") if name]
    return {
        "version": number,
        "aliases": sorted(alias for alias, pointed in aliases.items() if pointed == number),
        "run_id": version.run_id or "",
        "created_at": _as_text(datetime.fromtimestamp(created / 1000, UTC)) if created else "",
        "metrics": {name: run.data.metrics.get(name) if run else None for name in names},
        **{name: version.tags.get(name, "") for name in LISTED_TAGS},
    }


def _run_of(client: MlflowClient, version: ModelVersion) -> Run | None:
    """Give the run that made a version; None where there is none, or where it was removed."""
    run_id = version.run_id
    return _find(lambda: client.get_run(run_id)) if run_id else None


def _search(client: MlflowClient, model_name: str) -> list[ModelVersion]:
    _aliases(client, model_name)  # An unknown model has no versions to search for: this says so.
    query = f"name='{model_name}'"
    page = client.search_model_versions(query)
    found = list(page)
    while page.token:
        page = client.search_model_versions(query, page_token=page.token)
        found += page
    return found


def _find_version(client: MlflowClient, model_name: str, number: str) -> ModelVersion | None:
    """Give a version; None where it was deleted."""
    return _find(lambda: client.get_model_version(model_name, number))


def _someone_waits(client: MlflowClient, model_name: str) -> bool:
    aliases = _aliases(client, model_name)
    number = aliases.get(CHALLENGER)
    challenger = _find_version(client, model_name, number) if number else None
    return bool(challenger and challenger.tags.get("gate") == "passed" and number != aliases.get(CHAMPION))


def _champion_number(client: MlflowClient, model_name: str) -> str | None:
    champion = find_champion(client, model_name)
    return str(champion.version) if champion else None


def _aliases(client: MlflowClient, model_name: str) -> dict[str, str]:
    model = _find(lambda: client.get_registered_model(model_name))
    if model is None:
        raise ModelNotFoundError(f"there is no registered model {model_name!r}; train one first")
    return {alias: str(number) for alias, number in model.aliases.items()}


def _find(ask: Callable[[], _Found]) -> _Found | None:
    """Ask the server for one thing; None where it has no such thing."""
    try:
        return ask()
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _sign(client: MlflowClient, model_name: str, number: str, action: str, by: str) -> None:
    for key, value in (("by", by), ("at", _as_text(datetime.now(UTC)))):
        client.set_model_version_tag(model_name, number, f"{action}_{key}", value)


def _as_text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def _set_alias(client: MlflowClient, name: str, alias: str, number: str) -> None:
    """Give a version an alias; once more where another run touched that alias at the same moment.

    MLflow's SQL store reads the alias, then writes it, and fails where it is gone, or there, in between.
    """
    try:
        client.set_registered_model_alias(name, alias, number)
    except MlflowException as error:
        if error.error_code != "BAD_REQUEST":
            raise
        client.set_registered_model_alias(name, alias, number)
