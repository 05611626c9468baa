"""What a run asks for: its configuration, and from every row its images with their provenance."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crafts.conditions.references import (
    Reference,
    References,
    as_told,
    reference_distance,
)
from crafts.conditions.steering import Steering
from crafts.conditions.wishes import ControlInput, parse_options
from crafts.core.artifacts import sha256_bytes, tool_versions
from crafts.core.errors import ConfigError, CraftsError
from crafts.core.records import Ledger
from crafts.core.runtime import pick_device, say
from crafts.generation.editing import Editing, other_nuclei
from crafts.generation.export import Provenance
from crafts.generation.manifest import PromptRow
from crafts.generation.request import GenerateConfig, ImageRequest, parse_powers
from crafts.generation.stain import Stain, open_stain
from crafts.generation.wording import Wording
from crafts.sampling.draws import Draw
from crafts.sampling.powers import at_powers, check_powers
from crafts.sampling.presets import resolve_preset

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crafts.model.bundle import Bundle

REQUEST_VERSION = 1
"""Raise it when a change of the sampler moves the pixels, so that old images are made again."""

TRIES = 20
"""Images that the quality gate sees at most for each one wanted."""


@dataclass(frozen=True)
class Item:
    """One image file to be made.

    Attributes:
        row_id: of its row.
        draw: what decides its pixels.
        provenance: what it will say of itself.
        extra: further columns of its row.
        path: in the output folder, of a slide; "" is that of a tile.
        preview: the same of a small picture of it; "" is the file itself.
        looks_like: pictures whose look it follows.
        stain: that it gets when it is made.
    """

    row_id: str
    draw: Draw
    provenance: Provenance
    extra: Mapping[str, str] = field(default_factory=dict)
    path: str = ""
    preview: str = ""
    looks_like: tuple[Reference, ...] = ()
    stain: Stain | None = None

    def finish(self, pixels: NDArray[np.uint8], cut: str) -> tuple[NDArray[np.uint8], Provenance]:
        """The picture in its stain, and what its file says, with what is known only now."""
        if self.stain is not None:
            pixels = self.stain.apply(pixels, self.name)
        far = reference_distance(pixels, self.looks_like)
        return pixels, replace(self.provenance, cut=cut, reference_distance=far)

    @property
    def name(self) -> str:
        """Path in the output folder."""
        if self.path:
            return self.path
        power = f"-{self.draw.mpp:g}mpp" if self.draw.wider else ""
        return f"images/{self.row_id}-{self.draw.k}{power}.png"


def open_model(config: GenerateConfig, bundle: Bundle | None = None) -> Bundle:
    """The model of a run on its device.

    Args:
        config: of the run.
        bundle: the model, where it is loaded already.

    Raises:
        ConfigError: no such model or device, or one that was never saved.
    """
    from crafts.model.bundle import load_bundle

    device = pick_device(config.device)
    bundle = load_bundle(config.model, network=True) if bundle is None else bundle
    if not bundle.fingerprint:
        raise ConfigError(
            "generate: model",
            came="a model that was never saved",
            allowed="one with a fingerprint, which its images can name",
            do="Save it with save_bundle and load it again.",
        )
    return with_loras_of(bundle.to(device), config)


def with_loras_of(bundle: Bundle, config: ImageRequest) -> Bundle:
    """The model with the adapters that are asked for."""
    if not config.lora:
        return bundle
    from crafts.model.lora import parse_loras, with_loras

    return with_loras(bundle, parse_loras(config.lora))


def fills_passes(config: GenerateConfig, rows: Sequence[PromptRow]) -> bool:
    """Whether each pass of the network takes a whole batch, the last one, too.

    The last bits of a picture depend on the number of pictures in its pass, and on nothing else of
    them. So all passes of a large run are of one size; then a picture has the same bytes in one
    process, in a shard, and in whatever process of many. A few pictures are not worth the waste.
    """
    number = sum(config.keep or row.num_images or config.num_images for row in rows)
    return config.parallel or config.shard is not None or number >= config.batch_size


class Plan:
    """From rows to the images they ask for.

    Args:
        config: of the run.
        bundle: the model.
        source: manifest of prompts; paths in it start from its folder.
        control: controls of all rows, in place of those of the configuration.
        given: picture and mask of all rows in memory, in place of those of the configuration.
        full_passes: of :func:`fills_passes`.
    """

    def __init__(
        self,
        config: GenerateConfig,
        bundle: Bundle,
        source: Path | None = None,
        *,
        control: Mapping[str, ControlInput] | None = None,
        given: tuple[Any, Any] = (None, None),
        full_passes: bool = False,
    ) -> None:
        self.config, self.bundle, self.source = config, bundle, source
        self.full_passes = full_passes
        self.preset = preset = resolve_preset(
            config.preset,
            num_steps=config.num_steps,
            guidance_scale=config.guidance_scale,
            extra=bundle.extra,
        )
        control = parse_options(config.control) if control is None else control
        control, given = other_nuclei(config, control, given)
        self.steering = Steering(
            bundle,
            control,
            Path() if source is None else source.parent,
            folders=config.controls,
            masks=config.masks,
            fluorescence=config.fluorescence,
        )
        folder = Path() if source is None else source.parent
        self.references = References(bundle, config.reference, folder)
        self._open_stain = lru_cache(open_stain)
        self.editing = Editing(
            config, folder, edge=bundle.native_size, given=given, steered=bool(control)
        )
        words = bundle.trained_on.known_words() if bundle.trained_on else None
        self.wording = Wording(config, bundle.name or config.model, words)
        mpp = bundle.mpp
        self.common = Provenance(
            prompt="", negative_prompt="", seed=None, k=None, model=self.wording.model,
            model_sha256=bundle.fingerprint, licence=bundle.licence, preset=config.preset,
            num_steps=preset.num_steps, guidance_scale=preset.guidance_scale,
            mpp=float(mpp) if isinstance(mpp, int | float) else None,
            software=f"crafts {tool_versions().get('crafts', '(not installed)')}",
        )  # fmt: skip

    def number(self, row: PromptRow) -> int:
        """Images that a row asks for."""
        return row.num_images or self.config.num_images

    def powers(self, row: PromptRow) -> tuple[float, ...]:
        """Microns per pixel of the pictures of a row, falling; none: the model's own."""
        return parse_powers(row.mpp or self.config.mpp)

    def prepare(self, rows: Sequence[PromptRow], ledger: Ledger) -> list[PromptRow]:
        """Rows whose pictures can be made; those with a wish that cannot be met go.

        Raises:
            CraftsError: what is asked for all rows cannot be done.
        """
        self._check_told(parse_powers(self.config.mpp), None)
        if self.config.stain:
            self._open_stain(self.config.stain)
        usable = []
        for row in self.editing.prepare(self.steering.prepare(rows, ledger), ledger):
            try:
                self._check_told(self.powers(row), row)
                self.references.of(row.reference)
                self.stain_of(row)
                usable.append(row)
            except (CraftsError, ValueError) as error:
                ledger.withdraw(row.id, str(error))
                say(f"generate: {row.id} is left out: {error}")
        return usable

    def _check_told(self, powers: Sequence[float], row: PromptRow | None) -> None:
        """Refuse powers that the model does not know, and wishes that exclude each other."""
        check_powers(powers, self.bundle.conditions.kinds if self.bundle.conditions else ())
        edited = bool(row and self.editing.of(row))
        steered = self.steering.common or (row and row.wishes)
        came = ""
        if edited and (len(powers) > 1 or (row and self.stain_of(row))):
            came = "a picture that is edited, of which the rest is to stay as it is"
        elif len(powers) > 1 and (steered or self.config.keep):
            came = f"several powers with {'--control' if steered else '--keep'}"
        if came:
            raise ConfigError(
                "generate: mpp" if len(powers) > 1 else "generate: stain",
                came=came,
                allowed="one picture of its own power and stain",
                do="Leave one of the options out.",
            )

    def stain_of(self, row: PromptRow) -> Stain | None:
        """The stain that pictures of a row get; None: as they are made."""
        path = self.references.folder / row.stain if row.stain else self.config.stain
        return self._open_stain(path) if path else None

    def limit(self, row: PromptRow) -> int:
        """Number of its images that a row can bring into the folder."""
        return TRIES * self.config.keep if self.config.keep else self.number(row)

    def items(self, row: PromptRow, ks: range) -> Iterator[Item]:
        """The images of a row with the given indices."""
        scale = row.guidance_scale
        seed = self.config.seed if row.seed is None else row.seed
        for k in ks:
            draw = Draw(
                prompt=row.prompt,
                seed=seed,
                k=k,
                row="" if row.plain or self.config.same_noise else row.id,
                negative_prompt=self.wording.negative_of(row),
                guidance_scale=self.preset.guidance_scale if scale is None else scale,
            )
            references, stain = self.references.of(row.reference), self.stain_of(row)
            steered = self.steering.uses(row, draw.number)
            draw = replace(draw, conditions=(*steered, *self.references.condition(references)))
            if edit := self.editing.of(row):
                text = self.wording.counterfactual_of(row) or row.prompt
                draw = replace(draw, prompt=text, edit=edit)
            for told in at_powers(draw, self.powers(row)):
                said = self.provenance(told)
                looks = [*self.references.describe(references), *self.bundle.extra.get("loras", ())]
                looks += [stain.describe()] if stain else []
                request = [said.request, stain.sha256] if stain else None
                said = replace(
                    said,
                    control=as_told(said.control, looks),
                    request=sha256_bytes(json.dumps(request).encode()) if request else said.request,
                    edit=self.editing.describe(row),
                )
                yield Item(row.id, told, said, row.extra, looks_like=references, stain=stain)

    def provenance(self, draw: Draw) -> Provenance:
        """What the file of a draw will say of itself, but for the cut (known later)."""
        return replace(
            self.common,
            prompt=draw.prompt,
            negative_prompt=draw.negative_prompt,
            seed=draw.seed,
            k=draw.k,
            row=draw.row,
            guidance_scale=draw.guidance_scale,
            request=self._request(draw),
            mpp=draw.mpp or self.common.mpp,
            control=self.steering.describe(draw.conditions),
            unknown_words=", ".join(
                found.word for found in self.wording.unknown_in(draw.prompt, draw.negative_prompt)
            ),
        )

    def _request(self, draw: Draw) -> str:
        decides = [
            REQUEST_VERSION,
            self.bundle.fingerprint,
            self.bundle.native_size,
            self.preset.solver,
            self.preset.num_steps,
            self.preset.interval,
            self.config.preset,
            draw.prompt,
            draw.negative_prompt,
            draw.seed,
            draw.k,
            draw.guidance_scale,
        ]
        if draw.row:
            decides.append({"row": draw.row})
        if draw.wider:
            decides.append({"wider": self._request(draw.wider)})
        if draw.edit:
            decides.append({"edit": [draw.edit.key, draw.edit.before, draw.edit.strength]})
        if draw.conditions:
            decides += self.steering.identity(draw.conditions)
        return sha256_bytes(json.dumps(decides, ensure_ascii=False).encode())
