"""The process of one run: executes a notebook in a kernel of its own and keeps it as it goes.

Started as `python -m local_workspace.kernel.execute RUN_FOLDER`; reads `task.json` there, keeps
`notebook.ipynb` up to date and writes `result.json` at the end.
"""

import asyncio
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import nbformat
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode

from local_workspace.kernel import bounds
from local_workspace.kernel.file_system import own_state
from local_workspace.kernel.kernel_signals import EXIT, RESTART
from local_workspace.kernel.memory import SETTING, explained
from local_workspace.kernel.run_client import RunClient, note
from local_workspace.kernel.run_kernels import kernel_manager
from local_workspace.notebooks.source import read_notebook
from local_workspace.processes.processes import adopt_orphans, end_descendants
from local_workspace.spark.classic import IS_HERE_BY, OF_CONNECT
from local_workspace.store.task_folder import TaskFolder
from local_workspace.store.whole_files import write_whole

if TYPE_CHECKING:
    from local_workspace.kernel.imports import Forker

_SAVE_EVERY_SECONDS = 0.5


def main(run_folder: Path, forker: "Forker | None" = None) -> int:
    """Runs the task described in `run_folder`; returns the exit code of the process.

    With a `forker` this process has its environment already, and its kernels come from there.
    """
    task = json.loads(TaskFolder(run_folder).task.read_text())
    source = Path(task["source_file"]).read_text(encoding="utf-8")
    notebook = read_notebook(source, task["format"], task.get("language", "PYTHON"))
    _install_first(notebook, task.get("pip_arguments", []))
    result = asyncio.run(_run(notebook, run_folder, forker))
    write_whole(TaskFolder(run_folder).result, json.dumps(result))
    return 0 if result["status"] == "SUCCESS" else 1


def _install_first(notebook: NotebookNode, pip_arguments: list[str]) -> None:
    """Puts a cell before all others that installs the libraries of the task."""
    if pip_arguments:
        cell = nbformat.v4.new_code_cell(f"%pip install {shlex.join(pip_arguments)}")
        cell.metadata["libraries"] = True
        notebook.cells.insert(0, cell)


async def _run(notebook: NotebookNode, folder: Path, forker: "Forker | None") -> dict[str, Any]:
    client = RunClient(
        notebook,
        km=kernel_manager(folder, forker),
        timeout=None,
        startup_timeout=120,
        shutdown_kernel="immediate",
    )
    _save(notebook, folder)
    saver = asyncio.create_task(_keep_saving(notebook, folder))
    try:
        result: dict[str, Any] = client.redactor.clean(await _run_cells(client, folder))
        return result
    finally:
        saver.cancel()
        with suppress(asyncio.CancelledError):
            await saver
        _save(notebook, folder)


async def _run_cells(client: RunClient, folder: Path) -> dict[str, Any]:
    kernel_environment = _of_its_spark(os.environ) | {
        "LOCAL_WORKSPACE_TASK": str(TaskFolder(folder).task),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    async with client.async_setup_kernel(
        cleanup_kc=True, env=kernel_environment, cwd=str(_working_folder(folder))
    ):
        for index, cell in enumerate(client.nb.cells):
            try:
                cell.metadata["state"] = "running"
                await client.async_execute_cell(cell, index)
                cell.metadata["state"] = "done"
                if cell.metadata.get("libraries") and not client.km.provisioner.has_fitting_imports():
                    await _restart(client)
            except CellExecutionError as failure:
                cell.metadata["state"] = "done"
                if failure.ename == RESTART:
                    cell.outputs = [note("The Python process was restarted.")]
                    await _restart(client)
                elif failure.ename == EXIT:
                    cell.outputs[-1:] = [note(client.redactor.clean(f"Notebook exited: {failure.evalue}"))]
                    return {"status": "SUCCESS", "exit_value": failure.evalue}
                else:
                    cell.metadata["state"] = "failed"
                    said = f"{failure.ename}: {bounds.both_ends_of(failure.evalue)}"
                    error = explained(failure.ename, said)
                    return _failed(error, bounds.both_ends_of(failure.traceback))
            except DeadKernelError:
                cell.metadata["state"] = "failed"
                message = await _how_it_died(client)
                return _failed(message, message)
    return {"status": "SUCCESS", "exit_value": None}


def _of_its_spark(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables without those of Spark Connect where the run attaches to Spark Classic."""
    left_out = OF_CONNECT if IS_HERE_BY in variables else ()
    return {name: value for name, value in variables.items() if name not in left_out}


async def _how_it_died(client: RunClient) -> str:
    status = await client.km.provisioner.poll()
    if status == -signal.SIGKILL:
        return (
            "The Python process of the notebook was killed (SIGKILL): most likely the machine ran out of "
            f"memory. {SETTING} limits what a run may take"
        )
    how = signal.Signals(-status).name if status and status < 0 else f"exit code {status}"
    return f"The Python process of the notebook died ({how})"


async def _restart(client: RunClient) -> None:
    await client.km.restart_kernel(now=True)
    client.kc.stop_channels()
    client.kc = client.km.client()
    client.kc.start_channels()
    await client.kc.wait_for_ready(timeout=120)
    client.kc.allow_stdin = False


def _working_folder(folder: Path) -> Path:
    """The notebook's own folder in the workspace, as since runtime 14: it can import and read what is there.

    What is not in the workspace, such as the program of a wheel, works in the folder of its run.
    """
    path = json.loads(TaskFolder(folder).task.read_text())["notebook_path"]
    if path and "LOCAL_WORKSPACE_STATE" in os.environ:
        beside = own_state().local_path(f"/Workspace{PurePosixPath(path).parent}")
        if beside.is_dir():
            return beside
    workdir = folder / "workdir"
    workdir.mkdir(exist_ok=True)
    return workdir


async def _keep_saving(notebook: NotebookNode, folder: Path) -> None:
    last = ""
    while True:
        began = time.monotonic()
        text = nbformat.writes(notebook)
        if text != last:
            write_whole(TaskFolder(folder).notebook, text)
            last = text
        # A large notebook is not worth more than a tenth of the time in which its outputs are taken in.
        await asyncio.sleep(max(_SAVE_EVERY_SECONDS, 9 * (time.monotonic() - began)))


def _save(notebook: NotebookNode, folder: Path) -> None:
    write_whole(TaskFolder(folder).notebook, nbformat.writes(notebook))


def _failed(error: str, trace: str) -> dict[str, Any]:
    return {"status": "FAILED", "exit_value": None, "error": error, "error_trace": trace}


if __name__ == "__main__":
    adopt_orphans()
    try:
        code = main(Path(sys.argv[1]))
    finally:
        end_descendants()
    sys.exit(code)
