"""What a caller can ask of a result. remove.bg's names where it has one, ours else."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from matte_core.contracts.base import Contract

Output = Literal["cutout", "mask", "both"]
Format = Literal["auto", "png", "webp"]
Size = Literal["auto", "preview", "medium", "hd", "full"]

#: megapixels at most, per ``size``; ``auto`` and ``full`` keep the input's size
SIZE_MEGAPIXELS: dict[str, float] = {"preview": 0.25, "medium": 1.5, "hd": 4.0}

_HEX = re.compile(r"#?([0-9a-f]{3}|[0-9a-f]{4}|[0-9a-f]{6}|[0-9a-f]{8})", re.IGNORECASE)
_NAMED = {
    "white": "ffffff", "black": "000000", "red": "ff0000", "green": "008000", "blue": "0000ff",
    "yellow": "ffff00", "gray": "808080", "grey": "808080", "transparent": "00000000",
}  # fmt: skip
_MARGIN = re.compile(r"(\d{1,4}(?:\.\d+)?)(px|%)?")


def _color(value: object) -> object:
    """``#rgb[a]``, ``rrggbb[aa]`` or a common name, to ``rrggbbaa``."""
    if value is None or not isinstance(value, str):
        return value
    text = _NAMED.get(value.strip().lower(), value.strip())
    found = _HEX.fullmatch(text)
    if not found:
        raise ValueError("not a colour: use a hex value such as 81d4fa or #81d4fa80, or a name such as white")
    digits = found.group(1).lower()
    if len(digits) <= 4:
        digits = "".join(c * 2 for c in digits)
    return digits if len(digits) == 8 else digits + "ff"


def _margin(value: object) -> object:
    if value is None:
        return value
    if not _MARGIN.fullmatch(str(value).strip()):
        raise ValueError("not a margin: use pixels (30px) or a share of the subject's size (10%)")
    return str(value).strip()


class Options(Contract):
    """How the result is made from the alpha."""

    output: Output = "cutout"
    format: Format = Field("auto", description="auto is png")
    size: Size = Field("auto", description="at most 0.25 (preview), 1.5 (medium) or 4 (hd) megapixels")
    channels: Literal["rgba", "alpha"] = Field("rgba", description="alpha is the same as output=mask")
    crop: bool = Field(default=False, description="cut away the empty border")
    crop_margin: Annotated[str | None, BeforeValidator(_margin)] = Field(
        None, description="space kept around the subject when cropping: 30px, or 10% of the subject's size"
    )
    bg_color: Annotated[str | None, BeforeValidator(_color)] = Field(
        None, description="colour behind the cut-out: hex rgb, rgba, rrggbb or rrggbbaa, or a name"
    )
    decontaminate: bool = Field(
        default=False, description="replace the background's colour that shines through soft edges"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Options:
        if self.crop_margin is not None and not self.crop:
            raise ValueError("crop_margin needs crop=true")
        if self.channels == "alpha" and self.output == "both":
            raise ValueError("channels=alpha and output=both contradict each other")
        return self

    @property
    def wants(self) -> Output:
        """``output``, with remove.bg's ``channels=alpha`` taken in."""
        return "mask" if self.channels == "alpha" else self.output
