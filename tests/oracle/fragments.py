"""A fragment table told plainly: every datagram a dictionary entry, what has gone by of it a set.

Written from docs/fragments.md and native/include/glb/fragments.h. Slow, and with no limits but those given.
"""

from dataclasses import dataclass, field

OF_DATAGRAM_MAX = 64  # that wait
LENGTH_MAX = 65535


@dataclass(frozen=True)
class Fragment:
    number: int  # which datagram
    offset: int
    length: int
    more: bool
    tcp: bool = False
    header: int = 20

    def wrong(self) -> str | None:
        """What is wrong with it by itself."""
        if self.header + self.offset + self.length > LENGTH_MAX:
            return "fragment_endless"
        if self.length == 0 or (self.more and self.length % 8):
            return "fragment_bad_length"
        return "fragment_tiny" if self.tcp and 0 < self.offset < 20 else None


@dataclass
class Datagram:
    deadline: int
    known: bool  # its first fragment has come, or nobody needs to wait for that
    taken: bool = True
    alone: bool = False  # the first has not come, and nobody waits
    said: int | None = None
    gone: set[int] = field(default_factory=set)
    end: int | None = None
    bad: bool = False
    waiting: list[int] = field(default_factory=list)
    reached: int = 0

    def goes(self, fragment: Fragment) -> str:
        """Let a fragment go by, or say why not."""
        mine = set(range(fragment.offset // 8, -(-(fragment.offset + fragment.length) // 8)))
        last = fragment.offset + fragment.length
        farthest = max(self.reached, last)
        lies = self.end is not None and (last >= self.end if fragment.more else last != self.end)
        if self.bad or lies or (not fragment.more and farthest > last):
            self.bad = True
            return "fragment_overlap"
        self.reached = farthest
        self.end = self.end if fragment.more else last
        if mine & self.gone:
            self.bad = bool(mine - self.gone)
            self.gone |= mine
            return "fragment_overlap"
        self.gone |= mine
        return "forwarded"

    @property
    def complete(self) -> bool:
        return not self.bad and self.end is not None and len(self.gone) == -(-self.end // 8)


class Table:
    """The order of the dictionaries is that of age."""

    def __init__(self, datagrams: int, slots: int, timeout: int, wait: int) -> None:
        self.limits, self.slots, self.timeout, self.wait_for = (datagrams, slots), slots, timeout, wait
        self.known: dict[int, Datagram] = {}
        self.waiting: dict[int, Datagram] = {}
        self.released: list[int] = []
        self.lost: list[tuple[int, str]] = []

    def held(self) -> int:
        return sum(len(each.waiting) for each in self.waiting.values()) + len(self.released) + len(self.lost)

    def _give_up(self, number: int, reason: str) -> None:
        self.lost += [(buffer, reason) for buffer in self.waiting.pop(number).waiting]

    def _begin(self, number: int, datagram: Datagram) -> Datagram:
        if datagram.known:
            if len(self.known) == self.limits[0]:
                del self.known[next(iter(self.known))]
            self.known[number] = datagram
        else:
            if len(self.waiting) == self.limits[1]:
                self._give_up(next(iter(self.waiting)), "fragment_no_room")
            self.waiting[number] = datagram
        return datagram

    def _goes(self, fragment: Fragment) -> str:
        datagram = self.known[fragment.number]
        result = datagram.goes(fragment)
        if result == "forwarded" and datagram.complete:
            del self.known[fragment.number]
        return result

    def first(self, fragment: Fragment, said: int, taken: bool, now: int) -> str:
        number = fragment.number
        if number in self.waiting:
            self.released += self.waiting.pop(number).waiting
            self._begin(number, Datagram(now + self.timeout, True, taken, said=said))
        elif number not in self.known:
            self._begin(number, Datagram(now + self.timeout, True, taken, said=said))
        elif self.known[number].alone:
            one = self.known[number]
            one.alone, one.said, one.taken = False, said, taken
        return self._goes(fragment)

    def later(self, fragment: Fragment, alone: bool, now: int) -> tuple[str, int | None]:
        """What becomes of it ("wait": it has to), and what the first one said."""
        number = fragment.number
        if number not in self.known and number not in self.waiting:
            if not alone:
                self._begin(number, Datagram(now + self.wait_for, False))
                return "wait", None
            self._begin(number, Datagram(now + self.timeout, True, alone=True))
        if number in self.waiting:
            return "wait", None
        datagram = self.known[number]
        if not datagram.taken:
            return "later_fragment", None
        return self._goes(fragment), datagram.said

    def let_wait(self, number: int, buffer: int) -> bool:
        datagram = self.waiting[number]
        if len(datagram.waiting) == OF_DATAGRAM_MAX:
            return False
        if self.held() == self.slots:
            oldest = next(iter(self.waiting))
            if not self.lost and oldest != number:
                self._give_up(oldest, "fragment_no_room")
            return False
        datagram.waiting.append(buffer)
        return True

    def expire(self, now: int) -> None:
        self.known = {number: each for number, each in self.known.items() if each.deadline > now}
        for number in [number for number, each in self.waiting.items() if each.deadline <= now]:
            self._give_up(number, "fragment_timeout")
