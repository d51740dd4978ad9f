"""The fragment table in C against one told plainly, through random fragments, pauses and floods."""

import random
from typing import Any

import pytest
from oracle.fragments import Fragment, Table

from glbpy import _native as native

LEAST = 64  # datagrams and slots: GLB_FRAGMENTS_MIN
TIMEOUT, WAIT = 2000, 200
STEPS = 15_000

ffi, lib = native.ffi, native.lib


class Native:
    """The C table, in the twin's words."""

    def __init__(self, datagrams: int, slots: int) -> None:
        self.memory = ffi.new("uint64_t[]", lib.glb_fragments_bytes(datagrams, slots) // 8 + 1)
        self.c = ffi.new("struct glb_fragments *")
        lib.glb_fragments_init(self.c, self.memory, datagrams, slots, bytes(range(16)), TIMEOUT, WAIT)
        self.place, self.slot = ffi.new("uint32_t *"), ffi.new("struct glb_fragment_slot *")

    def fragment(self, f: Fragment) -> Any:
        made = ffi.new("struct glb_fragment *")
        made.src[0], made.dst[0], made.family, made.id = 10, 20, 4, f.number
        made.more, made.tcp, made.offset, made.len = f.more, f.tcp, f.offset, f.length
        made.header_len = f.header
        return made

    def wrong(self, f: Fragment) -> str | None:
        reason = native.REASONS[lib.glb_fragment_check(self.fragment(f))]
        return None if reason == "forwarded" else reason

    def first(self, f: Fragment, said: int, taken: bool, now: int) -> str:
        lib.glb_fragments_tidy(self.c)
        first = ffi.new("struct glb_fragment_first *", {"sport": said, "kind": 2, "taken": taken})
        return native.REASONS[lib.glb_fragments_first(self.c, self.fragment(f), first, now, self.place)]

    def later(self, f: Fragment, alone: bool, now: int) -> tuple[str, int | None]:
        lib.glb_fragments_tidy(self.c)
        reason = native.REASONS[lib.glb_fragments_later(self.c, self.fragment(f), alone, now, self.place)]
        if reason == "forwarded" and lib.glb_fragments_must_wait(self.c, self.place[0]):
            return "wait", None
        said = lib.glb_fragments_said(self.c, self.place[0]).sport or None
        return reason, None if reason == "later_fragment" else said

    def let_wait(self, buffer: int) -> bool:
        return bool(lib.glb_fragments_wait(self.c, self.place[0], ffi.NULL, buffer))

    def released(self) -> list[int]:
        found = []
        while lib.glb_fragments_release(self.c, self.slot, 1):
            found.append(self.slot.tag)
        return found

    def lost(self) -> list[tuple[int, str]]:
        found = []
        while lib.glb_fragments_lost(self.c, self.slot):
            found.append((self.slot.tag, native.REASONS[self.slot.reason]))
        return found


def some(rng: random.Random, datagrams: int) -> Fragment:
    """A fragment of one of so many datagrams of five pieces; now and then a strange one."""
    index, number = rng.randrange(5), rng.randrange(datagrams)
    if rng.random() < 0.03:
        offset = rng.choice((8, 16, 24, 65528, rng.randrange(0, 65536, 8)))
        return Fragment(number, offset, rng.randrange(1000), rng.random() < 0.8, rng.random() < 0.5)
    return Fragment(number, index * 64, 64 if index < 4 else rng.choice((1, 33, 64)), index < 4)


@pytest.mark.parametrize(("seed", "datagrams"), [(1, 20), (2, 300), (3, 2000)])
def test_agrees_with_its_twin(seed: int, datagrams: int) -> None:
    """Few datagrams overlap and complete; many push each other out."""
    rng = random.Random(seed)
    table, twin = Native(LEAST, LEAST), Table(LEAST, LEAST, TIMEOUT, WAIT)
    now, seen = 0, set[str]()
    for step in range(1, STEPS + 1):
        fragment = some(rng, datagrams)
        wrong = table.wrong(fragment)
        assert wrong == fragment.wrong()
        now += rng.choice((0, 0, 1, 5, 60))
        lib.glb_fragments_expire(table.c, now)
        twin.expire(now)
        if wrong:
            seen.add(wrong)
        elif fragment.offset == 0:
            said, taken = step % 65535 + 1, rng.random() < 0.9
            result = table.first(fragment, said, taken, now)
            assert result == twin.first(fragment, said, taken, now), step
            seen.add(result)
        else:
            alone = rng.random() < 0.1
            found, expected = table.later(fragment, alone, now), twin.later(fragment, alone, now)
            assert found == expected, step
            seen.add(found[0])
            for _ in range(2 if found[0] == "wait" else 0):
                waits = table.let_wait(step)
                assert waits == twin.let_wait(fragment.number, step)
                if waits:
                    break
                assert table.lost() == twin.lost
                seen.update(reason for _, reason in twin.lost)
                twin.lost.clear()
        assert table.released() == twin.released
        assert table.lost() == twin.lost, step
        seen.update(reason for _, reason in twin.lost)
        twin.released.clear()
        twin.lost.clear()
        assert (table.c.count[0], table.c.count[1]) == (len(twin.known), len(twin.waiting)), step
        assert table.c.waiting == twin.held()
    assert seen >= {"forwarded", "wait", "later_fragment", "fragment_overlap", "fragment_timeout"}
    assert seen >= {"fragment_endless", "fragment_tiny", "fragment_bad_length"}
