"""Batches of lines, drawn and varied."""

from __future__ import annotations

import torch
from torch import Tensor

from .grain_lines import Lines

_GAIN_OCTAVES = 0.7
_LARGEST_OFFSET = 40.0
_LARGEST_NOISE = 8.0
_SHORTEST = 0.2
_SHORTENED = 0.5
_INVERTED = 0.1


class LineSampler:
    """Every image has its turn before one comes again, with one random line.

    Parameters
    ----------
    seed
        Of the order of the images.
    """

    def __init__(self, lines: Lines, seed: int) -> None:
        self._values = torch.from_numpy(lines.values)
        self._grain_sizes = torch.from_numpy(lines.grain_sizes).float()
        self._seed = seed
        self._orders: dict[int, Tensor] = {}

    def batch(self, iteration: int, size: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Grey values (B, 1376) float32 and grain sizes (B,) of a step."""
        turns = range(iteration * size, (iteration + 1) * size)
        images = torch.tensor([self._image_of(turn) for turn in turns])
        lines = torch.randint(self._values.shape[1], (size,), generator=random)
        return self._values[images, lines].float(), self._grain_sizes[images]

    def _image_of(self, turn: int) -> int:
        epoch, place = divmod(turn, len(self._grain_sizes))
        if epoch not in self._orders:
            random = torch.Generator().manual_seed(self._seed + 1_000_003 * epoch)
            # A batch reaches into two epochs at times, never back into a third.
            recent = {key: order for key, order in self._orders.items() if key == epoch - 1}
            self._orders = recent | {
                epoch: torch.randperm(len(self._grain_sizes), generator=random)
            }
        return int(self._orders[epoch][place])


def varied(lines: Tensor, random: torch.Generator) -> Tensor:
    """Lines (B, L) mirrored, some shortened, with other brightness, contrast and noise."""

    def chance() -> Tensor:
        return torch.rand(len(lines), 1, generator=random)

    lines = _shortened(lines, chance(), chance(), chance())
    lines = torch.where(chance() < 0.5, lines.flip(1), lines)
    gain = 2 ** ((2 * chance() - 1) * _GAIN_OCTAVES)
    gain = torch.where(chance() < _INVERTED, -gain, gain)
    mean = lines.mean(1, keepdim=True)
    lines = (lines - mean) * gain + mean + (2 * chance() - 1) * _LARGEST_OFFSET
    noise = torch.randn(lines.shape, generator=random)
    # Half of the lines get none.
    return (lines + (2 * chance() - 1).clamp(min=0) * _LARGEST_NOISE * noise).clamp(0, 255)


def _shortened(lines: Tensor, which: Tensor, share: Tensor, start: Tensor) -> Tensor:
    """Some of the lines cut to a part, which its mirror images continue at both ends."""
    length = lines.shape[1]
    part = torch.where(which < _SHORTENED, _SHORTEST + (1 - _SHORTEST) * share, 1.0)
    kept = (part * length).long().clamp(min=2)
    first = (start * (length - kept + 1)).long()
    places = torch.arange(length)[None] - (length - kept) // 2
    # A triangular wave: there, back, and there again.
    turned = places.remainder(2 * kept)
    inside = torch.minimum(turned, 2 * kept - 1 - turned)
    return lines.gather(1, first + inside)
