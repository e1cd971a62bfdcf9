"""What is measured and by which rules."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..errors import InputError

EdgeRule = Literal["all", "exclude-border", "miles-lantuejoul", "guard-frame"]
Split = Literal["none", "distance", "intensity"]
RollingDirection = Literal["horizontal", "vertical"]


class QuantifyParameters(BaseModel):
    """How phases and particles are measured.

    Attributes
    ----------
    classes
        Indices of the classes measured as particles; None means all but 0, the matrix.
    smallest_area_px
        Particles of fewer pixels, after splitting, are left out of the particles; a phase's area
        keeps them.
    edge_rule
        "all": every particle counts as it shows: those that are cut too, so that number densities
        come out too large, and sizes are of what shows. "exclude-border": particles that touch the
        border of the field, or unlabelled pixels in it, are left out; large ones touch it more
        often, so mean sizes and number densities (of the whole field) come out too small.
        "miles-lantuejoul": they are left out and the others weighted for it, which makes numbers,
        sizes and their spread unbiased. "guard-frame": particles that touch the lower or right
        border are left out, which makes numbers unbiased, but for particles that are long beside
        the field and slant up to the right (see `edges.select`); sizes are of what shows. Areas and
        area fractions of phases do not depend on it.
    split
        "none": touching particles of a phase are one. "distance": they are cut apart at necks.
        "intensity": they are cut apart where the image is less bright (or, of dark particles,
        less dark) between them.
    split_depth
        By which share a neck must be narrower than the largest circle in the smaller of two
        parts, or the contrast to the other phases fall between them, to be cut.
    rolling_direction
        The direction of deformation, along which bands lie.
    planes_are_fields
        Each plane of an image is a field of its own, such as in a stack of places of a specimen.
        Otherwise planes are taken for sections of one place, which are not independent: their mean
        has no confidence interval.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    smallest_area_px: int = Field(default=1, ge=1)
    edge_rule: EdgeRule = "all"
    split: Split = "none"
    split_depth: float = Field(default=0.15, ge=0.01, le=0.99)
    rolling_direction: RollingDirection = "horizontal"
    planes_are_fields: bool = False

    def particle_classes(self, n_classes: int) -> tuple[int, ...]:
        """Indices, in ascending order, of the classes measured as particles.

        Raises
        ------
        InputError
            When a chosen class is not among the `n_classes` classes.
        """
        chosen = range(1, n_classes) if self.classes is None else sorted(set(self.classes))
        for index in chosen:
            if index >= n_classes:
                raise InputError(
                    f"class {index} cannot be measured; choose from 0 to {n_classes - 1}"
                )
        return tuple(chosen)
