"""Read a forwarder's counters from the file that it keeps in shared memory. Never disturbs the forwarder."""

import mmap
import os

from glbpy import _native
from glbpy._native import Counters, Traffic
from glbpy.errors import ForwarderError, GlbError

__all__ = ["Counters", "Traffic", "read"]


def read(path: str | os.PathLike[str]) -> Counters:
    """Return the counters in the file at ``path`` (``stats_path`` of a forwarder's status).

    Raises ForwarderError when there is none (the forwarder is not running) or it cannot be understood.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _native.read_counters(data)
    except OSError as error:
        raise ForwarderError(f"{path}: {error.strerror}: is the forwarder running?", "no_counters") from error
    except (GlbError, ValueError) as error:  # ValueError: mmap of an empty file
        raise ForwarderError(f"{path}: {error}", "no_counters") from error
