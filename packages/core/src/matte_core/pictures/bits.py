"""Numbers that do not begin at a byte, as the headers of video codecs have them."""

from __future__ import annotations


class Bits:
    """Reads ``data`` from its first, highest bit.

    Raises:
        IndexError: a number lies beyond the end.
    """

    def __init__(self, data: bytes) -> None:
        self._number = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def read(self, count: int) -> int:
        """The next ``count`` bits, unsigned."""
        if count > self._left:
            raise IndexError("the header ends too early")
        self._left -= count
        return self._number >> self._left & (1 << count) - 1

    def golomb(self) -> int:
        """An Exp-Golomb number: ``ue(v)`` of HEVC §9.2 and ``uvlc()`` of AV1 §4.10.3."""
        zeros = 0
        while not self.read(1):
            zeros += 1
        return (1 << zeros) - 1 + self.read(zeros)
