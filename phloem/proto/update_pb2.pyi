from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Frame(_message.Message):
    __slots__ = ("format", "schema", "codec", "base", "seq", "payloads", "crc32c")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    PAYLOADS_FIELD_NUMBER: _ClassVar[int]
    CRC32C_FIELD_NUMBER: _ClassVar[int]
    format: int
    schema: int
    codec: str
    base: int
    seq: int
    payloads: _containers.RepeatedScalarFieldContainer[bytes]
    crc32c: int
    def __init__(self, format: _Optional[int] = ..., schema: _Optional[int] = ..., codec: _Optional[str] = ..., base: _Optional[int] = ..., seq: _Optional[int] = ..., payloads: _Optional[_Iterable[bytes]] = ..., crc32c: _Optional[int] = ...) -> None: ...

class Chain(_message.Message):
    __slots__ = ("frames",)
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    frames: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, frames: _Optional[_Iterable[bytes]] = ...) -> None: ...
