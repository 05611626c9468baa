"""The work of ``crafts tile`` on the machines of a Ray cluster, task by task.

Ray's own tasks and not Ray Data: a task that crashes or hangs must cost its slide and no other, and
Ray Data gives up a whole block of items. Slides and output lie on a disk that all machines share.
"""

from __future__ import annotations

import time
from typing import Any

from crafts.core.errors import ConfigError
from crafts.slides.running.processes import CRASHED, Task, fault_of, late_fault, work_of


class RayCrew:
    """Runs tasks as Ray tasks, each in a process of its own; see :class:`processes.Crew`.

    Args:
        size: tasks at once; 0 takes one a CPU of the cluster.
        seconds: after which a task is killed.

    Raises:
        ConfigError: Ray is not installed.
    """

    def __init__(self, size: int, seconds: float) -> None:
        self._ray = _import_ray()
        if not self._ray.is_initialized():  # RAY_ADDRESS names a cluster; without it, this machine
            self._ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
        # max_calls: a library that was left in disorder is not used again
        self._remote = self._ray.remote(num_cpus=1, max_retries=0, max_calls=1)(work_of)
        self._size = size or max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        self._seconds = seconds
        self._running: dict[Any, tuple[Task, float]] = {}

    @property
    def has_room(self) -> bool:
        """Whether another task may start."""
        return len(self._running) < self._size

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs."""
        return not self._running

    def start(self, task: Task) -> None:
        """Hand a task to the cluster."""
        reference = self._remote.remote(task.work, task.arguments)
        self._running[reference] = task, time.monotonic() + self._seconds

    def wait(self) -> tuple[Task, str]:
        """The next task that ended, and why it failed; "" when it did not.

        Raises:
            RetryError: it found the disk full.
        """
        first = min(deadline for _, deadline in self._running.values())
        left = max(0.0, first - time.monotonic())
        ended, _ = self._ray.wait(list(self._running), num_returns=1, timeout=left)
        if not ended:
            reference = min(self._running, key=lambda key: self._running[key][1])
            self._ray.cancel(reference, force=True)
            return self._running.pop(reference)[0], late_fault(self._seconds)
        task, _ = self._running.pop(ended[0])
        try:
            return task, fault_of(self._ray.get(ended[0]))
        except self._ray.exceptions.WorkerCrashedError:
            return task, CRASHED
        except self._ray.exceptions.RayTaskError:
            return task, fault_of(1)

    def close(self) -> None:
        """End what still runs."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._running.clear()


def _import_ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise ConfigError(
            "runner",
            came="'ray', which is not installed",
            allowed="processes, or ray where it is installed",
            do="pip install 'crafts[dist]', or split the slides with --shard K/N.",
        ) from None
    return ray
