"""A recipe: what is done to every field, in a file that people write and programs check."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path, PurePath
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from ..classification.defect_parameters import DefectParameters
from ..classification.structure_parameters import StructureParameters
from ..errors import InputError, in_plain_words
from ..grains.boundary_probability import ModelBoundaryParameters
from ..grains.choice import GradingChoice, ModelChosen
from ..grains.etched import EtchedParameters
from ..grains.finding import ByEtching
from ..grains.grading import GradingParameters, Method
from ..grains.twins import TwinParameters
from ..io.files import read_bytes
from ..quantification.parameters import QuantifyParameters
from ..regions import Box
from ..segmentation.parameters import SegmentParameters

SUFFIXES = (".yaml", ".yml")

_MODELS = ("model", "boundaries_model")
"""Settings of steps that name a model."""


class CalibrateStep(BaseModel):
    """Where pixel sizes come from.

    Attributes
    ----------
    pixel_size_um
        One for all inputs; it overrides everything.
    index
        A table of pixel sizes and specimens, beside the recipe unless the path is whole. None: the
        `index.csv` beside each image, and what the image's file says.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pixel_size_um: float | None = Field(default=None, gt=0)
    index: Path | None = None


class FieldStep(BaseModel):
    """Which part of an image counts.

    Attributes
    ----------
    keep_data_bar
        Take the data bar for a part of the image.
    region
        Only this box: top, left, bottom, right in pixels, ends excluded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    keep_data_bar: bool = False
    region: tuple[int, int, int, int] | None = None

    @model_validator(mode="after")
    def _is_possible(self) -> FieldStep:
        if self.region is not None:
            top, left, bottom, right = self.region
            if not (0 <= top < bottom and 0 <= left < right):
                raise ValueError("region is empty; give top, left, bottom, right in pixels")
        return self

    @property
    def box(self) -> Box | None:
        """The region."""
        return None if self.region is None else Box(*self.region)


class GrainSizeStep(BaseModel):
    """How grain sizes are measured.

    Attributes
    ----------
    methods
        Those of `grains.grading`, and "network"; the first one's G is the result.
    grading
        How they measure; its `method` does not count.
    etched
        How boundaries are found in the image, unless there is a `boundaries_model`.
    boundaries_model
        Name or file of a segmentation model with a class boundary, which finds them.
    boundaries, flips, multi_scale
        How that model is applied.
    model
        Name or file of the line network.
    ignore_twins
        Leave out the straight boundaries of annealing twins.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    methods: tuple[Method, ...] = Field(default=("lines",), min_length=1)
    grading: GradingParameters = GradingParameters()
    etched: EtchedParameters = EtchedParameters()
    boundaries_model: str | None = None
    boundaries: ModelBoundaryParameters = ModelBoundaryParameters()
    flips: bool = True
    multi_scale: bool = True
    model: str = "grain-line-net"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    ignore_twins: bool = False

    def choice(self) -> GradingChoice:
        """The same for `grains.plan`."""
        finding = (
            ByEtching(self.etched)
            if self.boundaries_model is None
            else ModelChosen(self.boundaries_model, self.boundaries, self.flips, self.multi_scale)
        )
        twins = TwinParameters() if self.ignore_twins else None
        return GradingChoice(self.methods, self.grading, finding, self.model, self.device, twins)


class ReportStep(BaseModel):
    """What the report says of who measured, and what is written beside the tables.

    Attributes
    ----------
    title, specimen, operator, laboratory, standard
        As in `reports.ReportHead`.
    overlays
        Write `<stem>_overlay.png` of each field, as large as the image.
    wanted_accuracy_percent
        The relative accuracy for which the fields needed are told.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = "Batch"
    specimen: str = ""
    operator: str = ""
    laboratory: str = ""
    standard: str = ""
    overlays: bool = False
    wanted_accuracy_percent: float = Field(default=10.0, gt=0)


class Recipe(BaseModel):
    """What is done to every field, in this order; a step that is not named is not taken.

    Without `segment`, `quantify` measures inputs that are labels already.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", title="napari-metallography recipe")

    calibrate: CalibrateStep = CalibrateStep()
    field: FieldStep = FieldStep()
    segment: SegmentParameters | None = None
    quantify: QuantifyParameters | None = None
    grain_size: GrainSizeStep | None = None
    classify_structure: StructureParameters | None = None
    classify_defects: DefectParameters | None = None
    report: ReportStep = ReportStep()

    @model_validator(mode="after")
    def _does_something(self) -> Recipe:
        if not self.steps:
            raise ValueError(f"nothing to do; name one of {', '.join(STEPS)}")
        return self

    @property
    def steps(self) -> tuple[str, ...]:
        """Names of the steps that are taken."""
        return tuple(name for name in STEPS if getattr(self, name) is not None)

    @property
    def takes_labels(self) -> bool:
        """Whether the inputs are labels, not micrographs."""
        return self.quantify is not None and self.segment is None

    def models(self) -> tuple[str, ...]:
        """Names or files of all models it needs, each once."""
        named: list[str | None] = []
        if self.segment is not None and self.segment.method == "model":
            named.append(self.segment.model)
        if self.grain_size is not None:
            named.append(self.grain_size.boundaries_model)
            named.append(self.grain_size.model if "network" in self.grain_size.methods else None)
        named += [one.model for one in (self.classify_structure, self.classify_defects) if one]
        return tuple(dict.fromkeys(name for name in named if name))

    def model_names(self) -> dict[str, str]:
        """What to call each of `models`: a file less its folder, unless two then share a name."""
        short = {model: PurePath(model).name for model in self.models()}
        return short if len({*short.values()}) == len(short) else {one: one for one in short}

    def anywhere(self) -> Recipe:
        """What does not depend on the machine: no device, and models by `model_names`."""
        names = self.model_names()
        return _with_models(self.on("auto"), lambda model: names.get(model, model))

    def on(self, device: str) -> Recipe:
        """The same, computed on a device, as `devices.choose_device` takes it."""
        computing = ("segment", "grain_size", "classify_structure", "classify_defects")
        steps = {name: getattr(self, name) for name in computing}
        update = {
            name: step.model_copy(update={"device": device})
            for name, step in steps.items()
            if step is not None
        }
        return self.model_copy(update=update)


STEPS = ("segment", "quantify", "grain_size", "classify_structure", "classify_defects")
"""Those that measure, in their order."""


def read_recipe(path: Path) -> Recipe:
    """Read a recipe; an `index` and model files beside it are found from anywhere.

    Raises
    ------
    InputError
        When the file is no YAML, or says what cannot be done: the first such place is named, and
        for an unknown key the nearest one that there is.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text; save it as such") from error
    return found_from(parse_recipe(text, str(path)), path.parent)


def found_from(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with files that lie in a folder by their whole paths: found from anywhere."""
    index = recipe.calibrate.index
    beside = None if index is None else folder.absolute() / index
    calibrate = recipe.calibrate.model_copy(update={"index": beside})

    def found(model: str) -> str:
        return str((folder / model).absolute()) if (folder / model).is_file() else model

    return _with_models(recipe.model_copy(update={"calibrate": calibrate}), found)


def _with_models(recipe: Recipe, change: Callable[[str], str]) -> Recipe:
    """The recipe with what each model is called changed."""
    update = {}
    for name in recipe.steps:
        step = getattr(recipe, name)
        named = {key: getattr(step, key, None) for key in _MODELS}
        changed = {key: change(model) for key, model in named.items() if model is not None}
        update[name] = step.model_copy(update=changed)
    return recipe.model_copy(update=update)


def parse_recipe(text: str, name: str = "recipe") -> Recipe:
    """A recipe from YAML; errors as for `read_recipe`, which start with the name."""
    try:
        content = yaml.load(text, _Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{name}: not YAML{_place_of(error)}") from error
    if not isinstance(content, dict):
        raise InputError(f"{name}: a recipe names steps and their settings, such as quantify:")
    # A step without settings, "quantify:", is taken as it is by default.
    filled = {
        key: {} if value is None and key in STEPS else value for key, value in content.items()
    }
    try:
        return Recipe.model_validate(filled)
    except ValidationError as error:
        raise InputError(f"{name}: {_said(error.errors()[0], filled)}") from error


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML would take the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value} stands there twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def recipe_text(recipe: Recipe) -> str:
    """YAML of a recipe with all settings of its steps: defaults may be others one day."""
    content = json.loads(recipe.model_dump_json())
    return _yaml({name: step for name, step in content.items() if step is not None})


def step_text(name: str, settings: BaseModel) -> str:
    """YAML of one step, with all of its settings, to be put into a recipe."""
    return _yaml({name: json.loads(settings.model_dump_json())})


def recipe_schema() -> dict[str, Any]:
    """JSON schema of recipes, by which editors check and complete them."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Recipe.model_json_schema()}


def _yaml(content: Mapping[str, Any]) -> str:
    # These are line breaks for YAML, unless they are escaped.
    has_breaks = any(sign in json.dumps(content, ensure_ascii=False) for sign in "\x85\u2028\u2029")
    text: str = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=not has_breaks)
    return text


def _place_of(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "it cannot be read"
    return f" in line {mark.line + 1}: {problem}" if mark is not None else f": {problem}"


def _said(error: ErrorDetails, content: Mapping[str, Any]) -> str:
    where = [str(part) for part in error["loc"]]
    if error["type"] != "extra_forbidden":
        words = in_plain_words(error)
        return f"{': '.join(where)}: {words}" if where else words
    known = [*_keys_at(where[:-1])]
    near = get_close_matches(where[-1].replace("-", "_"), known, 1, 0.5)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    inside = f" in {': '.join(where[:-1])}" if where[:-1] else ""
    return f"unknown key {where[-1]}{inside}; {hint}"


def _keys_at(where: list[str]) -> Iterator[str]:
    """Keys that the model has which lies at a path of keys."""
    model: type[BaseModel] = Recipe
    for key in where:
        found = model.model_fields.get(key)
        inner = _model_of(found.annotation) if found is not None else None
        if inner is None:
            return
        model = inner
    yield from model.model_fields


def _model_of(annotation: Any) -> type[BaseModel] | None:
    for kind in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None
