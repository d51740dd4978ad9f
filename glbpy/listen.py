"""The socket that `glb serve` listens on: opened here, or inherited from whoever started it."""

import ipaddress
import os
import socket

from glbpy.errors import GlbError, InvalidInputError

DEFAULT_LISTEN = "127.0.0.1:8420"
BACKLOG = 1024


def parse_listen(text: str) -> tuple[str, int]:
    """Return (address, port) of ``127.0.0.1:8420`` or ``[::1]:8420``; port 0 means any free one."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise InvalidInputError(f"--listen {text}: write ADDRESS:PORT, for example {DEFAULT_LISTEN}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise InvalidInputError(f"--listen {text}: write an IPv6 address in brackets, for example [::1]:8420")
    if host == "localhost":
        host = "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host)), int(port)
    except ValueError:
        raise InvalidInputError(f"--listen {text}: {host!r} is not an address") from None


def open_socket(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket on one address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise GlbError(f"cannot listen on {host} port {port}: {error.strerror or error}") from None


def inherit_socket(fd: int) -> socket.socket:
    """Return the stream socket that was passed as file descriptor ``fd``. It is taken over."""
    try:
        os.set_inheritable(fd, False)  # the forwarder that we start shall not keep it
        found = socket.socket(fileno=fd)
        if found.type != socket.SOCK_STREAM:
            found.detach()
            raise InvalidInputError(f"--listen-fd {fd} is not a stream socket")
        found.listen(BACKLOG)
    except OSError as error:
        raise InvalidInputError(f"--listen-fd {fd} is not a socket to listen on: {error.strerror}") from None
    return found


def is_local(listening: socket.socket) -> bool:
    """Tell whether only this machine can reach the socket: loopback, or a unix socket."""
    if listening.family == socket.AF_UNIX:
        return True
    if listening.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    address = ipaddress.ip_address(listening.getsockname()[0].partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback


def url_of(listening: socket.socket) -> str:
    """Return the base URL of the API on this socket."""
    if listening.family == socket.AF_UNIX:
        return f"unix:{listening.getsockname()}"
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
