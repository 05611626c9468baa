"""The parts of a running server, and what can be done with its jobs."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from crafts.core.errors import ConfigError, RetryError
from crafts.generation.request import parse_powers
from crafts.server.access import Tokens
from crafts.server.config import ServeConfig
from crafts.server.errors import MissingError, QueueFullError
from crafts.server.events import Changes
from crafts.server.folders import find_folder
from crafts.server.pictures import count_pictures
from crafts.server.requests import (
    describe_command,
    describe_python,
    place_of,
    same,
    shared_values,
)
from crafts.server.schemas import DatasetRequest, JobView, PicturesRequest, PictureView
from crafts.server.slides import Zoom, slide_of
from crafts.server.store import ENDED, QUEUED, RUNNING, Job, Store
from crafts.server.worker import Worker

if TYPE_CHECKING:
    from crafts.model.bundle import Bundle

_MOST_STEPS = 200
_MOST_BATCH = 16


class Studio:
    """All that the routes speak to.

    Args:
        config: of the server; its data folder is held by this process.
        tokens: that are let in.
    """

    def __init__(self, config: ServeConfig, tokens: Tokens) -> None:
        self.config, self.tokens = config, tokens
        for name in ("jobs", "uploads", "shared"):
            (config.data / name).mkdir(parents=True, exist_ok=True)
        self.store = Store(config.data / "studio.sqlite")
        self.woken = self.store.wake()
        self.changes = Changes()
        self.worker = Worker(config, self.store, self.changes.tell)
        self.zoom = Zoom(config, self.store)

    def close(self) -> None:
        """Hand back what runs and let go of the database."""
        self.changes.close()
        self.worker.close()
        self.zoom.close()
        self.store.close()

    @property
    def side(self) -> int:
        """Edge in pixels of a tile of the model.

        Raises:
            RetryError: it is not loaded yet.
        """
        return self._loaded().native_size

    @property
    def mpp(self) -> float | None:
        """Microns per pixel of the model's tiles; None where it does not say."""
        mpp = self._loaded().mpp
        return float(mpp) if isinstance(mpp, int | float) else None

    def presets(self) -> dict[str, dict[str, Any]]:
        """What each preset does with this model; without guidance until it is loaded."""
        from crafts.sampling.presets import PRESETS, resolve_preset

        model = self.worker.model
        extra = model.bundle.extra if model is not None else {}
        found = {name: resolve_preset(name, extra=extra) for name in PRESETS}
        return {
            name: {"steps": one.num_steps, "guidance": one.guidance_scale, "solver": one.solver}
            for name, one in found.items()
        }

    def _loaded(self) -> Bundle:
        model = self.worker.model
        if model is None:
            raise RetryError(
                "model", came="one that is being loaded", allowed="a loaded one", do="Wait."
            )
        return model.bundle

    def submit(
        self, owner: str, request: Any, *, key: str | None = None, deadline_s: float | None = None
    ) -> tuple[Job, bool]:
        """Put a job into the queue.

        Args:
            owner: whose it is.
            request: one of the requests of ``schemas``.
            key: idempotency key; the same one with the same request is the same job.
            deadline_s: seconds until it must have ended.

        Returns:
            The job, and whether it is new.

        Raises:
            CraftsError: what a command would refuse, too; a key that stands for another request.
            QueueFullError: too many wait.
        """
        values = request.model_dump(mode="json")
        total = self._check(owner, request)
        if key is not None and (earlier := self.store.by_key(owner, key)):
            if not same(earlier.request, values):
                raise _refused("Idempotency-Key", "a key of another request", "a new key")
            return earlier, False
        waiting = self.store.waiting()
        if len(waiting) >= self.config.max_queue:
            raise QueueFullError(self.config.max_queue, self._seconds_until_room(waiting))
        seconds = min(deadline_s or self.config.max_seconds, self.config.max_seconds)
        job = self.store.add(
            {
                "id": secrets.token_hex(12),
                "owner": owner,
                "kind": request.kind,
                "request": values,
                "total": total,
                "deadline": time.time() + seconds,
                "key": key,
            }
        )
        self.worker.notify()
        self.changes.tell(owner, job.id)
        return job, True

    def job(self, owner: str, job: str) -> Job:
        """A job of an owner.

        Raises:
            MissingError: there is none; another owner's is none, either.
        """
        found = self.store.get(job, owner)
        if found is None:
            raise MissingError("job", job)
        return found

    def cancel(self, job: Job) -> None:
        """End a job early; one that has ended stays as it is."""
        if job.state not in ENDED:
            self.worker.cancel(job)

    def pause(self, owner: str, paused: bool) -> None:
        """Let the jobs of an owner wait from their next sampler step on, or go on."""
        self.store.pause(owner, paused)
        self.worker.notify()

    def delete(self, job: Job) -> None:
        """Remove a job and all that it made.

        Raises:
            ConfigError: it runs.
        """
        if job.state == QUEUED:
            self.worker.cancel(job)
        elif job.state == RUNNING:
            raise _refused(
                f"job {job.id}", "a job that runs", "one that has ended; cancel it first"
            )
        self.store.remove(job.id)
        shutil.rmtree(place_of(self.config, job.id), ignore_errors=True)
        self.changes.tell(job.owner, job.id)

    def view(self, job: Job) -> JobView:
        """A job as its owner sees it."""
        live = self.worker.live
        live = live if live is not None and live.job.id == job.id else None
        pictures = [
            _picture(job, name, facts) for name, facts in self.store.pictures(job.id).items()
        ]
        is_pictures = job.kind == "pictures"
        steps = self._steps(job) if live else 0
        done = count_pictures(place_of(self.config, job.id), job.kind) or len(pictures)
        share = self._share(job, done, live.step / steps if live and steps else 0.0)
        ahead, eta = self._place(job, share)
        base = f"/api/v1/jobs/{job.id}"
        whole = job.state == "done"
        judged = whole and job.kind in ("evaluate", "audit")
        return JobView(
            **{name: getattr(job, name) for name in ("id", "number", "kind", "state", "total")},
            request=dict(job.request),
            at=job.read,
            created=job.created,
            started=job.started,
            ended=job.ended,
            done=done,
            share=share,
            step=live.step if live else 0,
            num_steps=steps,
            ahead=ahead,
            eta_s=eta,
            note=live.lines[-1] if live and live.lines else "",
            error=job.error,
            command=describe_command(self.config.model, job.request) if is_pictures else "",
            python=describe_python(self.config.model, job.request) if is_pictures else "",
            report=f"{base}/report" if judged else None,
            download=f"{base}/download" if pictures or (whole and not judged) else None,
            facts=dict(job.facts),
            pictures=pictures,
            slide=job.id if slide_of(self.config, job.id) else None,
        )

    def _check(self, owner: str, request: Any) -> int:
        """What a command would refuse is refused here; returns the pictures that are asked for."""
        if isinstance(request, PicturesRequest):
            return self._check_pictures(owner, request)
        if isinstance(request, DatasetRequest):
            return self._check_dataset(request)
        for name in ("generated", "real", "train", "heldout"):
            if folder := getattr(request, name, None):
                find_folder(self.config, self.store, owner, folder)
        return 0

    def _check_dataset(self, request: DatasetRequest) -> int:
        labels = [row.label for row in request.classes]
        if len(set(labels)) < len(labels):
            raise _refused("classes", "a label twice", "each label once")
        total = request.per_class * len(labels)
        limit = self.config.max_set
        if total > limit:
            raise _refused("classes x per_class", f"{total} pictures", f"at most {limit}")
        return total

    def _check_pictures(self, owner: str, request: Any) -> int:
        from crafts import api

        limit = self.config.max_pictures
        powers = len(parse_powers(request.mpp)) or 1
        total = len(request.prompts) * request.num_images * powers
        if not 1 <= total <= limit:
            raise _refused("prompts x num_images", f"{total} pictures", f"1 to {limit} in one job")
        if (request.num_steps or 1) > _MOST_STEPS:
            raise _refused("num_steps", str(request.num_steps), f"at most {_MOST_STEPS}")
        if request.size is not None:
            self._check_size(request.size, total)
        if request.batch_size > _MOST_BATCH:
            raise _refused("batch_size", str(request.batch_size), f"at most {_MOST_BATCH}")
        kinds = [one.kind for one in request.control]
        if len(set(kinds)) < len(kinds):
            raise _refused("control", "one kind twice", "each kind once")
        for one in request.control:
            self._check_control(owner, one)
        api.configure("generate", shared_values(request))
        return total

    def _check_size(self, size: str, total: int) -> None:
        width, height = (int(size.split("x")[place]) for place in (0, -1))
        if width * height > self.config.max_pixels:
            raise _refused("size", size, f"at most {self.config.max_pixels} pixels")
        if total > 1:
            raise _refused("size", f"{total} pictures of a size", "one slide in a job")

    def _check_control(self, owner: str, control: Any) -> None:
        if (control.upload is None) == (control.sample is None):
            raise _refused("control", "not one of upload and sample", "one of them")
        if control.start >= control.stop:
            raise _refused("control", f"start {control.start:g}", f"below stop, {control.stop:g}")
        if control.sample is not None:
            from crafts.server.layouts import tissues

            if control.kind != "nuclei" or control.sample not in tissues():
                raise _refused("control: sample", control.sample, ", ".join(tissues()))
        elif self.store.upload_kind(control.upload, owner) != control.kind:
            raise MissingError(f"upload of {control.kind}", control.upload)

    def _steps(self, job: Job) -> int:
        """Sampler steps of a picture; 0 where the job is none of pictures."""
        preset = self.presets().get(str(job.request.get("preset")), {})
        number = job.request.get("num_steps") or preset.get("steps", 0)
        return int(number) if job.kind == "pictures" else 0

    def _share(self, job: Job, done: int, of_batch: float) -> float:
        if job.state == "done":
            return 1.0
        if not job.total:
            return 0.0
        batch = int(job.request.get("batch_size", 1))
        working = min(batch, job.total - done) * of_batch
        return min(1.0, (done + working) / job.total)

    def _place(self, job: Job, share: float) -> tuple[int, float | None]:
        """Jobs before it, and seconds until it ends; None where nobody knows."""
        if job.state in ENDED:
            return 0, None
        live = self.worker.live
        each = self.worker.seconds.get(str(job.request.get("preset", "")))
        if job.state == RUNNING:
            return 0, each * job.total * (1 - share) if each and job.total else None
        waiting = self.store.waiting()
        before = [total for _, total in waiting]
        place = next((n for n, (name, _) in enumerate(waiting) if name == job.id), 0)
        ahead = place + (live is not None)
        usual = each or next(iter(self.worker.seconds.values()), None)
        if usual is None or not all(before[:place]):
            return ahead, None
        running = max(0, live.job.total - live.done) if live else 0
        return ahead, usual * (running + sum(before[: place + 1]))

    def _seconds_until_room(self, waiting: list[tuple[str, int]]) -> int:
        each = max(self.worker.seconds.values(), default=5.0)
        return max(1, min(600, round(each * max(1, waiting[0][1]))))


def _picture(job: Job, name: str, facts: Mapping[str, Any]) -> PictureView:
    return PictureView(name=name, url=f"/api/v1/jobs/{job.id}/pictures/{name}.png", **facts)


def _refused(where: str, came: str, allowed: str) -> ConfigError:
    return ConfigError(where, came=came, allowed=allowed, do="Correct the request.")
