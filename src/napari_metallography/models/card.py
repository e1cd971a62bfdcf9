"""What a model file says of itself."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from .. import __version__
from ..classes import PhaseClass

Task = Literal["segmentation", "grain-size", "structure", "few-shot", "defects", "backbone"]
Storage = Literal["float32", "float16", "int8"]
Settings = dict[str, str | int | float | bool | None]
PixelSizeRange = Annotated[tuple[float, float], Field(description="smallest and largest, µm")]


class Normalisation(BaseModel):
    """Channel means and standard deviations on the scale 0 to 255."""

    model_config = ConfigDict(frozen=True)

    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)

    @classmethod
    def grey(cls, values: NDArray[Any]) -> Normalisation:
        """That of grey values, alike for all channels; the deviation is 1 at least."""
        mean, std = float(values.mean()), max(float(values.std()), 1.0)
        return cls(mean=(mean, mean, mean), std=(std, std, std))


class Network(BaseModel):
    """What is needed to build the network again.

    `enlargement` is the factor by which the input is resized before the network sees it: 2 for
    fine particles, 0.5 for the paper's enlarged receptive field.
    """

    model_config = ConfigDict(frozen=True)

    architecture: str
    encoder: str
    enlargement: float = Field(default=1.0, gt=0)


class LineInput(BaseModel):
    """What lines a line network is shown, and the grain-size numbers of its classes.

    Attributes
    ----------
    pixel_um
        Pixel size at which its classes are the `grades`. None: "paper mode"; images of any
        magnification were resized to one size, and no scale was taken into account.
    grades
        ASTM grain-size number G by intercepts of each class.
    each_line
        Whether a line is normalised by its own mean and standard deviation, so that brightness
        and contrast do not matter; else by those of the training lines.
    """

    model_config = ConfigDict(frozen=True)

    pixel_um: float | None = Field(default=None, gt=0)
    grades: tuple[float, ...]
    each_line: bool = False


class DefectInput(BaseModel):
    """What images a network of surface defects is shown, and how far its answers go.

    Attributes
    ----------
    side
        Rows and columns that images were brought to.
    window_px
        Side of the training images in their own pixels, of `ModelCard.pixel_size_um`.
    square
        Whether nearly all training images were squares of about that side. Others were squashed to
        one: they had no common scale, so that no image can be brought to it.
    jpeg_quality
        Of the compression that every image goes through first.
    kernels, spliced
        As of `classification.pdmsnet.Design`.
    temperature
        What logits are divided by, so that probabilities are true on the validation images.
    risks
        For the answers of at least a probability, the share of wrong ones among them in
        validation, and the share of all images that they are; by rising risk.
    most_strange
        Largest `Familiarity.strangeness` of what counts as an image of these classes.
    """

    model_config = ConfigDict(frozen=True)

    side: int = Field(default=224, ge=32)
    window_px: float = Field(default=224, gt=0)
    square: bool = True
    jpeg_quality: int = Field(default=90, ge=1, le=100)
    kernels: tuple[int, ...] = (3, 5, 7)
    spliced: tuple[bool, bool] = (True, True)
    temperature: float = Field(default=1.0, gt=0)
    risks: tuple[RiskPoint, ...] = ()
    most_strange: float | None = None


class RiskPoint(BaseModel):
    """Among answers of at least a probability: the share of wrong ones, and how many answer."""

    model_config = ConfigDict(frozen=True)

    probability: float
    risk: float
    answered: float


class StructureInput(BaseModel):
    """What crops a triplet network is shown, and how their magnification is told to it.

    Attributes
    ----------
    side
        Rows and columns that crops are brought to.
    smallest_px, largest_px
        Sides of crops in pixels of the image; log-uniform between them.
    magnification
        Whether the network takes log2(pixels per µm of the crop as shown); without it, it is the
        control that needs no scale.
    mean, std
        By which that logarithm is standardised.
    px_per_um
        Smallest and largest of the training; None without magnification.
    crops
        Number of crops that the Gaussians were learnt from.
    most_strange
        The largest strangeness, as `classification.texture_familiarity` gives it, of an image that
        may be of a class at all; None where there were too few images to tell.
    """

    model_config = ConfigDict(frozen=True)

    side: int = Field(default=200, ge=32)
    smallest_px: int = Field(default=100, ge=16)
    largest_px: int = Field(default=1000, ge=16)
    magnification: bool = True
    mean: float = 0.0
    std: float = Field(default=1.0, gt=0)
    px_per_um: tuple[float, float] | None = None
    crops: int = Field(default=0, ge=0)
    most_strange: float | None = None


class FewShotInput(BaseModel):
    """What images a few-shot network is shown, and how it is tuned to a task.

    Attributes
    ----------
    side
        Rows and columns that images were brought to.
    pixel_um
        Pixel size of the squares it sees, which then are parts of the images. None: the largest
        square of each image, whatever its scale.
    metric, scale
        As of `classification.prototypes.PrototypeHead`; no scale for "euclidean".
    ways, shots
        Classes of the tasks it was trained on, and examples of each.
    tuning_steps, tuning_rate
        Steps of the tuning to a task, and their learning rate, chosen on other classes than those
        of the training; 0 where no tuning helped.
    """

    model_config = ConfigDict(frozen=True)

    side: int = Field(default=224, ge=32)
    pixel_um: float | None = Field(default=None, gt=0)
    metric: Literal["cosine", "euclidean"] = "cosine"
    scale: float | None = None
    ways: int = Field(default=5, ge=2)
    shots: int = Field(default=1, ge=1)
    tuning_steps: int = Field(default=50, ge=0)
    tuning_rate: float = Field(default=0.0, ge=0)


class DataSource(BaseModel):
    """Where the training data came from."""

    model_config = ConfigDict(frozen=True)

    name: str
    digest: str
    images: tuple[str, ...] = ()
    licence: str = "unstated"
    attribution: str = ""


class TrainingRound(BaseModel):
    """One training of those that made a model, one after the other, out of its parent."""

    model_config = ConfigDict(frozen=True)

    iterations: int = Field(description="that were run")
    kept_iteration: int = Field(description="the one whose weights went on")
    painted_px: int = Field(description="labelled pixels that were learnt from")
    held_out_px: int = Field(description="labelled pixels that were held out")
    images: tuple[str, ...]
    data_digest: str
    recipe: Settings


class ModelCard(BaseModel):
    """The JSON card in a model file's metadata."""

    model_config = ConfigDict(frozen=True)

    name: str
    task: Task
    network: Network
    classes: tuple[PhaseClass, ...]
    normalisation: Normalisation = Normalisation()
    lines: LineInput | None = Field(default=None, description="of a grain-size model")
    defects: DefectInput | None = Field(default=None, description="of a defects model")
    structure: StructureInput | None = Field(default=None, description="of a structure model")
    few_shot: FewShotInput | None = Field(default=None, description="of a few-shot model")
    pixel_size_um: PixelSizeRange | None = None
    data: DataSource
    parent: str | None = Field(
        default=None, description="digest of the model that the first round was tuned from"
    )
    training: Settings = Field(default={}, description="of the last round")
    rounds: tuple[TrainingRound, ...] = ()
    metrics: dict[str, float] = {}
    good_from_px: dict[str, float] = Field(
        default={}, description="by class, the particle diameter from which three in four are found"
    )
    storage: Storage = "float32"
    notice: str = ""
    version: str = __version__

    @model_validator(mode="after")
    def _has_two_classes(self) -> ModelCard:
        # A backbone learns without them.
        if self.task != "backbone" and len(self.classes) < 2:
            raise ValueError("a model needs two classes at least")
        return self
