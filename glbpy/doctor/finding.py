"""What a check says."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer of one check. ``mend`` says what to do; it is empty when all is well.

    ``fail``: glbpy, or one of its programs, cannot work as the machine is. ``warn``: it works, but less
    well, or not in every way.
    """

    check: str
    status: Status
    message: str
    mend: str = ""
