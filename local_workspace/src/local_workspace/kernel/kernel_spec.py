"""Tells JupyterLab and Visual Studio Code of the kernel that works in the workspace."""

import json
import sys
from pathlib import Path
from typing import Any

NAME = "local-workspace"
DISPLAY_NAME = "Local workspace"


def kernel_spec(state: Path) -> dict[str, Any]:
    """How its kernel is started, for the workspace in a state folder."""
    return {
        "argv": [sys.executable, "-m", "local_workspace.kernel.own_kernel", "{connection_file}"],
        "display_name": DISPLAY_NAME,
        "language": "python",
        "interrupt_mode": "signal",
        "env": {"LOCAL_WORKSPACE_STATE": str(state)},
        "metadata": {"debugger": True, "supported_encryption": ["curve"]},
    }


def write_kernel_spec(state: Path) -> Path:
    """Writes it into this Python environment, where both look; gives the folder."""
    folder = Path(sys.prefix) / "share" / "jupyter" / "kernels" / NAME
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kernel.json").write_text(json.dumps(kernel_spec(state), indent=2) + "\n")
    return folder
