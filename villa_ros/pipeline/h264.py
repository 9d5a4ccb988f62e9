"""As much of the syntax of H.264 and H.265 as tells where a stream can be entered and whether a picture is missing.

Rec. ITU-T H.264 (08/2021), 7.3 and 7.4; Rec. ITU-T H.265 (08/2021), 7.3.1. Streams with start codes (annex B).
"""

from __future__ import annotations

from collections.abc import Iterator

_START = b"\x00\x00\x01"
_HEAD = 96  # bytes of a unit in which its headers end; a parameter set with scaling lists is longer, and read whole
_SLICE, _KEY_SLICE, _PARAMETERS = 1, 5, 7  # kinds of H.264's units
_LEAST_BITS, _MOST_MORE_BITS = 4, 12  # of a frame number: 7.4.2.1.1
_H265_ENTRIES = range(16, 24)
_WITH_CHROMA = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})  # profiles


def units(data: bytes) -> Iterator[bytes]:
    """The units of a packet, without their start codes."""
    at = data.find(_START)
    while at >= 0:
        begin = at + len(_START)
        at = data.find(_START, begin)
        unit = data[begin:] if at < 0 else data[begin:at].rstrip(b"\x00")
        if unit:
            yield unit


def begins_h264(data: bytes) -> bool:
    """Can a stream be entered with this packet?"""
    return any(unit[0] & 0x1F == _KEY_SLICE for unit in units(data))


def begins_h265(data: bytes) -> bool:
    """The same for H.265."""
    return any((unit[0] >> 1) & 0x3F in _H265_ENTRIES for unit in units(data))


class FrameNumbers:
    """Follows the numbers that an H.264 encoder gives to the pictures that others are made from."""

    def __init__(self) -> None:
        self._bits = 0  # of a number; 0: not told yet
        self._separate = False
        self._gaps = False  # the encoder may leave numbers out
        self._last: int | None = None

    def follows(self, data: bytes) -> bool:
        """Is nothing missing between the packet before and this one, as far as can be told?"""
        for unit in units(data):
            kind, kept = unit[0] & 0x1F, bool(unit[0] & 0x60)
            if kind == _PARAMETERS:
                self._read_parameters(_Bits(unit[1:]))
            elif kind in (_SLICE, _KEY_SLICE) and self._bits:
                return self._follows(_Bits(unit[1:_HEAD]), kind == _KEY_SLICE, kept)
        return True

    def _follows(self, bits: _Bits, key: bool, kept: bool) -> bool:
        for _ in range(3):  # first macroblock, type of slice, parameter set
            bits.exp_golomb()
        if self._separate:
            bits.take(2)
        number, last = bits.take(self._bits), self._last
        if kept or key:
            self._last = number
        if key or last is None or self._gaps:
            return True
        return number in (last, (last + 1) % (1 << self._bits))

    def _read_parameters(self, bits: _Bits) -> None:
        profile = bits.take(8)
        bits.take(16)
        bits.exp_golomb()
        self._separate = False
        if profile in _WITH_CHROMA:
            chroma = bits.exp_golomb()
            if chroma == 3:
                self._separate = bool(bits.take(1))
            bits.exp_golomb()
            bits.exp_golomb()
            bits.take(1)
            if bits.take(1):
                for row in range(12 if chroma == 3 else 8):
                    if bits.take(1):
                        _skip_scaling_list(bits, 16 if row < 6 else 64)
        more = bits.exp_golomb()
        self._bits = more + _LEAST_BITS if more <= _MOST_MORE_BITS else 0  # a damaged set tells nothing
        order = bits.exp_golomb()
        if order == 0:
            bits.exp_golomb()
        elif order == 1:
            bits.take(1)
            bits.exp_golomb()
            bits.exp_golomb()
            for _ in range(min(bits.exp_golomb(), 255)):
                bits.exp_golomb()
        bits.exp_golomb()
        self._gaps = bool(bits.take(1))


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


class _Bits:
    """Bits of a unit, the bytes that keep start codes out of it removed. Behind the end all are 0."""

    def __init__(self, data: bytes) -> None:
        self._data = data.replace(b"\x00\x00\x03", b"\x00\x00")
        self._at = 0

    def take(self, count: int) -> int:
        """So many bits as a number."""
        value = 0
        for _ in range(count):
            byte = self._at >> 3
            bit = (self._data[byte] >> (7 - (self._at & 7))) & 1 if byte < len(self._data) else 0
            value = value << 1 | bit
            self._at += 1
        return value

    def exp_golomb(self) -> int:
        """A number in the code of small numbers."""
        zeros = 0
        while zeros < 32 and not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def signed(self) -> int:
        """The same with a sign."""
        value = self.exp_golomb()
        return (value + 1) // 2 if value % 2 else -(value // 2)
