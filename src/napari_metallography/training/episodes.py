"""Tasks of few examples: some classes, some images of each to learn from, others to name.

The images to learn from are called support, those to name queries: Vinyals, Blundell, Lillicrap,
Kavukcuoglu and Wierstra, Matching networks for one shot learning, NeurIPS (2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..classification.crops import drawn_crops
from ..classification.few_shot_model import SquareReader
from ..classification.images import OUTSIDER
from ..classification.micrographs import ClassifiedMicrographs
from ..errors import InputError
from .structure_samples import drawn_warp, varied

QUERIES = 15

_SMALLEST_PART = 0.7


@dataclass(frozen=True)
class Episode:
    """A task.

    Attributes
    ----------
    support, query
        (n,) and (Q,) numbers of images, on the CPU.
    support_classes, query_classes
        Their classes, from 0 on within the task.
    """

    support: Tensor
    support_classes: Tensor
    query: Tensor
    query_classes: Tensor

    @property
    def images(self) -> Tensor:
        """Support and queries (n + Q,)."""
        return torch.cat([self.support, self.query])


class Episodes:
    """Tasks drawn from images of known class.

    Support and queries of a class are different images, and of different specimens. Classes of
    too few images or specimens are left out.

    Parameters
    ----------
    ways, shots
        Classes of a task, and images of each to learn from.
    queries
        Images of each class to name, at most; all others where there are fewer.

    Raises
    ------
    InputError
        When there are too few classes, or too few with enough images.
    """

    def __init__(
        self, images: ClassifiedMicrographs, ways: int, shots: int, queries: int = QUERIES
    ) -> None:
        self.ways, self.shots, self._queries = ways, shots, queries
        self._images = images
        _require_classes(images, ways)
        enough = [number for number in self._members if self._is_enough(number)]
        self._usable = torch.tensor(enough)
        if len(enough) < ways:
            raise InputError(
                f"tasks of {ways} classes and {_counted(shots, 'shot')} need {ways} classes of "
                f"{shots + 1} images or more, of two specimens; there are {len(enough)}; too few "
                f"are of {', '.join(self.left_out)}: add some, or lower --ways or --shots"
            )

    @property
    def left_out(self) -> list[str]:
        """Names of the classes of which no task can be made."""
        return [
            name for number, name in enumerate(self._images.names) if not self._is_enough(number)
        ]

    def draw(self, random: torch.Generator) -> Episode:
        """A task; `random` is a generator on the CPU: the same draws for every device."""
        chosen = self._usable[torch.randperm(len(self._usable), generator=random)[: self.ways]]
        parts = [self._parts(int(number), random) for number in chosen]
        support, query = ([part[side] for part in parts] for side in (0, 1))
        return Episode(torch.cat(support), _numbered(support), torch.cat(query), _numbered(query))

    def _parts(self, number: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Support and queries of a class."""
        members, specimens = self._members[number], self._specimens[number]
        kept = self._reservable(number)
        apart = kept[torch.randint(len(kept), (1,), generator=random)]
        pool = torch.nonzero(specimens != apart).flatten()
        support = _some(pool, self.shots, random)
        others = torch.nonzero(~torch.isin(specimens, specimens[support])).flatten()
        return members[support], members[_some(others, self._queries, random)]

    def _reservable(self, number: int) -> Tensor:
        """Specimens of a class without which it still has enough images to learn from."""
        own, counts = np.unique(self._specimens[number].numpy(), return_counts=True)
        return torch.from_numpy(own[counts.sum() - counts >= self.shots])

    def _is_enough(self, number: int) -> bool:
        return number in self._members and len(self._reservable(number)) > 0

    @cached_property
    def _members(self) -> dict[int, Tensor]:
        classes = self._images.classes
        numbers = np.unique(classes[classes != OUTSIDER])
        return {int(n): torch.from_numpy(np.flatnonzero(classes == n)) for n in numbers}

    @cached_property
    def _specimens(self) -> dict[int, Tensor]:
        _, numbers = np.unique(np.array(self._images.specimens), return_inverse=True)
        known = torch.from_numpy(numbers)
        return {number: known[members] for number, members in self._members.items()}


def augmented(reader: SquareReader, images: Tensor, random: torch.Generator) -> Tensor:
    """Squares (B, 1, S, S) of images, turned, mirrored, warped, blurred in places, lit differently.

    Normalised, as the network takes them. Where the scale counts it stays; else the squares are
    0.7 to 1 of the whole.
    """
    sides = reader.sides_px[images]
    if reader.shown.pixel_um is None:
        shares = torch.rand(len(images), generator=random)
        sides = sides * (_SMALLEST_PART + (1 - _SMALLEST_PART) * shares)
    crops = drawn_crops(images, reader.atlas.shapes[images], sides, random, turned=True)
    warp = drawn_warp(len(images), reader.shown.side, random, reader.atlas.device)
    return reader.normalised(varied(reader.atlas.cut(crops, reader.shown.side, warp), random))


def joined(parts: Sequence[tuple[str, ClassifiedMicrographs]]) -> ClassifiedMicrographs:
    """Images of several folders as one set, without outsiders.

    Classes of one name are one class. Files and specimens begin with the name of their folder,
    which tells those of one name apart.

    Parameters
    ----------
    parts
        Names, no two alike, and images.
    """
    known = [(name, images.where(images.classes != OUTSIDER)) for name, images in parts]
    names = sorted({name for _, images in known for name in images.names})
    numbers = {name: number for number, name in enumerate(names)}
    classes = [numbers[images.names[own]] for _, images in known for own in images.classes]
    return ClassifiedMicrographs(
        tuple(plane for _, images in known for plane in images.planes),
        np.array(classes, np.int64),
        tuple(names),
        tuple(f"{name}/{file}" for name, images in known for file in images.files),
        tuple(size for _, images in known for size in images.pixel_sizes_um),
        tuple(f"{name}/{one}" for name, images in known for one in images.specimens),
        tuple(words for _, images in known for words in images.skipped),
    )


def _require_classes(images: ClassifiedMicrographs, ways: int) -> None:
    if len(images.names) < ways:
        raise InputError(
            f"tasks of {ways} classes need {ways} at least, and the data hold {len(images.names)} "
            f"({', '.join(images.names)}): lower --ways or add classes"
        )


def _some(numbers: Tensor, count: int, random: torch.Generator) -> Tensor:
    return numbers[torch.randperm(len(numbers), generator=random)[:count]]


def _numbered(parts: Sequence[Tensor]) -> Tensor:
    lengths = torch.tensor([len(part) for part in parts])
    return torch.arange(len(parts)).repeat_interleave(lengths)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
