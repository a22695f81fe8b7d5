"""Hands the parameters of the model, which the science declares, to the one widget that takes them."""

import sys
from collections.abc import Mapping
from pathlib import Path

from deployment.errors import DeploymentError
from deployment.wheels import version

WIDGET = "model_params"


def gather(params: Mapping[str, str], widgets: Mapping[str, str], root: Path) -> dict[str, str]:
    """The widgets of a run: what `params` names beside the job's `widgets` are parameters of the model.

    Those that the job was deployed with are kept where `params` does not name them. Raises DeploymentError
    where the job runs the code of this checkout and its science does not take them.
    """
    own = {name: value for name, value in params.items() if name not in widgets}
    if WIDGET not in widgets or not (own or WIDGET in params):
        return dict(params)
    deployed = {} if WIDGET in params else _split(widgets[WIDGET])
    pairs = [f"{name}={value}" for name, value in (deployed | own).items()]
    text = ", ".join(filter(None, [params.get(WIDGET, ""), *pairs]))
    if widgets.get("wheel_dir", "").rpartition("/")[2] == version(root):
        _check(text, widgets, root)
    return {name: value for name, value in params.items() if name in widgets} | {WIDGET: text}


def _split(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(",") if part.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _check(text: str, widgets: Mapping[str, str], root: Path) -> None:
    # The checkout's own, and not that of whichever the environment was made for.
    sys.path.insert(0, str(root / "ml_source" / "src"))
    try:  # here, because what the science imports takes seconds
        from diabetes import PROBLEM
    except ImportError:  # a library that only the cluster has: the run itself tells what is wrong
        return
    from diabetes.tabular.parameters import ParameterError, read_values

    try:
        read_values(PROBLEM.parameters, text)
    except ParameterError as error:
        raise DeploymentError(f"{error}. The widgets of the job are {sorted(widgets)}") from error
