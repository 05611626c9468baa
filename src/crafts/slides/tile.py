"""Stage: whole-slide images in, a folder of tiles with coordinates out. Finished slides are kept.

Every slide is planned in a process of its own and cut in blocks, each again in its own; what a
damaged file does to a library costs that slide and nothing else. The bytes of the output do not
depend on the number of processes, on shards, or on how often the run was killed.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from crafts.core.artifacts import (
    MANIFEST,
    Manifest,
    finish,
    lock,
    refuse_other_run,
    sha256_bytes,
    sha256_file,
)
from crafts.core.crew import Crew, Hands, Task, open_hands
from crafts.core.disk import raise_disk_full, retry_when_full
from crafts.core.errors import ConfigError, DataError
from crafts.core.records import Ledger, rejects_beside
from crafts.core.runtime import say
from crafts.slides.config import TileConfig
from crafts.slides.output.origin import take_over
from crafts.slides.output.publish import (
    FOLDERS,
    TILES,
    Finished,
    collect,
    find_finished,
    publish,
    read_plan,
    write_listing,
)
from crafts.slides.reading.naming import one_value
from crafts.slides.reading.reader import LIBRARIES
from crafts.slides.reading.resolution import SlideReadError, load_overrides
from crafts.slides.reading.slide_files import (
    SlideFile,
    identity,
    list_sources,
    load_patients,
    patient_of,
    require_text,
)
from crafts.slides.siting.places import FindPlaces, Places, load_places, require_places
from crafts.slides.siting.regions import find_region_file
from crafts.slides.work import SlideJob, cut_block, plan_slide

__all__ = ["TileConfig", "run"]

_WORK = ".work"
_PRELOAD = ("crafts.slides.work", *LIBRARIES)
Block = Task[tuple[str, int | None]]
"""Named by its slide and its first tile; None: the plan of the slide."""


@dataclass
class _Progress:
    """A slide on its way: what it is, and which of its blocks are still to come."""

    job: SlideJob
    key: str
    open_blocks: set[int] = field(default_factory=set)
    starts: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Tables:
    """What the user says, by name of the slide: resolution, patient (None: nothing), places."""

    mpp: dict[str, float]
    patients: dict[str, str] | None
    places: FindPlaces | None


@dataclass
class _Run:
    """What is done and what is to do: slides that wait, tasks that are ready, slides half done."""

    config: TileConfig
    tables: _Tables
    output: Path
    waiting: deque[SlideFile]
    ready: deque[Block] = field(default_factory=deque)
    busy: dict[str, _Progress] = field(default_factory=dict)
    found: dict[str, Finished] = field(default_factory=dict)
    patients: dict[str, str] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)

    def next_task(self) -> Block | None:
        """A block of a slide that is planned, else the plan of the next slide."""
        if self.ready:
            return self.ready.popleft()
        while self.waiting:
            source = self.waiting.popleft()
            try:
                progress = self._begin(source)
            except DataError as error:
                self._reject(source.name, str(error))
                continue
            except OSError as error:
                raise_disk_full(error, self.output)
                self._reject(source.name, f"{source.path}: {error.strerror or error}")
                continue
            if progress:
                self.busy[source.name] = progress
                return Task((source.name, None), plan_slide, (progress.job,))
        return None

    def settle(self, task: Block, fault: str) -> None:
        """Take note of a task that ended; the last one of a slide finishes it."""
        name, start = task.name
        if name in self.faults:  # another block of it failed before
            return
        progress = self.busy[name]
        if not fault and start is None:
            fault = self._plan_blocks(progress)
        elif start is not None:
            progress.open_blocks.discard(start)
        if not fault and not progress.open_blocks:
            fault = self._finish(progress)
        if fault:
            self._reject(name, fault)

    def _begin(self, source: SlideFile) -> _Progress | None:
        """Take over a finished slide, or prepare a folder to work in."""
        require_text(source)
        self.patients[source.name] = patient_of(source, self.tables.patients)
        mpp = self.tables.mpp.get(source.name)
        places = require_places(self.tables.places, source, self.config.coordinates)
        key = _key(source, mpp, places, self.config)
        finished = find_finished(self.output / TILES / source.name, key)
        if finished:
            self.found[source.name] = finished
            return None
        if (self.output / TILES / source.name).exists():  # it stays until the new tiles are there
            say(
                f"tile: {source.name} is cut again: the slide, the configuration, its row in a "
                "table or its regions changed, or a tile is gone"
            )
        # a name of its own: a process of a run that was killed may still write into its old folder
        folder = self.output / _WORK / f"{os.getpid()}-{source.name}"
        folder.mkdir()
        return _Progress(SlideJob(source.name, source.path, mpp, self.config, folder, places), key)

    def _plan_blocks(self, progress: _Progress) -> str:
        job = progress.job
        plan = read_plan(job.folder)
        if plan["fault"]:
            return str(plan["fault"])
        step, count = self.config.block_tiles, len(plan["tiles"])
        progress.starts = tuple(range(0, count, step))
        progress.open_blocks = set(progress.starts)
        self.ready.extend(
            Task((job.name, at), cut_block, (job, at, min(at + step, count)))
            for at in progress.starts
        )
        return ""

    def _finish(self, progress: _Progress) -> str:
        job = progress.job
        try:
            finished = collect(job, progress.key, progress.starts)
        except SlideReadError as error:
            return str(error)
        publish(finished, job.folder, self.output)
        self.found[job.name] = finished
        del self.busy[job.name]
        notes = f": {'; '.join(finished.facts['notes'])}" if finished.facts["notes"] else ""
        say(f"tile: {job.name}: {finished.num_tiles} tiles ({len(self.found)} slides done){notes}")
        kept = finished.stain_refused
        if kept and sum(kept.values()) == finished.num_tiles:
            say(f"tile: {job.name}: all tiles keep their own colours ({', '.join(kept)})")
        return ""

    def _reject(self, name: str, fault: str) -> None:
        self.faults[name] = fault
        if name in self.busy:  # tiles of an earlier run are of another slide or configuration
            shutil.rmtree(self.output / TILES / name, ignore_errors=True)
        self.ready = deque(task for task in self.ready if task.name[0] != name)
        say(f"tile: {name} rejected: {fault}")


def run(config: TileConfig, inputs: Path, output: Path) -> Manifest:
    """Cut slides into tiles.

    Args:
        config: see :class:`TileConfig`.
        inputs: folder of slides, or one slide.
        output: gets ``tiles/<slide>/``, ``metadata.csv``, ``slides.jsonl``, ``trident/`` and
            ``clam/`` (coordinates), ``tissue/`` (masks and outlines), ``rejects.jsonl`` and last
            ``manifest.json``. What an earlier run finished there for the same slides and
            configuration is kept.

    Raises:
        ConfigError: a path does not exist, a csv is unusable, or ``output`` is foreign or of
            another input or shard.
        DataError: no slide could be used, too many were rejected, or no slide has a tile; what is
            finished stays in ``output``.
        RetryError: the disk is full, or another run holds ``output``.
    """
    _require_folder(config.regions.folder)
    listed = list_sources(inputs, leave_out=output)
    sources = _share(listed, config.shard)
    tables = _load_tables(config, listed)
    refuse_other_run(output, "tile", begun=_WORK)
    hands = open_hands(config.runner, _PRELOAD)  # refuses before anything is written
    with lock(output / _WORK), retry_when_full(output):
        _clear_work(output)
        take_over(output, inputs, config.shard, {source.name for source in sources})
        (output / MANIFEST).unlink(missing_ok=True)
        work = _Run(config, tables, output, deque(sources))
        _tile_all(work, hands)
        found = work.found
        ledger = _settle(sources, work)
        if sources:  # a shard beyond the last slide is empty and fine
            ledger.check(config.max_reject_fraction)
            _require_tiles(config, found)
        manifest = finish(
            output,
            stage="tile",
            config=config.resolved(),
            inputs=_fingerprints(sources, found, config),
            counts=_counts(ledger, found),
            extra=_reasons(found),
            only=_listed_files(output),
        )
    shutil.rmtree(output / _WORK)
    _say_outcome(manifest, output)
    return manifest


def _say_outcome(manifest: Manifest, output: Path) -> None:
    counts, own = manifest.counts, sum(manifest.extra["stain_refused"].values())
    colors = f" ({own} in their own colours)" if own else ""
    say(
        f"tile: {counts['slides_used']} slides used, {counts['slides_rejected']} rejected; "
        f"{counts['used']} tiles used{colors}, {counts['rejected']} rejected; "
        f"reasons in {output / 'rejects.jsonl'}"
    )


def _load_tables(config: TileConfig, sources: list[SlideFile]) -> _Tables:
    """What the user says, by name of the slide; a row may be of a slide of another shard."""
    mpp, patients, places = config.mpp_csv, config.patients, config.coordinates
    return _Tables(
        one_value(load_overrides(mpp), sources, str(mpp)) if mpp else {},
        one_value(load_patients(patients), sources, str(patients)) if patients else None,
        load_places(places, sources) if places else None,
    )


def _share(sources: list[SlideFile], shard: str | None) -> list[SlideFile]:
    k, _, n = (shard or "1/1").partition("/")
    return sources[int(k) - 1 :: int(n)]


def _require_tiles(config: TileConfig, found: Mapping[str, Finished]) -> None:
    """A whole run that finds nothing to cut is a mistake, one slide or one shard of glass is none.

    Raises:
        DataError: no tile was listed on any slide; those that were rejected have their reasons.
    """
    if config.shard is not None or any(slide.num_listed for slide in found.values()):
        return
    notes = Counter(note for slide in found.values() for note in slide.facts["notes"])
    reason = notes.most_common(1)[0][0] if notes else "nothing found"
    raise DataError(
        "tile: input",
        came=f"no tile on {len(found)} slides ({reason})",
        allowed="at least one tile",
        do="Check --mpp, --size, tissue and regions; slides.jsonl says more.",
    )


def _require_folder(regions: Path | None) -> None:
    if regions is not None and not regions.is_dir():
        raise ConfigError(
            "regions.folder",
            came=f"no folder {regions}",
            allowed="a folder with <slide>.geojson, .geojson.gz or .png",
            do="Check the path.",
        )


def _clear_work(output: Path) -> None:
    for path in (output / _WORK).iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    (output / TILES).mkdir(exist_ok=True)


def _tile_all(work: _Run, hands: Hands) -> None:
    """Finish every slide, or learn why not."""
    crew: Crew[tuple[str, int | None]] = Crew(hands, work.config.num_workers, work.config.seconds)
    try:
        while True:
            while crew.has_room and (task := work.next_task()):
                crew.start(task)
            if crew.is_idle:
                return
            work.settle(*crew.wait())
    finally:
        crew.close()


def _key(source: SlideFile, mpp: float | None, places: Places | None, config: TileConfig) -> str:
    """What a finished slide must agree in to be kept."""
    regions = ""
    if config.regions.folder is not None:
        file = find_region_file(config.regions.folder, source.name)
        regions = sha256_file(file) if file else ""
    resolved = {k: v for k, v in config.resolved().items() if k != "regions"}
    areas = config.regions.model_dump(mode="json", exclude={"folder"})
    parts = identity(source.path), mpp, resolved, areas, regions, places
    return sha256_bytes(repr(parts).encode())


def _settle(sources: list[SlideFile], work: _Run) -> Ledger:
    """Account for every slide, and write what lists the tiles."""
    slides = Ledger("tile", rejects_beside(work.output))
    slides.listed(len(sources))
    for source in sources:
        if source.name in work.found:
            slides.use(source.name)
        else:
            slides.reject(source.name, work.faults[source.name])
    finished = [work.found[source.name] for source in sources if source.name in work.found]
    write_listing(work.output, finished, work.patients)
    tiles = Ledger("tile")
    tiles.rejects = slides.rejects + [
        {"item": f"{slide.name} {x},{y}", "reason": reason}
        for slide in finished
        for x, y, reason in slide.rejects
    ]
    tiles.write(work.output / "rejects.jsonl")
    return slides


def _counts(slides: Ledger, found: dict[str, Finished]) -> dict[str, int]:
    used = sum(slide.num_tiles for slide in found.values())
    rejected = sum(len(slide.rejects) for slide in found.values())
    listed = sum(slide.num_listed for slide in found.values())
    if used + rejected != listed:
        raise DataError(
            "tile: ledger",
            came=f"{listed} tiles listed, {used} used, {rejected} rejected",
            allowed="used + rejected = listed",
            do="Report this: it is a fault of the program.",
        )
    own = {f"slides_{name}": value for name, value in slides.counts().items()}
    return {"listed": listed, "used": used, "rejected": rejected, **own}


def _reasons(found: dict[str, Finished]) -> dict[str, dict[str, int]]:
    rejects, refused = Counter[str](), Counter[str]()
    for slide in found.values():
        rejects.update(reason.partition(":")[0] for _, _, reason in slide.rejects)
        refused.update(slide.stain_refused)
    found_reasons = {"reasons": rejects, "stain_refused": refused}
    return {name: dict(sorted(counts.items())) for name, counts in found_reasons.items()}


def _fingerprints(
    sources: list[SlideFile], found: dict[str, Finished], config: TileConfig
) -> dict[str, str]:
    keys = "".join(f"{s.name} {found[s.name].key if s.name in found else ''}\n" for s in sources)
    inputs = {"slides": sha256_bytes(keys.encode())}
    for name in ("mpp_csv", "patients", "coordinates"):
        path = getattr(config, name)
        if path is not None and path.is_file():  # a folder is in the keys of its slides
            inputs[name] = sha256_file(path)
    return inputs


def _listed_files(output: Path) -> list[str]:
    """Tables, coordinates, tissue; the tables of the slides hold the hashes of the tiles."""
    paths = [*output.glob("*.*"), *(path for name in FOLDERS for path in output.glob(f"{name}/*"))]
    paths += output.glob(f"{TILES}/*/slide.json")
    names = (path.relative_to(output).as_posix() for path in paths if path.is_file())
    return sorted(name for name in names if not name.startswith(".") and name != MANIFEST)
