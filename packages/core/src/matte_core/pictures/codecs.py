"""Sizes that HEVC (ISO/IEC 23008-2) and AV1 (AV1 Bitstream & Decoding Process Specification) streams declare.

A decoder allocates by these, not by the size that the container states.
"""

from __future__ import annotations

from collections.abc import Iterator

_HEVC_SPS, _HEVC_LAST_SLICE = 33, 31
#: a sequence parameter set states the size within its first bytes, however many layers it describes
_HEVC_SPS_BYTES = 256
_AV1_SEQUENCE_HEADER, _AV1_FRAME_HEADER, _AV1_FRAME = 1, 3, 6
#: a sequence header of 32 operating points with every optional field is shorter
_AV1_HEADER_BYTES = 1024

#: (whether a picture starts in a unit of the stream, the (width, height) it declares or None)
Unit = tuple[bool, tuple[int, int] | None]


class BitReader:
    """Reads ``data`` from the most significant bit of its first byte; IndexError beyond the end."""

    def __init__(self, data: bytes) -> None:
        self._number = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def read(self, count: int) -> int:
        if count > self._left:
            raise IndexError("the header ends too early")
        self._left -= count
        return self._number >> self._left & (1 << count) - 1

    def exp_golomb(self) -> int:
        """``ue(v)`` of HEVC §9.2, ``uvlc()`` of AV1 §4.10.3."""
        zeros = 0
        while not self.read(1):
            zeros += 1
        return (1 << zeros) - 1 + self.read(zeros)


def hevc_units(config: bytes, data: memoryview) -> Iterator[Unit]:
    """Units of the ``hvcC`` box (ISO/IEC 14496-15 §8.3.2.1), then of the data, which may have parameter sets, too."""
    position = 23
    for _ in range(config[22]):
        count = int.from_bytes(config[position + 1 : position + 3], "big")
        position += 3
        for _ in range(count):
            length = int.from_bytes(config[position : position + 2], "big")
            yield False, _hevc_size(config[position + 2 : position + 2 + length])
            position += 2 + length
    prefix, position = (config[21] & 3) + 1, 0
    while position + prefix < len(data):
        length = int.from_bytes(data[position : position + prefix], "big")
        position += prefix
        nal = bytes(data[position : position + min(length, _HEVC_SPS_BYTES)])
        first_slice = len(nal) > 2 and nal[0] >> 1 & 63 <= _HEVC_LAST_SLICE and bool(nal[2] & 0x80)  # §7.3.6.1
        yield first_slice, _hevc_size(nal)
        position += length


def _hevc_size(nal: bytes) -> tuple[int, int] | None:
    """Luma samples in a sequence parameter set (§7.3.2.2.1) of the base layer; decoders drop other layers."""
    if len(nal) < 3 or nal[0] >> 1 & 63 != _HEVC_SPS or (nal[0] & 1) << 5 | nal[1] >> 3:
        return None
    bits = BitReader(nal[2:_HEVC_SPS_BYTES].replace(b"\0\0\3", b"\0\0"))
    bits.read(4)
    layers = bits.read(3)
    bits.read(1 + 96)
    present = [(bits.read(1), bits.read(1)) for _ in range(layers)]
    if layers:
        bits.read(2 * (8 - layers))
    for profile, level in present:
        bits.read(88 * profile + 8 * level)
    bits.exp_golomb()
    if bits.exp_golomb() == 3:  # 4:4:4 has a flag for separate planes
        bits.read(1)
    return bits.exp_golomb(), bits.exp_golomb()


def av1_units(data: memoryview) -> Iterator[Unit]:
    """Open bitstream units of an item's data (§5.3)."""
    position = 0
    while position < len(data):
        head = data[position]
        position += 2 if head & 4 else 1
        length = len(data) - position
        if head & 2:  # LEB128 (§4.10.5): at most eight bytes of seven bits each
            length = 0
            for index in range(8):
                length |= (data[position + index] & 127) << 7 * index
                if data[position + index] < 128:
                    break
            position += index + 1
        kind = head >> 3 & 15
        size = None
        if kind == _AV1_SEQUENCE_HEADER:
            size = _av1_size(bytes(data[position : position + min(length, _AV1_HEADER_BYTES)]))
        yield kind in (_AV1_FRAME_HEADER, _AV1_FRAME), size
        position += length


def _av1_size(sequence_header: bytes) -> tuple[int, int]:
    """Width and height of the largest frame (§5.5.1)."""
    bits = BitReader(sequence_header)
    bits.read(3 + 1)
    if bits.read(1):  # reduced_still_picture_header
        bits.read(5)
    else:
        delay_bits = 0
        if bits.read(1):  # timing_info_present_flag
            bits.read(64)
            if bits.read(1):
                bits.exp_golomb()
            if bits.read(1):  # decoder_model_info_present_flag
                delay_bits = bits.read(5) + 1
                bits.read(42)
        display_delay = bits.read(1)
        for _ in range(bits.read(5) + 1):
            bits.read(12)
            if bits.read(5) > 7:
                bits.read(1)
            if delay_bits and bits.read(1):
                bits.read(2 * delay_bits + 1)
            if display_delay and bits.read(1):
                bits.read(4)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    return bits.read(width_bits) + 1, bits.read(height_bits) + 1
