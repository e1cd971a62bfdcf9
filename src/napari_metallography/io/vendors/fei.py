"""FEI and ThermoFisher: tags 34680 and 34682, an INI text; lengths in metres, voltages in V."""

from __future__ import annotations

from typing import Any

import tifffile

from .reading import Reading, length_um, number, pixel_size, scaled, settings

_TAGS = (34680, 34682)


def read(page: tifffile.TiffPage) -> Reading | None:
    """Pixel size of the scan; None when the page is not FEI's.

    Pictures of the navigation camera have no scan and stay uncalibrated. The resolution tags
    (64 or 96 dpi) belong to the screen.
    """
    sections: dict[str, Any] = {}
    for tag in _TAGS:
        value = page.tags.valueof(tag)
        if isinstance(value, dict):
            sections |= value
    if not sections and not any(tag in page.tags for tag in _TAGS):
        return None
    return _calibration(sections), _settings(sections)


def _section(sections: dict[str, Any], name: object) -> dict[str, Any]:
    value = sections.get(str(name))
    return value if isinstance(value, dict) else {}


def _calibration(sections: dict[str, Any]) -> Any:
    beam = _section(sections, "Beam")
    for name in ("Scan", beam.get("Scan")):
        scan = _section(sections, name)
        width = length_um(scan.get("PixelWidth"), "m")
        found = pixel_size(width, length_um(scan.get("PixelHeight"), "m"), "FEI metadata")
        if found is not None:
            return found
    return None


def _settings(sections: dict[str, Any]) -> dict[str, Any]:
    user, beam = _section(sections, "User"), _section(sections, "Beam")
    used = _section(sections, beam.get("Beam"))
    voltage = used.get("HV") if number(used.get("HV")) is not None else beam.get("HV")
    return settings(
        "FEI",
        instrument=_section(sections, "System").get("SystemType"),
        detector=_section(sections, "Detectors").get("Name"),
        accelerating_voltage_kv=scaled(voltage, 1e-3),
        working_distance_mm=scaled(used.get("WD"), 1e3),
        acquired=" ".join(str(user.get(part, "")) for part in ("Date", "Time")),
    )
