"""What is measured and by which rules."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..errors import InputError

EdgeRule = Literal["all", "exclude-border"]


class QuantifyParameters(BaseModel):
    """How phases and particles are measured.

    Attributes
    ----------
    classes
        Indices of the classes measured as particles; None means all but 0, the matrix.
    smallest_area_px
        Particles of fewer pixels are left out of the particles; a phase's area keeps them.
    edge_rule
        "all": every particle counts as it shows. "exclude-border": particles that touch the
        border of the field, or unlabelled pixels in it, are left out; large ones touch it more
        often, so mean sizes and number densities come out too small. Areas and area fractions of
        phases do not depend on it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    smallest_area_px: int = Field(default=1, ge=1)
    edge_rule: EdgeRule = "all"

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
