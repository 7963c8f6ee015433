"""In which units bytes become inputs of a network: as they are, or divided by 255; stated or asked for, never guessed in silence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from advverify.verifier.errors import InvalidInput

from .base import BYTES, DIVIDED, INTEGERS, Dataset

CHOICES = ("raw", "unit")


def in_units(data: Dataset, valid: tuple[float, float], stated: str | None, documented: bool) -> Dataset:
    """The data set in the units that the valid range calls for, with a note where these were not stated.

    Args:
        data: as its reader has it: bytes divided by 255.
        valid: range of the network's inputs.
        stated: "raw" for bytes as they are, "unit" for bytes divided by 255, None where the valid range says which.
        documented: the source holds bytes by definition, and its unit is [0, 1].

    Raises:
        InvalidInput: bytes, and a valid range that fits neither; or units of what are no bytes.
    """
    if stated is not None and stated not in CHOICES:
        raise InvalidInput(f"--bytes takes {' or '.join(CHOICES)}, got '{stated}'")
    if data.units == INTEGERS and stated is not None:
        if data.images.min() < 0 or data.images.max() > 255:
            low, high = float(data.images.min()), float(data.images.max())
            raise InvalidInput(
                f"--bytes {stated}: the images of {data.name} hold {low:g} to {high:g}, which are no bytes"
            )
        return (
            replace(data, images=data.images / 255.0, units=DIVIDED) if stated == "unit" else replace(data, units=BYTES)
        )
    if data.units != DIVIDED:
        if stated is not None:
            raise InvalidInput(f"--bytes {stated}: the images of {data.name} are not bytes; leave it out")
        return data
    if stated is None and valid not in ((0.0, 1.0), (0.0, 255.0)):
        raise InvalidInput(
            f"the images of {data.name} are bytes, and the valid range [{valid[0]:g}, {valid[1]:g}] does not say in which "
            "units the network takes them: give --bytes raw (0 to 255) or --bytes unit (divided by 255)"
        )
    raw = stated == "raw" or (stated is None and valid[1] == 255.0)
    note = ""
    if stated is None and (raw or not documented):
        done = "taken as they are" if raw else "divided by 255"
        note = f"the images of {data.name} are bytes: {done} to fit the valid range [{valid[0]:g}, {valid[1]:g}]"
    if raw:
        return replace(data, images=np.rint(data.images * 255.0), units=BYTES, note=note)
    return replace(data, note=note)
