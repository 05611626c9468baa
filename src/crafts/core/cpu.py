"""How this process uses a CPU that others may use, too: threads, and memory of large arrays.

Threads of one operation wait for each other. On cores that are busy with other work the last of
them comes late, the others spin, and an operation of a millisecond takes a hundred. So a process
takes as many threads as cores are free when it starts, and waits without spinning. A single thread
waits for nobody.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import MutableMapping

THREADS = "OMP_NUM_THREADS"
_PASSIVE = {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0"}
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_KEPT = 2**30  # bytes; glibc gives larger arrays back at once, and gets them anew for each layer


def free_cores(cores: int, load: float) -> int:
    """Cores that other work leaves free, at least one.

    Args:
        cores: that this process may run on.
        load: processes that run or wait to run, as a mean over the last minute.
    """
    return max(1, min(cores, round(cores - load)))


def settle(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set threads and memory of this process, once, before torch is loaded.

    What the user has set stays. Processes that this one starts inherit it.

    Args:
        environment: variables of the process; is changed.
    """
    if "torch" in sys.modules:  # a host program's own choice
        return
    for name, value in _PASSIVE.items():
        environment.setdefault(name, value)
    environment.setdefault(
        THREADS, str(free_cores(len(os.sched_getaffinity(0)), os.getloadavg()[0]))
    )
    _keep_memory()


def _keep_memory() -> None:
    """Let arrays of one layer lie where those of the last lay; each new page costs a fault."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # of glibc
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _KEPT)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
