"""A client, two backends and a director that is a thread, on one bridge.

                        sw (bridge)
        ┌──────────────┬──────────────┬──────────────┐
    client         director        backend1       backend2
    10.77.0.100    10.77.0.1       10.77.0.11     10.77.0.12
    fd77::100      fd77::1         fd77::11       fd77::12
    VIP via director               VIPs on lo, glb-redirect on eth0

The client's kernel routes the VIPs to the director, which wraps each packet for the chain that the test
chooses. Backends answer the client directly.
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from . import packets as p
from .conftest import Redirect, Worker
from .netns import Namespace
from .rawclient import Wire

VIPS = {4: "203.0.113.10", 6: "2001:db8::10"}
CLIENT = {4: "10.77.0.100", 6: "fd77::100"}
HOSTS = {"client": 100, "director": 1, "backend1": 11, "backend2": 12}
DIRECTOR, BACKEND1, BACKEND2 = "10.77.0.1", "10.77.0.11", "10.77.0.12"
PORT = 8080
Chain = Callable[[p.Segment], list[str]]


def mac_of(name: str) -> str:
    return f"02:00:00:00:77:{HOSTS[name]:02x}"


def raw(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


class Director(threading.Thread):
    """Wraps each packet to a VIP for the chain that `chain` answers; an empty chain loses it."""

    def __init__(self, namespace: Namespace) -> None:
        super().__init__(daemon=True)
        self.wire = Wire(namespace, "eth0")
        self.chain: Chain = lambda segment: []
        self.sum_udp = False
        self.running = True

    def send(self, packet: bytes, chain: list[str]) -> None:
        name = next(name for name, number in HOSTS.items() if chain[0] == f"10.77.0.{number}")
        outer = p.gue(packet, src=DIRECTOR, dst=chain[0], hops=chain[1:], sum_udp=self.sum_udp)
        self.wire.send(p.ethernet(outer, dst=raw(mac_of(name)), src=raw(mac_of("director"))))

    def run(self) -> None:
        self.wire.socket.settimeout(0.2)
        while self.running:
            try:
                frame, origin = self.wire.socket.recvfrom(65536)
            except TimeoutError:
                continue
            if origin[2] != socket.PACKET_HOST or frame[12:14] not in (b"\x08\x00", b"\x86\xdd"):
                continue
            segment = p.Segment(frame)
            if segment.dst in VIPS.values():
                chain = self.chain(segment)
                if chain:
                    self.send(segment.packet, chain)

    def stop(self) -> None:
        self.running = False
        self.join()
        self.wire.close()


class EchoServer(threading.Thread):
    """Greets with its name, then sends back what it receives. `quit` from a client makes it close first."""

    def __init__(self, namespace: Namespace) -> None:
        super().__init__(daemon=True)
        self.greeting = namespace.name.rpartition("-")[2].encode()
        self.accepted: list[socket.socket] = []
        with namespace.entered():
            self.listener = socket.create_server(("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True)

    def run(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = self.listener.accept()
                self.accepted.append(connection)
                threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.sendall(self.greeting)
            while (data := connection.recv(65536)) and data != b"quit":
                connection.sendall(data)
            connection.close()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.join()
        for open_socket in (self.listener, *self.accepted):
            open_socket.close()


class Network:
    def __init__(self, bpffs: Path, way: str = "tc", *options: str) -> None:
        """`options` are those of attach, on both backends."""
        self.way, self.options = way, options
        self.switch = Namespace("sw")
        self.switch.ip("link", "add", "br0", "type", "bridge")
        self.switch.ip("link", "set", "br0", "mtu", "1700", "up")
        self.spaces = {name: self._host(name) for name in HOSTS}
        client = self.spaces["client"]
        client.ip("route", "add", f"{VIPS[4]}/32", "via", DIRECTOR, "mtu", "1500")
        client.ip("route", "add", f"{VIPS[6]}/128", "via", "fd77::1", "mtu", "1500")
        client.run("ethtool", "-K", "eth0", "tx", "off")  # the director needs finished checksums
        for family, vip in VIPS.items():  # its kernel sees every packet too, and must not answer "no route"
            self.spaces["director"].ip(f"-{family}", "route", "add", "blackhole", vip)
        self.redirects = [self._backend(name, bpffs) for name in ("backend1", "backend2")]
        self.servers = [EchoServer(redirect.namespace) for redirect in self.redirects]
        self.director = Director(self.spaces["director"])
        for thread in (*self.servers, self.director):
            thread.start()

    def _host(self, name: str) -> Namespace:
        space, number = Namespace(name), HOSTS[name]
        self.switch.ip("link", "add", name, "mtu", "1700", "type", "veth", "peer", "name", "eth0",
                       "address", mac_of(name), "mtu", "1700", "netns", space.name)  # fmt: skip
        self.switch.ip("link", "set", name, "master", "br0", "up")
        space.ip("addr", "add", f"10.77.0.{number}/24", "dev", "eth0")
        space.ip("addr", "add", f"fd77::{number}/64", "dev", "eth0", "nodad")
        space.ip("link", "set", "eth0", "up")
        return space

    def _backend(self, name: str, bpffs: Path) -> Redirect:
        space = self.spaces[name]
        space.ip("addr", "add", f"{VIPS[4]}/32", "dev", "lo")
        space.ip("addr", "add", f"{VIPS[6]}/128", "dev", "lo", "nodad")
        kind = Worker if self.way == "nfqueue" else Redirect
        redirect = kind(space, "eth0", bpffs / "glb", self.way)
        if self.way == "xdp":
            for key in ("ipv4", "ipv6"):
                space.sysctl(f"net.{key}.conf.lo.forwarding", 1)
            self.switch.run("ethtool", "-K", name, "gro", "on")  # takes what XDP sends
        redirect.attach("--allow", DIRECTOR, "--peer", BACKEND1, BACKEND2, *self.options)
        return redirect

    def delete(self) -> None:
        self.director.stop()
        for server in self.servers:
            server.stop()
        for redirect in self.redirects:
            redirect.detach()
        for space in (*self.spaces.values(), self.switch):
            space.delete()

    def connect(self, family: int, sport: int = 0, timeout: float = 10.0) -> socket.socket:
        """A client's connection to the VIP; the caller closes it."""
        with self.spaces["client"].entered():
            client = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET)
        try:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.settimeout(timeout)
            client.bind((CLIENT[family], sport))
            client.connect((VIPS[family], PORT))
        except BaseException:
            client.close()
            raise
        return client

    @contextlib.contextmanager
    def deaf(self, backend: str, family: int) -> Iterator[None]:
        """Meanwhile nothing that the backend sends to the client arrives."""
        self._neighbour(backend, family, "02:00:00:00:77:ff", "permanent")
        try:
            yield
        finally:
            self._neighbour(backend, family, mac_of("client"), "reachable")

    def _neighbour(self, backend: str, family: int, mac: str, state: str) -> None:
        entry = ("neigh", "replace", CLIENT[family], "lladdr", mac, "dev", "eth0", "nud", state)
        self.spaces[backend].ip(*entry)
