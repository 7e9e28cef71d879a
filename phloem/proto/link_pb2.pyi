from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Up(_message.Message):
    __slots__ = ("hello", "answer", "renewal", "probe")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    RENEWAL_FIELD_NUMBER: _ClassVar[int]
    PROBE_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    answer: Answer
    renewal: Renewal
    probe: Probe
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., answer: _Optional[_Union[Answer, _Mapping]] = ..., renewal: _Optional[_Union[Renewal, _Mapping]] = ..., probe: _Optional[_Union[Probe, _Mapping]] = ...) -> None: ...

class Down(_message.Message):
    __slots__ = ("welcome", "task", "farewell", "renewed", "probed")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    FAREWELL_FIELD_NUMBER: _ClassVar[int]
    RENEWED_FIELD_NUMBER: _ClassVar[int]
    PROBED_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    task: Task
    farewell: Farewell
    renewed: Renewed
    probed: Probed
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., task: _Optional[_Union[Task, _Mapping]] = ..., farewell: _Optional[_Union[Farewell, _Mapping]] = ..., renewed: _Optional[_Union[Renewed, _Mapping]] = ..., probed: _Optional[_Union[Probed, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("protocol", "epoch", "run", "settings", "ready", "clock", "version")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    epoch: bytes
    run: int
    settings: int
    ready: _containers.RepeatedScalarFieldContainer[int]
    clock: float
    version: str
    def __init__(self, protocol: _Optional[int] = ..., epoch: _Optional[bytes] = ..., run: _Optional[int] = ..., settings: _Optional[int] = ..., ready: _Optional[_Iterable[int]] = ..., clock: _Optional[float] = ..., version: _Optional[str] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("run", "node", "settings_id", "settings", "most_bytes", "wanted")
    RUN_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_ID_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    MOST_BYTES_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    run: int
    node: int
    settings_id: int
    settings: bytes
    most_bytes: int
    wanted: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, run: _Optional[int] = ..., node: _Optional[int] = ..., settings_id: _Optional[int] = ..., settings: _Optional[bytes] = ..., most_bytes: _Optional[int] = ..., wanted: _Optional[_Iterable[int]] = ...) -> None: ...

class Task(_message.Message):
    __slots__ = ("id", "behind", "head", "data")
    ID_FIELD_NUMBER: _ClassVar[int]
    BEHIND_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    id: int
    behind: int
    head: bytes
    data: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, id: _Optional[int] = ..., behind: _Optional[int] = ..., head: _Optional[bytes] = ..., data: _Optional[_Iterable[bytes]] = ...) -> None: ...

class TaskHead(_message.Message):
    __slots__ = ("type", "group", "created_at", "ttl", "content")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    type: str
    group: str
    created_at: float
    ttl: float
    content: Content
    def __init__(self, type: _Optional[str] = ..., group: _Optional[str] = ..., created_at: _Optional[float] = ..., ttl: _Optional[float] = ..., content: _Optional[_Union[Content, _Mapping]] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("id", "head", "data")
    ID_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    id: int
    head: bytes
    data: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, id: _Optional[int] = ..., head: _Optional[bytes] = ..., data: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Farewell(_message.Message):
    __slots__ = ("finished", "reason")
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    finished: bool
    reason: str
    def __init__(self, finished: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class Renewal(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: bytes
    def __init__(self, request: _Optional[bytes] = ...) -> None: ...

class Renewed(_message.Message):
    __slots__ = ("certificate",)
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    certificate: bytes
    def __init__(self, certificate: _Optional[bytes] = ...) -> None: ...

class Probe(_message.Message):
    __slots__ = ("filler", "wanted")
    FILLER_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    filler: bytes
    wanted: int
    def __init__(self, filler: _Optional[bytes] = ..., wanted: _Optional[int] = ...) -> None: ...

class Probed(_message.Message):
    __slots__ = ("filler",)
    FILLER_FIELD_NUMBER: _ClassVar[int]
    filler: bytes
    def __init__(self, filler: _Optional[bytes] = ...) -> None: ...

class Content(_message.Message):
    __slots__ = ("records", "error")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[Record]
    error: Error
    def __init__(self, records: _Optional[_Iterable[_Union[Record, _Mapping]]] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("code", "reason")
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    code: int
    reason: str
    def __init__(self, code: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Record(_message.Message):
    __slots__ = ("name", "arrays", "config", "metrics")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARRAYS_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    name: str
    arrays: Arrays
    config: Values
    metrics: Values
    def __init__(self, name: _Optional[str] = ..., arrays: _Optional[_Union[Arrays, _Mapping]] = ..., config: _Optional[_Union[Values, _Mapping]] = ..., metrics: _Optional[_Union[Values, _Mapping]] = ...) -> None: ...

class Arrays(_message.Message):
    __slots__ = ("arrays",)
    ARRAYS_FIELD_NUMBER: _ClassVar[int]
    arrays: _containers.RepeatedCompositeFieldContainer[Array]
    def __init__(self, arrays: _Optional[_Iterable[_Union[Array, _Mapping]]] = ...) -> None: ...

class Array(_message.Message):
    __slots__ = ("name", "dtype", "stype", "shape", "bare")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    STYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    BARE_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: str
    stype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    bare: bool
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[str] = ..., stype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., bare: _Optional[bool] = ...) -> None: ...

class Values(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedCompositeFieldContainer[Value]
    def __init__(self, values: _Optional[_Iterable[_Union[Value, _Mapping]]] = ...) -> None: ...

class Value(_message.Message):
    __slots__ = ("name", "number", "whole", "large", "truth", "text", "blob", "detached", "list")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    WHOLE_FIELD_NUMBER: _ClassVar[int]
    LARGE_FIELD_NUMBER: _ClassVar[int]
    TRUTH_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    DETACHED_FIELD_NUMBER: _ClassVar[int]
    LIST_FIELD_NUMBER: _ClassVar[int]
    name: str
    number: float
    whole: int
    large: int
    truth: bool
    text: str
    blob: bytes
    detached: int
    list: Values
    def __init__(self, name: _Optional[str] = ..., number: _Optional[float] = ..., whole: _Optional[int] = ..., large: _Optional[int] = ..., truth: _Optional[bool] = ..., text: _Optional[str] = ..., blob: _Optional[bytes] = ..., detached: _Optional[int] = ..., list: _Optional[_Union[Values, _Mapping]] = ...) -> None: ...

class JoinToken(_message.Message):
    __slots__ = ("host", "port", "authority", "secret")
    HOST_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    host: str
    port: int
    authority: bytes
    secret: bytes
    def __init__(self, host: _Optional[str] = ..., port: _Optional[int] = ..., authority: _Optional[bytes] = ..., secret: _Optional[bytes] = ...) -> None: ...

class EnrolRequest(_message.Message):
    __slots__ = ("protocol", "secret", "request", "name", "clock", "epoch")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    secret: bytes
    request: bytes
    name: str
    clock: float
    epoch: bytes
    def __init__(self, protocol: _Optional[int] = ..., secret: _Optional[bytes] = ..., request: _Optional[bytes] = ..., name: _Optional[str] = ..., clock: _Optional[float] = ..., epoch: _Optional[bytes] = ...) -> None: ...

class EnrolReply(_message.Message):
    __slots__ = ("authority", "certificate", "port", "node", "refusal", "later")
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    LATER_FIELD_NUMBER: _ClassVar[int]
    authority: bytes
    certificate: bytes
    port: int
    node: int
    refusal: str
    later: bool
    def __init__(self, authority: _Optional[bytes] = ..., certificate: _Optional[bytes] = ..., port: _Optional[int] = ..., node: _Optional[int] = ..., refusal: _Optional[str] = ..., later: _Optional[bool] = ...) -> None: ...
