"""Runs a job, waits for it, and shows how it ended."""

import json
import re
import shlex
import time
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from deployment import model_params
from deployment.databricks_cli import DatabricksCli
from deployment.errors import DeploymentError, RunFailedError
from deployment.jobs import parameters_of, require_job
from deployment.settings import ROOT
from deployment.tables import format_values

ENDED = ("TERMINATED", "SKIPPED", "INTERNAL_ERROR")
TRACE_LINES = 15
ANSI_CODE = re.compile(r"\x1b\[[0-9;]*m")
JAVA = re.compile(r"\t(at |\.\.\. )|Driver stacktrace:$")
FRAME = re.compile(r"^ *(?:File |Cell In)", re.MULTILINE)
# Where code lies that is not this project's: packages, Python's own modules, and the runtime's Spark.
FOREIGN = re.compile(r"/lib/python3\.\d+/(?!site-packages/diabetes)|/dist-packages/|/databricks/|/pyspark/")


def parse_params(text: str) -> dict[str, str]:
    """`a=1 b="two words"` as a dictionary, quoted as in a shell."""
    params: dict[str, str] = {}
    for word in _words(text):
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise DeploymentError(f"PARAMS takes name=value pairs; got '{word}'")
        if name in params:
            raise DeploymentError(f"PARAMS gives '{name}' twice")
        params[name] = value
    return params


def check_params(params: Mapping[str, str], known: Mapping[str, str], job: str) -> None:
    """Refuses a name that is not a widget of the job."""
    if unknown := [name for name in params if name not in known]:
        raise DeploymentError(f"job '{job}' has no parameters {unknown}; it has {sorted(known)}")


def run_job(cli: DatabricksCli, name: str, params: Mapping[str, str], *, wait: bool) -> None:
    """Triggers the job; with `wait` it follows the run, prints its exit value, and raises when it fails."""
    job = require_job(cli, name)
    widgets = parameters_of(job)
    params = model_params.gather(params, widgets, ROOT)
    check_params(params, widgets, name)
    run_id = cli.run_now(int(job["job_id"]), params)
    print(f"Run {run_id} of '{name}': {get_run(cli, run_id)['run_page_url']}", flush=True)
    if wait:
        run = follow(cli, run_id)
        if not succeeded(run):
            raise RunFailedError(describe_failure(cli, name, run))
        print(format_values(exit_value(cli, run)))


def get_run(cli: DatabricksCli, run_id: int) -> dict[str, Any]:
    """The run as the Jobs API describes it."""
    # Not through the program, whose start costs as much as a fifth of a second: a run is asked for often.
    return cli.workspace.call("GET", "/api/2.1/jobs/runs/get", params={"run_id": run_id})


def exit_value(cli: DatabricksCli, run: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON object that the run's notebook handed to `dbutils.notebook.exit`."""
    result = _output(cli, run).get("notebook_output", {}).get("result") or "{}"
    try:
        return dict(json.loads(result))
    except (ValueError, TypeError):
        return {"exit value": result}


def succeeded(run: Mapping[str, Any]) -> bool:
    """Whether the run ended and did so well; a run that was skipped or canceled did not."""
    return bool(run["state"].get("result_state") == "SUCCESS")


def state_of(run: Mapping[str, Any]) -> str:
    """The word that says most about a run: how it ended, else where it is."""
    state = run["state"]
    return str(state.get("result_state") or state["life_cycle_state"])


def poll_seconds(elapsed: float) -> float:
    """How long to wait before asking again: a short run is seen to end, a long one is asked about seldom."""
    return 0.25 if elapsed < 60 else 10


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise DeploymentError(f"PARAMS cannot be read: {error}; got {text}") from error


def follow(cli: DatabricksCli, run_id: int) -> dict[str, Any]:
    """Waits until a run has ended, and prints its states meanwhile."""
    start = time.monotonic()
    shown = ""
    while True:
        run = get_run(cli, run_id)
        elapsed = time.monotonic() - start
        if state_of(run) != shown:
            shown = state_of(run)
            print(f"{elapsed:6.1f} s  {shown}", flush=True)
        if run["state"]["life_cycle_state"] in ENDED:
            return run
        time.sleep(poll_seconds(elapsed))


def describe_failure(cli: DatabricksCli, name: str, run: Mapping[str, Any]) -> str:
    """Why a run failed, with the end of the trace that is the project's own."""
    lines = [
        f"run {run['run_id']} of '{name}' ended as {state_of(run)}: {run['state'].get('state_message', '')}"
    ]
    if run["state"].get("result_state") == "FAILED":
        output = _output(cli, run)
        trace, error = (ANSI_CODE.sub("", output.get(key, "")).rstrip() for key in ("error_trace", "error"))
        sentence, *more = _without_java(error) or ["no error was kept"]
        lines += [sentence, *_own_end(trace.removesuffix(error)), *more[-TRACE_LINES:]]
    return "\n".join([line for line in lines if line.strip()] + [f"Run page: {run['run_page_url']}"])


def _own_end(trace: str) -> list[str]:
    """The last lines of a trace: of its calls up to the last one in the project's own code, if it has one."""
    starts = [found.start() for found in FRAME.finditer(trace)]
    frames = [trace[start:end] for start, end in pairwise([*starts, len(trace)])]
    own = [i for i, frame in enumerate(frames) if not FOREIGN.search(frame.partition("\n")[0])]
    shown = "".join(frames[: own[-1] + 1]) if own else trace
    return shown.rstrip().splitlines()[-TRACE_LINES:]


def _without_java(error: str) -> list[str]:
    """The lines of an error without Java's stack, and without the second one, which tells the same."""
    lines = error.partition("\nJVM stacktrace:")[0].splitlines()
    return [line for line in lines if line.strip() and not JAVA.match(line)]


def _output(cli: DatabricksCli, run: Mapping[str, Any]) -> dict[str, Any]:
    """The output of the run's last task, or of the one that failed; the Jobs API keeps it by task."""
    tasks = list({task.get("task_key"): task for task in run.get("tasks", [])}.values())  # the last attempts
    failed = [task for task in tasks if task.get("state", {}).get("result_state") == "FAILED"]
    return cli.run_output(int([run, *tasks, *failed][-1]["run_id"]))
