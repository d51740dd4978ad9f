"""Hosts, clients and their connections: the simple model that says what breaks, and whether that was allowed.

A host takes a first packet, and knows its connections from then on. A further packet goes along its chain, as
glb-redirect passes it on: to the first host that knows its connection, or, if none does, to the last one,
which resets it. A dead host answers nothing.
"""

from dataclasses import dataclass, field

from model.cluster import Cluster, Director
from model.wire import Hop, Packets

VIP_PORT = 80
Tuple = tuple[str, int, str]  # client, its port, service


class BrokenPromiseError(AssertionError):
    """A connection broke that must not have."""


@dataclass
class Connection:
    key: Tuple
    host: str
    opened: int  # the snapshot, counted in the cluster, by which it was opened
    born_s: int
    packets: Packets

    @property
    def service(self) -> str:
        return self.key[2]


@dataclass
class World:
    """Only that may break which a report had; ``strict``: and only while somebody's health turns over."""

    cluster: Cluster
    vips: dict[str, str]  # service: VIP
    protocols: dict[str, str]
    strict: bool = False
    connections: dict[Tuple, Connection] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)
    used: set[Tuple] = field(default_factory=set)
    packets: int = 0
    opened: int = 0
    broken: int = 0  # as a report had it

    # ---- clients ----

    def _may_come_again(self, service: str) -> bool:
        """Tell whether the ports of a former connection may be used again.

        Without second chance a director that remembers the former one, and has not seen its end, takes the
        new one for it: so clients wait longer there.
        """
        paths = [director.path for director in self.cluster.directors if director.path]
        return self.protocols[service] == "tcp" and all(service in path.second_chance for path in paths)

    def open(self, director: Director, keys: list[Tuple]) -> None:
        """New connections, whose first packets come to ``director``."""
        if director.path is None:
            return
        made = {
            key: Packets(key[0], key[1], self.vips[key[2]], VIP_PORT, self.protocols[key[2]])
            for key in keys
            if key not in self.connections and (key not in self.used or self._may_come_again(key[2]))
        }
        self.used.update(made)
        chains = director.path.chains(
            [packets.opens for packets in made.values()],
            director.cache, self.cluster.now_s,
        )  # fmt: skip
        for (key, packets), chain in zip(made.items(), chains, strict=True):
            if chain and chain[0].address not in self.dead:
                now_s = self.cluster.now_s
                self.connections[key] = Connection(key, chain[0].address, director.compiled, now_s, packets)
                self.opened += 1

    def send(self, director: Director, connections: list[Connection]) -> None:
        """A packet of each connection comes to ``director``."""
        self._deliver(director, connections, remembers=True)

    def end(self, director: Director, connections: list[Connection]) -> None:
        """The last packet of each connection comes to ``director``."""
        if director.path is not None:
            frames = [connection.packets.ends for connection in connections]
            director.path.chains(frames, director.cache, self.cluster.now_s)
        for connection in connections:
            del self.connections[connection.key]

    def check(self, director: Director) -> None:
        """Try a packet of every connection at ``director``, whatever that remembers, and leave no trace."""
        self._deliver(director, list(self.connections.values()), remembers=False)

    def survivors(self, director: Director, remembers: bool) -> set[Tuple]:
        """Send a packet of every connection to ``director``; return those that do not break by it."""
        assert director.path is not None
        connections = list(self.connections.values())
        chains = director.path.chains(
            [connection.packets.goes_on for connection in connections],
            director.cache if remembers else None, self.cluster.now_s,
        )  # fmt: skip
        return {
            connection.key
            for connection, chain in zip(connections, chains, strict=True)
            if self._fate(connection, chain, director.path.encapsulations.get(connection.service, "")) is None
        }

    def lose_host(self, address: str) -> None:
        """A host dies, and its connections with it."""
        self.dead.add(address)
        for connection in [c for c in self.connections.values() if c.host == address]:
            del self.connections[connection.key]

    # ---- what becomes of a packet ----

    def _deliver(self, director: Director, connections: list[Connection], remembers: bool) -> None:
        path = director.path
        if path is None:
            return
        chains = path.chains(
            [connection.packets.goes_on for connection in connections],
            director.cache if remembers else None, self.cluster.now_s,
        )  # fmt: skip
        self.packets += len(chains)
        for connection, chain in zip(connections, chains, strict=True):
            why = self._fate(connection, chain, path.encapsulations.get(connection.service, ""))
            if why is not None:
                self._break(connection, director, why, remembers)

    def _fate(self, connection: Connection, chain: tuple[Hop, ...], encapsulation: str) -> str | None:
        """Return why a packet breaks its connection, or None when it does not."""
        if encapsulation != "gue" or self.protocols[connection.service] == "udp":
            chain = chain[:1]
        own = next((hop for hop in chain if hop.address == connection.host), None)
        for hop in chain:
            if hop.address == connection.host:
                return None
            if hop.address in self.dead:
                if not hop.unhealthy:
                    return None  # nobody knows yet: it is sent again later
                if own is not None and own.unhealthy:
                    return None  # it is promised while its own host is healthy
                return f"lost at {hop.address}, which is dead"
        return "reset by its last hop" if chain else "not forwarded"

    def _break(self, connection: Connection, director: Director, why: str, remembers: bool) -> None:
        told = self.cluster.was_told(connection.service, connection.host, connection.opened, director)
        excused = not self.strict or self.cluster.health_turned(connection.opened, director.compiled)
        if not told or not excused:
            raise BrokenPromiseError(
                f"{connection.key} on {connection.host}, opened by snapshot {connection.opened} at "
                f"{connection.born_s} s: {why}, at {director.name} with snapshot {director.compiled}, "
                f"{'cache and all' if remembers else 'without its cache'}; {'' if told else 'not '}reported"
            )
        service = self.cluster.document.service(connection.service)
        if remembers or (service is not None and service.flow_cache == "off"):
            self.broken += 1
            del self.connections[connection.key]
