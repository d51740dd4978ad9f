"""A session as BGP has one, of messages that come back: what floods must leave alone."""

import socket
import time


def echo(connection: socket.socket) -> None:
    """Send back all that comes, until the other end closes."""
    with connection:
        while data := connection.recv(65536):
            connection.sendall(data)


def exchange(session: socket.socket, message: bytes) -> float:
    """Send a message and wait for its echo; the seconds that it took."""
    began, got = time.monotonic(), b""
    session.sendall(message)
    while len(got) < len(message):
        data = session.recv(65536)
        assert data, "the session broke"
        got += data
    assert got == message
    return time.monotonic() - began
