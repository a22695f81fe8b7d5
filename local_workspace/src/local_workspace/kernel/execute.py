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
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path, PurePosixPath
from queue import Empty
from typing import TYPE_CHECKING, Any

import nbformat
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode

from local_workspace.kernel import bounds
from local_workspace.kernel.file_system import own_state
from local_workspace.kernel.kernel_signals import EXIT, RESTART, SECRET_MIME_TYPE
from local_workspace.kernel.memory import SETTING, explained
from local_workspace.kernel.redaction import TOKENS, Redactor
from local_workspace.notebooks.source import read_notebook
from local_workspace.processes.environment import create_environment
from local_workspace.processes.processes import adopt_orphans, end_descendants
from local_workspace.spark.classic import IS_HERE_BY, OF_CONNECT
from local_workspace.store.task_folder import TaskFolder
from local_workspace.store.whole_files import write_whole

if TYPE_CHECKING:
    from local_workspace.kernel.imports import Forker

_SAVE_EVERY_SECONDS = 0.5


class RunClient(NotebookClient):  # type: ignore[misc]
    """A notebook client that hides secrets in every output before it is kept."""

    def __init__(self, notebook: NotebookNode, **options: Any) -> None:
        super().__init__(notebook, **options)
        self.redactor = Redactor()
        for name in TOKENS & os.environ.keys():
            self.redactor.add(os.environ[name])

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> Any:
        """Keeps one message of the kernel, unless it only announces a secret."""
        data = msg["content"].get("data")
        if isinstance(data, dict) and SECRET_MIME_TYPE in data:
            self.redactor.add(data[SECRET_MIME_TYPE])
            return None
        content = msg["content"] = self.redactor.clean(msg["content"])
        if msg["msg_type"] == "error":
            content["evalue"] = bounds.both_ends_of(content["evalue"])
            content["traceback"] = [bounds.both_ends_of(line) for line in content["traceback"]]
        elif isinstance(data, dict):
            content["data"] = bounds.small_enough(content["data"])
        output = super().process_message(msg, cell, cell_index)
        self._clean_seam(cell_index, len(content.get("text", "")) or len(str(content)))
        if output and output.output_type == "stream":
            output.text = bounds.end_of(output.text)
        return output

    def output(self, outs: list[NotebookNode], msg: dict[str, Any], *place: Any) -> NotebookNode | None:
        """Keeps what is shown: the text of a stream as one output, and not more outputs than a page bears."""
        if msg["msg_type"] == "stream" and not self.clear_before_next_output and _continues(outs, msg):
            outs[-1].text = bounds.append(outs[-1].text, msg["content"]["text"])
            return outs[-1]
        if len(outs) >= bounds.MOST_OUTPUTS:
            outs[-1] = _note(f"[Only the first {bounds.MOST_OUTPUTS - 1:,} outputs of this cell are kept.]")
            return None
        if msg["msg_type"] == "stream":
            msg["content"]["text"] = bounds.append("", msg["content"]["text"])
        kept: NotebookNode | None = super().output(outs, msg, *place)
        return kept

    def _clean_seam(self, cell_index: int, arrived: int) -> None:
        """Hides a value that arrived in pieces: in an output and the one before it, or in two prints.

        The one before may be of an earlier cell: what a child process prints arrives when it likes. Between
        two prints something else may be shown.
        """
        for kinds in (("stream", "display_data", "execute_result"), ("stream",)):
            places = list(islice(self._latest_texts(cell_index, kinds), 2))[::-1]
            cleaned = self.redactor.clean_seam([holder[name] for holder, name in places], arrived)
            for (holder, name), text in zip(places, cleaned, strict=True):
                holder[name] = text

    def _latest_texts(self, cell_index: int, kinds: tuple[str, ...]) -> Iterator[tuple[dict[str, str], str]]:
        """Where the texts of the outputs of these kinds stand, the newest first."""
        for cell in reversed(self.nb.cells[: cell_index + 1]):
            outputs = [output for output in cell.get("outputs", []) if output.output_type in kinds]
            yield from filter(None, map(_text_of, reversed(outputs)))


def _continues(outs: list[NotebookNode], msg: dict[str, Any]) -> bool:
    """Whether the text of a stream goes on after what was put out last."""
    return bool(outs) and outs[-1].output_type == "stream" and outs[-1].name == msg["content"]["name"]


def _text_of(output: NotebookNode) -> tuple[dict[str, str], str] | None:
    """Where the plain text of an output stands, or None when it has none."""
    holder, name = (output, "text") if "text" in output else (output.get("data", {}), "text/plain")
    return (holder, name) if isinstance(holder.get(name), str) else None


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
        km=_kernel_manager(folder, forker),
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
                    cell.outputs = [_note("The Python process was restarted.")]
                    await _restart(client)
                elif failure.ename == EXIT:
                    cell.outputs[-1:] = [_note(client.redactor.clean(f"Notebook exited: {failure.evalue}"))]
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


class RunProvisioner(LocalProvisioner):  # type: ignore[misc]
    """Starts the kernels of a run: forked from the imports done ahead where these hold, else as usual."""

    forker: "Forker | None" = None

    def has_fitting_imports(self) -> bool:
        """Whether a kernel of this run, forked or not, imports what is installed now."""
        return self.forker is None or self.forker.fits()

    async def launch_kernel(self, cmd: list[str], **options: Any) -> Any:
        """Starts one kernel and returns how to reach it."""
        if self.forker is not None and self.forker.fits():
            with suppress(OSError):  # more variables than a message takes, or the forker was killed
                self.process = self.forker.start(cmd, options["env"], options["cwd"])
                self.pid = self.pgid = self.process.pid
                return self.connection_info
        return await super().launch_kernel(cmd, **options)

    async def kill(self, restart: bool = False) -> None:
        """Kills the kernel and returns when it has ended; by itself the caller looks ten times a second."""
        process = self.process
        await super().kill(restart)
        if process is not None:
            await asyncio.to_thread(process.wait)


class RunKernelClient(AsyncKernelClient):  # type: ignore[misc]
    """A client that begins as soon as its kernel answers, and does not first listen for what else it says."""

    async def _async_wait_for_ready(self, timeout: float | None = None) -> None:
        async with asyncio.timeout(timeout):
            while True:
                self.kernel_info()
                with suppress(Empty):
                    await self.get_shell_msg(timeout=1)
                    await self.get_iopub_msg(timeout=0.2)
                    return
                if not await self.is_alive():
                    raise DeadKernelError("the Python process of the notebook died while it started")

    wait_for_ready = _async_wait_for_ready


def _kernel_manager(folder: Path, forker: "Forker | None") -> AsyncKernelManager:
    python = sys.executable if forker else create_environment(folder / "python")
    manager = AsyncKernelManager(kernel_name="python3", client_factory=RunKernelClient)
    manager._kernel_spec = KernelSpec(
        argv=[
            str(python),
            "-m",
            "ipykernel_launcher",
            "-f",
            "{connection_file}",
            "--ext=local_workspace.kernel.kernel",
            "--HistoryManager.enabled=False",
        ],
        display_name="Python",
        language="python",
        metadata={"supported_encryption": "curve"},
    )
    # Any user of this machine can connect to a port. A signature keeps others from writing, not from reading.
    manager.transport_encryption = "required"
    manager.provisioner = RunProvisioner(kernel_id="", kernel_spec=manager._kernel_spec, parent=manager)
    manager.provisioner.forker = forker
    return manager


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


def _note(text: str) -> NotebookNode:
    return nbformat.v4.new_output("stream", name="stdout", text=text + "\n")


def _failed(error: str, trace: str) -> dict[str, Any]:
    return {"status": "FAILED", "exit_value": None, "error": error, "error_trace": trace}


if __name__ == "__main__":
    adopt_orphans()
    try:
        code = main(Path(sys.argv[1]))
    finally:
        end_descendants()
    sys.exit(code)
