"""The one that works: takes jobs in their order, makes them, and stops at a step when told to."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from crafts.core.errors import CraftsError
from crafts.core.runtime import heard_by, pick_device
from crafts.server.config import ServeConfig
from crafts.server.pictures import note_pictures
from crafts.server.processes import run_command
from crafts.server.requests import generate_values, place_of
from crafts.server.store import CANCELLED, DONE, FAILED, Job, Store

if TYPE_CHECKING:
    from crafts.api import Model

MOST_ATTEMPTS = 5
"""Starts of a job without a new picture, after which it is held to be what ends the process."""
_KEPT_LINES = 200


class Stopped(Exception):  # noqa: N818
    """Raised inside a run at a sampler step; says what becomes of the job."""


@dataclass
class Live:
    """What only memory knows of a running job."""

    job: Job
    since: float = field(default_factory=time.monotonic)
    step: int = 0
    done: int = 0
    first: int = 0
    lines: list[str] = field(default_factory=list)


class Worker(threading.Thread):
    """A thread that holds the model.

    Args:
        config: of the server.
        store: of its jobs.
        changed: told the owner and the id of a job of which something changed.
    """

    def __init__(
        self, config: ServeConfig, store: Store, changed: Callable[[str, str], None]
    ) -> None:
        super().__init__(name="model", daemon=True)
        self.config, self.store, self.changed = config, store, changed
        self.model: Model | None = None
        self.fault: CraftsError | None = None
        self.live: Live | None = None
        self.seconds: dict[str, float] = {}  # a picture of a preset, as last measured
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._cancelled: set[str] = set()

    @property
    def ready(self) -> bool:
        """Whether jobs can be made."""
        return self.model is not None and not self._closing.is_set()

    @property
    def closing(self) -> bool:
        """Whether the server ends."""
        return self._closing.is_set()

    def notify(self) -> None:
        """There is a new job."""
        self._wake.set()

    def cancel(self, job: Job) -> None:
        """End a job; a running one at its next sampler step, with the pictures that it has."""
        self._cancelled.add(job.id)
        live = self.live
        if live is None or live.job.id != job.id:
            self.store.end(job.id, CANCELLED)
            self.changed(job.owner, job.id)

    def close(self, seconds: float = 30.0) -> None:
        """Hand the running job back to the queue at its next step, and end."""
        self._closing.set()
        self._wake.set()
        if self.is_alive():
            self.join(seconds)

    def run(self) -> None:
        """Load the model, then make jobs until told to end."""
        try:
            self.model = self._load()
        except CraftsError as error:
            self.fault = error
            return
        except Exception as error:  # a thread that ends without a word would be waited for
            self.fault = CraftsError(
                "model",
                came=f"{type(error).__name__} {error}"[:300],
                allowed="a model that can be loaded",
                do="Check the model with `crafts doctor`, then start again.",
            )
            return
        while not self._closing.is_set():
            self._wake.clear()
            job = self.store.take()
            if job is None:
                self._wake.wait(5.0)
                continue
            self._work(job)

    def _load(self) -> Model:
        from crafts.api import Model
        from crafts.model.bundle import load_bundle

        bundle = load_bundle(self.config.model).to(pick_device(self.config.device))
        return Model(bundle)

    def _work(self, job: Job) -> None:
        self.live = Live(job)
        self.changed(job.owner, job.id)
        state, error = DONE, None
        try:
            if job.attempts > MOST_ATTEMPTS:
                raise _fault(job, f"{MOST_ATTEMPTS} starts, none of which came to a picture")
            with heard_by(self._hear):
                self._check()
                self._make(job)
        except Stopped as stop:
            state, error = str(stop), None
            if state == FAILED:
                error = _fault(job, "a deadline that is over").__dict__
        except CraftsError as wrong:
            state, error = FAILED, wrong.__dict__
        except Exception as wrong:  # a job must not end the server
            state, error = FAILED, self._unforeseen(job, wrong).__dict__
        finally:
            self._cancelled.discard(job.id)
        if state == "queued":
            self.store.hand_back(job.id)
        else:
            parts = ("where", "came", "allowed", "do")
            said = {part: str(error[part])[:1000] for part in parts} if error else None
            self.store.end(job.id, state, said)
        self.live = None
        self.changed(job.owner, job.id)

    def _make(self, job: Job) -> None:
        if job.kind != "pictures":
            run_command(job, self.config, self.store, tick=self._tick, hear=self._hear)
            return
        from crafts import api

        assert self.model is not None and self.live is not None
        folder = place_of(self.config, job.id) / "out"
        self.live.first = self.live.done = note_pictures(self.store, job, folder)
        # its first layer: each step goes through it once, the network's own `forward` need not run
        first = self.model.bundle.denoiser.conv_in
        hook = first.register_forward_pre_hook(lambda *_: self._step(folder))
        try:
            config = api.configure("generate", generate_values(self.config, job))
            api.generate(config, folder, model=self.model)
        finally:
            hook.remove()
            self._note(folder)

    def _step(self, folder: Path) -> None:
        """Before every call of the denoiser: look at what is finished, and whether to go on."""
        assert self.live is not None
        self.live.step = 1 if self._note(folder) else self.live.step + 1
        self._tick()

    def _note(self, folder: Path) -> bool:
        assert self.live is not None
        live = self.live
        found = note_pictures(self.store, live.job, folder)
        new, live.done = found > live.done, found
        if new:
            made = max(1, live.done - live.first)
            preset = str(live.job.request.get("preset", ""))
            self.seconds[preset] = (time.monotonic() - live.since) / made
        return new

    def _tick(self) -> None:
        """Say how it goes; stop a job that is cancelled, paused or overdue, or at the end."""
        assert self.live is not None
        self.changed(self.live.job.owner, self.live.job.id)
        self._check()

    def _check(self) -> None:
        assert self.live is not None
        job = self.live.job
        if job.id in self._cancelled:
            raise Stopped(CANCELLED)
        if self._closing.is_set() or self.store.is_paused(job.owner):
            raise Stopped("queued")
        if time.time() > job.deadline:
            raise Stopped(FAILED)

    def _hear(self, line: str) -> None:
        """A line of progress, for the job's owner alone: it may hold words of a prompt."""
        if self.live is not None:
            self.live.lines.append(line[:500])
            del self.live.lines[:-_KEPT_LINES]

    def _unforeseen(self, job: Job, error: Exception) -> CraftsError:
        path = place_of(self.config, job.id) / "fault.txt"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        except OSError:
            pass
        return _fault(job, f"a fault of the program ({type(error).__name__})")


def _fault(job: Job, came: str) -> CraftsError:
    return CraftsError(
        f"job {job.id}",
        came=came,
        allowed="a job that comes to its end",
        do="Ask for less at once, or try again; pictures that are finished stay.",
    )
