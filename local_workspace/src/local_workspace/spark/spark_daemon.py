"""What Spark starts in place of its own daemon, the process from which it has its Python workers forked.

Started as `python -m local_workspace.spark.spark_daemon pyspark.worker`. Where the Python is that of a run
which was forked, so is the daemon: the workers find their imports done, and this process waits for it. With
any other Python this process becomes Spark's own daemon.
"""

import json
import os
import runpy
import signal
import socket
import sys
from contextlib import chdir
from pathlib import Path

from local_workspace.processes.forks import Fork, ask_for_fork

SPARKS_OWN = "pyspark.daemon"
_DOOR = "spark_daemon"  # a socket in the folder of the run's Python


def main() -> None:
    """Has the daemon forked and ends as it does, or becomes it."""
    try:
        fork = _ask()
    except OSError:  # nobody listens
        # Here, because a forked one does without it.
        from local_workspace.processes.processes import adopt_orphans

        adopt_orphans()
        runpy.run_module(SPARKS_OWN, run_name="__main__", alter_sys=True)
        return
    signal.signal(signal.SIGTERM, lambda *_: fork.send_signal(signal.SIGTERM))
    sys.exit(fork.wait())


def listen() -> socket.socket:
    """A socket at which to ask for a daemon of this Python."""
    door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with chdir(sys.prefix):  # the address of a socket is short, a path can be long
        door.bind(_DOOR)
    door.listen()
    return door


def _ask() -> Fork:
    request = json.dumps([sys.argv[1:], dict(os.environ), str(Path.cwd())]).encode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as forker:
        with chdir(sys.prefix):
            forker.connect(_DOOR)
        return ask_for_fork(forker, request, [0, 1, 2])


if __name__ == "__main__":
    main()
