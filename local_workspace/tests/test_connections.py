"""What somebody without a token can take of a real server: memory by a header, places by waiting, its log."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest
import requests
from local_workspace.web.connections import HEADER_SECONDS, LARGEST_HEADER, MOST_WAITING
from real_workspace import RealWorkspace


@contextmanager
def connected(workspace: RealWorkspace) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port_of(workspace)), timeout=30) as connection:
        yield connection


def port_of(workspace: RealWorkspace) -> int:
    return int(workspace.profile["host"].rpartition(":")[2])


def is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_a_header_that_never_ends_is_cut_off(real_workspace):
    with connected(real_workspace) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
        with pytest.raises(ConnectionError):
            for _ in range(100):
                connection.sendall(b"x" * LARGEST_HEADER)
                time.sleep(0.01)


def test_a_header_that_is_not_complete_in_time_is_cut_off(real_workspace):
    with connected(real_workspace) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        began = time.monotonic()

        assert is_closed(connection)
        assert HEADER_SECONDS - 2 < time.monotonic() - began < HEADER_SECONDS + 10


def test_who_waits_without_asking_takes_nobodys_place(real_workspace):
    waiting = [
        socket.create_connection(("127.0.0.1", port_of(real_workspace))) for _ in range(3 * MOST_WAITING)
    ]
    try:
        server = psutil.Process(int((real_workspace.state / "workspace.pid").read_text().split()[0]))
        answered = requests.get(real_workspace.profile["host"] + "/health", timeout=10)
        kept = [one for one in server.net_connections("tcp") if one.status == psutil.CONN_ESTABLISHED]
    finally:
        for connection in waiting:
            connection.close()

    assert answered.ok
    assert len(kept) <= MOST_WAITING + 20, "others of this session among them"


def test_an_upload_that_is_broken_off_leaves_no_trace_in_the_log(real_workspace):
    log = real_workspace.state / "logs" / "server.log"
    before = log.stat().st_size
    head = (
        "PUT /api/2.0/fs/files/Volumes/a/b/c/broken HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Length: 1000000\r\nAuthorization: Bearer {real_workspace.profile['token']}\r\n\r\n"
    )
    with connected(real_workspace) as connection:
        connection.sendall(head.encode() + b"x" * 100_000)
        time.sleep(0.5)
    time.sleep(1)

    assert log.read_text()[before:] == ""
