"""Acts as another user of this machine: `python another_user.py FOLDER PROCESS ... < ports`, as root.

Takes the rights of `nobody`, then tries to read FOLDER and what the processes keep, and talks to each port.
Prints as JSON what it could read, and what each port answered. `python another_user.py listen` takes a port,
prints its number, answers each request with "ok", and prints what it was sent.
"""

import encodings.idna  # noqa: F401 -- what is not imported yet, nobody could read
import json
import os
import pwd
import socket
import struct
import sys
from pathlib import Path

TARGET = b"endpoint-verifier"
HUNG_UP = "hung up"


def become_nobody() -> None:
    """Gives up the rights of root for good."""
    nobody = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(nobody.pw_gid)
    os.setuid(nobody.pw_uid)


def readable_files(folder: Path) -> list[str]:
    """What can be reached of a folder."""
    names = ("", "databrickscfg", "secrets.key", "workspace.db", "mlflow.db", "runs", "tmp", "logs/spark.log")
    return [name for name in names if os.access(folder / name, os.R_OK)]


def readable_processes(numbers: list[str]) -> list[str]:
    """The environments, memories and open files that can be read."""
    places = [f"/proc/{number}/{name}" for number in numbers for name in ("environ", "mem", "maps")]
    return [place for place in places if _is_readable(place)]


def _is_readable(place: str) -> bool:
    try:
        with Path(place).open("rb") as file:
            file.read(1)
    except OSError:
        return False
    return True


def spark_message(port: int) -> bytes:
    """A message of Spark's own protocol for an endpoint that each Spark has; what it carries is no object."""
    host = b"127.0.0.1"
    address = b"\x01" + struct.pack(">H", len(host)) + host + struct.pack(">i", port)
    body = b"\x00" + address + struct.pack(">H", len(TARGET)) + TARGET + b"no object"
    head = b"\x03" + struct.pack(">q", 1) + struct.pack(">i", len(body))
    return struct.pack(">q", 8 + len(head) + len(body)) + head + body


def zmq_greeting(mechanism: bytes) -> bytes:
    """How a client of ZeroMQ begins, with the mechanism by which it wants to show who it is."""
    return b"\xff" + bytes(8) + b"\x7f\x03\x00" + mechanism.ljust(20, b"\x00") + bytes(32)


def ask(port: int, message: bytes) -> str:
    """What a port answers within two seconds; one that hangs up without a word has an answer too."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(message)
        try:
            while len(answer) < 4096 and (piece := connection.recv(4096)):
                answer += piece
        except ConnectionError:
            pass
        except OSError:
            return answer.decode("latin-1")
    return answer.decode("latin-1") or HUNG_UP


def listen() -> None:
    """Answers whoever comes to a port, one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(5)
                print(json.dumps(connection.recv(1 << 16).decode("latin-1")), flush=True)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")


def main() -> None:
    """Tries everything."""
    if sys.argv[1:] == ["listen"]:
        become_nobody()
        listen()
    folder, numbers, ports = Path(sys.argv[1]), sys.argv[2:], json.load(sys.stdin)
    become_nobody()
    http = b"GET /api/2.0/secrets/scopes/list HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    answers = {
        port: {
            "HTTP": ask(port, http),
            "Spark": ask(port, spark_message(port)),
            "Spark's worker": ask(port, struct.pack(">i", 5) + b"wrong"),
            "a wrong secret": ask(port, b"0" * 64),
            "Py4J": ask(port, b"A\nwrong\n"),
            "ZeroMQ": ask(port, zmq_greeting(b"NULL")),
            "ZeroMQ with a key": ask(port, zmq_greeting(b"CURVE")),
        }
        for port in ports
    }
    files, processes = readable_files(folder), readable_processes(numbers)
    print(json.dumps({"files": files, "processes": processes, "answers": answers}))


if __name__ == "__main__":
    main()
