"""A real kernel of the workspace, as an editor starts it, and what its cells show."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager
from local_workspace.kernel.kernel_spec import kernel_spec

SECONDS = 120


@dataclass
class Shown:
    """What a cell has put out, and how it ended."""

    status: str
    texts: list[str] = field(default_factory=list)
    data: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""

    @property
    def text(self) -> str:
        """All of its text."""
        return "".join([*self.texts, *(each.get("text/plain", "") for each in self.data)])


@dataclass
class OwnKernel:
    """A kernel that runs, and a client of it."""

    manager: KernelManager
    client: BlockingKernelClient

    @property
    def pid(self) -> int:
        """Its process."""
        return int(self.manager.provisioner.pid)

    def run(self, source: str) -> Shown:
        """Runs a cell to its end."""
        asked = self.client.execute(source, store_history=True, allow_stdin=False)
        return self.shown(asked)

    def value(self, source: str) -> str:
        """What a cell that succeeds shows as text."""
        shown = self.run(source)
        assert shown.status == "ok", shown
        return shown.text.strip()

    def shown(self, asked: str) -> Shown:
        """What was put out for a request, when it has ended."""
        found, deadline = Shown("none"), time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            message = self.client.get_iopub_msg(timeout=SECONDS)
            if message["parent_header"].get("msg_id") != asked:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                found.texts.append(content["text"])
            elif kind in ("display_data", "execute_result"):
                found.data.append(content["data"])
            elif kind == "error":
                found.error = f"{content['ename']}: {content['evalue']}"
            elif kind == "status" and content["execution_state"] == "idle":
                break
        while found.status == "none":
            reply = self.client.get_shell_msg(timeout=SECONDS)
            if reply["parent_header"].get("msg_id") == asked:
                found.status = reply["content"]["status"]
        return found

    def debug(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Asks the debugger of the kernel, as an editor does."""
        sequence = {"type": "request", "seq": time.monotonic_ns() % 2**31, "command": command}
        content = sequence | {"arguments": arguments}
        message = self.client.session.msg("debug_request", content)
        self.client.control_channel.send(message)
        while True:
            reply = self.client.get_control_msg(timeout=SECONDS)
            if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
                return dict(reply["content"])

    def debug_event(self, name: str) -> dict[str, Any]:
        """The next event of this name that the debugger tells of."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            try:
                message = self.client.get_iopub_msg(timeout=1)
            except Empty:
                continue
            if message["msg_type"] == "debug_event" and message["content"]["event"] == name:
                return dict(message["content"])
        raise AssertionError(f"no debug_event {name}")


@contextmanager
def own_kernel(state: Path, folder: Path, notebook: str = "") -> Iterator[OwnKernel]:
    """Starts the kernel of a workspace in a folder, for a notebook there; ends it."""
    manager = KernelManager(kernel_name="local-workspace")
    manager._kernel_spec = KernelSpec(**kernel_spec(state))
    variables = {**os.environ, "JPY_SESSION_NAME": str(folder / notebook) if notebook else ""}
    manager.start_kernel(env=variables, cwd=str(folder))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=SECONDS)
        yield OwnKernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
