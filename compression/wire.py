"""Reading protobuf's wire format strictly: one pass, nothing skipped, every number in its shortest form.

A general parser accepts many byte strings for one message and may allocate many times its size;
what comes from outside gets neither freedom.
"""

from __future__ import annotations

from phloem.errors import CorruptUpdate

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

VARINT_MOST_BYTES = 10
U64_END = 1 << 64


def tag(field: int, kind: int) -> bytes:
    """The byte before a field whose number is below 16."""
    return bytes([field << 3 | kind])


def varint_bytes(value: int) -> int:
    """The size of a varint."""
    return max(1, -(-value.bit_length() // 7))


class Reader:
    """Goes through `data` once, from the front.

    Raises:
        CorruptUpdate: from every method, where the bytes are not what is asked for.
    """

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._at = 0

    @property
    def at(self) -> int:
        """How many bytes were used."""
        return self._at

    @property
    def done(self) -> bool:
        """Whether every byte was used."""
        return self._at == len(self._data)

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        end = self._at + size
        if end > len(self._data):
            raise CorruptUpdate(
                f"{size} bytes should follow byte {self._at}. Found {len(self._data) - self._at}."
            )
        taken = bytes(self._data[self._at : end])
        self._at = end
        return taken

    def has(self, wanted: bytes) -> bool:
        """Whether `wanted` comes next; if so it is used."""
        end = self._at + len(wanted)
        found = self._data[self._at : end] == wanted
        self._at = end if found else self._at
        return found

    def varint(self) -> int:
        """An unsigned number of at most 64 bits, in as few bytes as it needs."""
        value = 0
        for place in range(VARINT_MOST_BYTES):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                if (place and byte == 0) or value >= U64_END:
                    break
                return value
        raise CorruptUpdate(f"A number should be in its shortest form. Found another before byte {self._at}.")

    def number(self, field: int) -> int:
        """A number's field; 0 where it is left out, as zeros have to be."""
        if not self.has(tag(field, VARINT)):
            return 0
        value = self.varint()
        if value == 0:
            raise CorruptUpdate(f"Field {field} should be left out where it is zero. Found it.")
        return value

    def block(self, field: int, limit: int) -> bytes:
        """A field of at most `limit` bytes."""
        if not self.has(tag(field, BYTES)):
            raise CorruptUpdate(f"Field {field} should come at byte {self._at}. Found another, or the end.")
        size = self.varint()
        if size > limit:
            raise CorruptUpdate(f"Field {field} should have at most {limit} bytes here. Found {size}.")
        return self.take(size)
