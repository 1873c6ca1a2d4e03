"""Options of a request, with remove.bg's names where it has one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from matte_core.contracts.base import Contract

Output = Literal["cutout", "mask", "both"]
Format = Literal["auto", "png", "webp"]
Size = Literal["auto", "preview", "medium", "hd", "full"]

#: maximum megapixels per ``size``; ``auto`` and ``full`` keep the input's size
SIZE_MEGAPIXELS: dict[str, float] = {"preview": 0.25, "medium": 1.5, "hd": 4.0}

_HEX = re.compile(r"#?([0-9a-f]{3}|[0-9a-f]{4}|[0-9a-f]{6}|[0-9a-f]{8})", re.IGNORECASE)
_NAMED = {
    "white": "ffffff", "black": "000000", "red": "ff0000", "green": "008000", "blue": "0000ff",
    "yellow": "ffff00", "gray": "808080", "grey": "808080", "transparent": "00000000",
}  # fmt: skip
MAX_HINTS = 64
_NUMBER = r"[0-9]?\.?[0-9]{1,6}"
_POINT = f"{_NUMBER},{_NUMBER}"
_HINT_TEXT = re.compile(rf"!?{_POINT}(,{_POINT}|(:{_POINT})+(@{_NUMBER})?)?")
#: of a stroke without a width, and the limits of all others; shares of the picture's longer side
_STROKE_WIDTH, _MAX_STROKE_WIDTH = 0.02, 0.25
#: points of all hints together
MAX_HINT_POINTS = 1024
_MARGIN = re.compile(r"[0-9]{1,4}(\.[0-9]+)?(px|%)?")
# patterns in the JSON schema, for generated clients
_COLOR_PATTERN = f"^({'|'.join(('#?[0-9A-Fa-f]{3,4}', '#?([0-9A-Fa-f]{2}){3,4}', *_NAMED))})$"
_SHARE = r"(0|1|0?\.[0-9]{1,6})"
_HINT = f"(!?{_SHARE},{_SHARE}((:{_SHARE},{_SHARE})+(@{_SHARE})?)?|{_SHARE}(,{_SHARE}){{3}})"
_HINTS_PATTERN = f"^{_HINT}([ ;]{_HINT}){{0,{MAX_HINTS - 1}}}$"


def _normalize_color(value: object) -> object:
    """Converts ``#rgb[a]``, ``rrggbb[aa]`` or a common name to ``rrggbbaa``."""
    if not isinstance(value, str):
        return value
    text = _NAMED.get(value.strip().lower(), value.strip())
    match = _HEX.fullmatch(text)
    if not match:
        raise ValueError("not a color: use a hex value such as 81d4fa or #81d4fa80, or a name such as white")
    digits = match.group(1).lower()
    digits = "".join(c * 2 for c in digits) if len(digits) <= 4 else digits
    return digits if len(digits) == 8 else digits + "ff"


def _check_margin(value: object) -> object:
    if value is not None and not _MARGIN.fullmatch(str(value).strip()):
        raise ValueError("not a margin: use pixels (30px) or a share of the subject's size (10%)")
    return None if value is None else str(value).strip()


@dataclass(frozen=True, slots=True)
class Hint:
    """A point (x, y) on the subject or beside it, a box (left, top, right, bottom) around it, or a stroke
    (x, y, x, y, …) over a part of it or of the background.

    Coordinates are fractions of the width and height, 0 to 1, after the EXIF orientation is applied.
    """

    at: tuple[float, ...]
    subject: bool = True
    width: float | None = None  # of a stroke, a fraction of the picture's longer side

    def __post_init__(self) -> None:
        if not all(0 <= number <= 1 for number in self.at):
            raise ValueError("a hint lies in the picture: all its numbers are shares of 0 to 1")
        if self.width is not None:
            if not 0 < self.width <= _MAX_STROKE_WIDTH:
                raise ValueError(
                    f"a stroke's width is a share of the longer side, above 0 and up to {_MAX_STROKE_WIDTH}"
                )
            if len(self.at) < 4 or len(self.at) % 2:
                raise ValueError("a stroke has two points or more")
        elif len(self.at) not in (2, 4):
            raise ValueError("a hint is a point x,y or a box left,top,right,bottom or a stroke x,y:x,y:x,y@width")
        if self.is_box and not (self.subject and self.at[0] < self.at[2] and self.at[1] < self.at[3]):
            raise ValueError("a box is around the subject: left < right, top < bottom, and no ! before it")

    @property
    def is_box(self) -> bool:
        return len(self.at) == 4 and self.width is None

    @property
    def points(self) -> tuple[tuple[float, float], ...]:
        """The (x, y) of a point or a stroke; the corners of a box."""
        return tuple(zip(self.at[::2], self.at[1::2], strict=True))


def parse_hints(text: str) -> tuple[Hint, ...]:
    """Parses hints such as ``0.5,0.4 !0.1,0.9 0.2,0.1,0.8,0.9 0.1,0.1:0.2,0.3@0.02``: points, a box and a stroke;
    ``!`` marks points and strokes beside the subject.
    """
    parts = text.replace(";", " ").split()
    if not 1 <= len(parts) <= MAX_HINTS:
        raise ValueError(
            f"1 to {MAX_HINTS} hints: points x,y and strokes x,y:x,y@width (!: not there), boxes left,top,right,bottom"
        )
    hints = []
    for part in parts:
        if not _HINT_TEXT.fullmatch(part):
            raise ValueError(
                f"{part[:40]!r} is no hint: use x,y or left,top,right,bottom or x,y:x,y@width, in shares of 0 to 1"
            )
        places, _, width = part.removeprefix("!").partition("@")
        at = tuple(float(number) for number in re.split("[,:]", places))
        stroke = (float(width) if width else _STROKE_WIDTH) if ":" in places else None
        hints.append(Hint(at, subject=not part.startswith("!"), width=stroke))
    if sum(len(hint.points) for hint in hints) > MAX_HINT_POINTS:
        raise ValueError(
            f"all hints together have at most {MAX_HINT_POINTS} points: leave out every second of a stroke"
        )
    return tuple(hints)


def _normalize_hints(value: object) -> object:
    if not isinstance(value, str):
        return value
    parse_hints(value)
    return " ".join(value.replace(";", " ").split())


class Options(Contract):
    """How the result is made from the alpha matte."""

    output: Output = "cutout"
    format: Format = Field("auto", description="auto is png")
    size: Size = Field("auto", description="at most 0.25 (preview), 1.5 (medium) or 4 (hd) megapixels")
    channels: Literal["rgba", "alpha"] = Field("rgba", description="alpha is the same as output=mask")
    crop: bool = Field(default=False, description="crop to the subject")
    crop_margin: Annotated[str | None, BeforeValidator(_check_margin)] = Field(
        None,
        description="margin around the subject when cropping: 30px, or 10% of the subject's size",
        json_schema_extra={"pattern": f"^{_MARGIN.pattern}$"},
    )
    bg_color: Annotated[str | None, BeforeValidator(_normalize_color)] = Field(
        None,
        description="color behind the cut-out: hex rgb, rgba, rrggbb or rrggbbaa, or a name",
        json_schema_extra={"pattern": _COLOR_PATTERN},
    )
    decontaminate: bool = Field(
        default=True,
        description="give soft edges the subject's own color; false keeps the picture's, mixed with its background",
    )
    hints: Annotated[str | None, BeforeValidator(_normalize_hints)] = Field(
        None,
        description="where the subject is: points x,y, boxes left,top,right,bottom and strokes x,y:x,y:x,y@width, in"
        " shares of the width and height (a stroke's width: of the longer side, 0.02 if left out), with spaces between;"
        " ! before a point or stroke: not there",
        json_schema_extra={"pattern": _HINTS_PATTERN},
    )

    @model_validator(mode="after")
    def _check_combination(self) -> Options:
        if self.crop_margin is not None and not self.crop:
            raise ValueError("crop_margin needs crop=true")
        if self.channels == "alpha" and self.output == "both":
            raise ValueError("channels=alpha and output=both contradict each other")
        return self

    @property
    def parsed_hints(self) -> tuple[Hint, ...]:
        return parse_hints(self.hints) if self.hints else ()

    @property
    def effective_output(self) -> Output:
        """``output``, or "mask" for remove.bg's ``channels=alpha``."""
        return "mask" if self.channels == "alpha" else self.output
