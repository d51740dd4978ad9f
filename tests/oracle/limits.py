"""Limits of services told plainly, in fractions: docs/protection.md, native/include/glb/guard.h.

Each worker has a bucket for each limit; the service's limit is shared out among them from time to time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

SYN, ACK = 0x02, 0x10
EQUAL = Fraction(1, 17)  # of a limit: shared out equally in any case


@dataclass
class Share:
    rate: Fraction  # a second
    burst: Fraction


@dataclass
class Bucket:
    share: Share
    tokens: Fraction | None = None  # None: nobody has asked; it is full
    then_ns: int = 0
    asked: int = 0

    def level(self, now_ns: int) -> Fraction:
        """What is in it. A step back in time counts as no time."""
        if self.tokens is None:
            return self.share.burst
        passed = Fraction(max(0, now_ns - self.then_ns), 10**9)
        return min(self.tokens + passed * self.share.rate, self.share.burst)

    def take(self, now_ns: int) -> bool:
        self.asked += 1
        self.tokens, self.then_ns = self.level(now_ns), now_ns
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass
class Limits:
    """A service's on one worker; a bucket that is None is no limit."""

    packets: Bucket | None
    flows: Bucket | None
    refused: dict[str, int] = field(default_factory=lambda: {"packets_limited": 0, "flows_limited": 0})

    def judge(self, flags: int, now_ns: int) -> str:
        """Of a TCP packet with these flags: a connection begins with SYN, and counts for both limits."""
        if self.packets and not self.packets.take(now_ns):
            return self._refuse("packets_limited")
        if self.flows and flags & (SYN | ACK) == SYN and not self.flows.take(now_ns):
            return self._refuse("flows_limited")
        return "forwarded"

    def _refuse(self, reason: str) -> str:
        self.refused[reason] += 1
        return reason


def share_out(rate: int, burst: int, asked: Sequence[int], seconds: Fraction) -> list[Share]:
    """Return each worker's part, by what each was asked for in these seconds."""
    wanted = [count / seconds for count in asked]
    if sum(wanted) <= rate * (1 - EQUAL):
        rates = [own + (rate - sum(wanted)) / len(wanted) for own in wanted]
    else:
        rates = [rate * ((1 - EQUAL) * own / sum(wanted) + EQUAL / len(wanted)) for own in wanted]
    return [Share(each, max(Fraction(1), burst * each / rate)) for each in rates]
