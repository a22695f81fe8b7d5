"""The kernels of runs: forked from imports done ahead where these hold, and encrypted."""

import asyncio
import sys
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner
from nbclient.exceptions import DeadKernelError

from local_workspace.processes.environment import create_environment

if TYPE_CHECKING:
    from local_workspace.kernel.imports import Forker


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


def kernel_manager(folder: Path, forker: "Forker | None") -> AsyncKernelManager:
    """Starts and ends the kernel of the run whose folder this is; with a `forker` it comes from there."""
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
