from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PredictBatchRequest(_message.Message):
    __slots__ = ("scenario", "candidates", "predictor")
    SCENARIO_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    PREDICTOR_FIELD_NUMBER: _ClassVar[int]
    scenario: Scenario
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    predictor: str
    def __init__(self, scenario: _Optional[_Union[Scenario, _Mapping]] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., predictor: _Optional[str] = ...) -> None: ...

class Scenario(_message.Message):
    __slots__ = ("sha256", "content")
    SHA256_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    sha256: bytes
    content: bytes
    def __init__(self, sha256: _Optional[bytes] = ..., content: _Optional[bytes] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("changes", "queue_weights")
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    QUEUE_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    queue_weights: _containers.RepeatedCompositeFieldContainer[QueueWeights]
    def __init__(self, changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ..., queue_weights: _Optional[_Iterable[_Union[QueueWeights, _Mapping]]] = ...) -> None: ...

class QueueWeights(_message.Message):
    __slots__ = ("node", "weights")
    NODE_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    node: int
    weights: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, node: _Optional[int] = ..., weights: _Optional[_Iterable[float]] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("demand", "paths")
    DEMAND_FIELD_NUMBER: _ClassVar[int]
    PATHS_FIELD_NUMBER: _ClassVar[int]
    demand: int
    paths: _containers.RepeatedCompositeFieldContainer[Path]
    def __init__(self, demand: _Optional[int] = ..., paths: _Optional[_Iterable[_Union[Path, _Mapping]]] = ...) -> None: ...

class Path(_message.Message):
    __slots__ = ("links", "share")
    LINKS_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    links: _containers.RepeatedScalarFieldContainer[int]
    share: float
    def __init__(self, links: _Optional[_Iterable[int]] = ..., share: _Optional[float] = ...) -> None: ...

class PredictBatchResponse(_message.Message):
    __slots__ = ("model", "predictions", "queue_weights")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    model: Model
    predictions: _containers.RepeatedCompositeFieldContainer[Prediction]
    queue_weights: bool
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ..., predictions: _Optional[_Iterable[_Union[Prediction, _Mapping]]] = ..., queue_weights: _Optional[bool] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "version", "card_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CARD_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    card_id: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., card_id: _Optional[str] = ...) -> None: ...

class Prediction(_message.Message):
    __slots__ = ("delay_s", "delay_p99_s", "jitter_s", "loss_ratio", "link_utilisation_ratio", "link_loss_ratio")
    DELAY_S_FIELD_NUMBER: _ClassVar[int]
    DELAY_P99_S_FIELD_NUMBER: _ClassVar[int]
    JITTER_S_FIELD_NUMBER: _ClassVar[int]
    LOSS_RATIO_FIELD_NUMBER: _ClassVar[int]
    LINK_UTILISATION_RATIO_FIELD_NUMBER: _ClassVar[int]
    LINK_LOSS_RATIO_FIELD_NUMBER: _ClassVar[int]
    delay_s: _containers.RepeatedScalarFieldContainer[float]
    delay_p99_s: _containers.RepeatedScalarFieldContainer[float]
    jitter_s: _containers.RepeatedScalarFieldContainer[float]
    loss_ratio: _containers.RepeatedScalarFieldContainer[float]
    link_utilisation_ratio: _containers.RepeatedScalarFieldContainer[float]
    link_loss_ratio: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, delay_s: _Optional[_Iterable[float]] = ..., delay_p99_s: _Optional[_Iterable[float]] = ..., jitter_s: _Optional[_Iterable[float]] = ..., loss_ratio: _Optional[_Iterable[float]] = ..., link_utilisation_ratio: _Optional[_Iterable[float]] = ..., link_loss_ratio: _Optional[_Iterable[float]] = ...) -> None: ...

class RecommendPowersRequest(_message.Message):
    __slots__ = ("layouts", "method")
    LAYOUTS_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    layouts: _containers.RepeatedCompositeFieldContainer[Layout]
    method: str
    def __init__(self, layouts: _Optional[_Iterable[_Union[Layout, _Mapping]]] = ..., method: _Optional[str] = ...) -> None: ...

class Layout(_message.Message):
    __slots__ = ("name", "links", "gains", "measured", "weights", "minimum_rates")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    GAINS_FIELD_NUMBER: _ClassVar[int]
    MEASURED_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_RATES_FIELD_NUMBER: _ClassVar[int]
    name: str
    links: _containers.RepeatedScalarFieldContainer[str]
    gains: _containers.RepeatedScalarFieldContainer[float]
    measured: _containers.RepeatedScalarFieldContainer[bool]
    weights: _containers.RepeatedScalarFieldContainer[float]
    minimum_rates: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, name: _Optional[str] = ..., links: _Optional[_Iterable[str]] = ..., gains: _Optional[_Iterable[float]] = ..., measured: _Optional[_Iterable[bool]] = ..., weights: _Optional[_Iterable[float]] = ..., minimum_rates: _Optional[_Iterable[float]] = ...) -> None: ...

class RecommendPowersResponse(_message.Message):
    __slots__ = ("powers", "version")
    POWERS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    powers: _containers.RepeatedCompositeFieldContainer[Powers]
    version: str
    def __init__(self, powers: _Optional[_Iterable[_Union[Powers, _Mapping]]] = ..., version: _Optional[str] = ...) -> None: ...

class Powers(_message.Message):
    __slots__ = ("powers", "rates", "violation", "possible", "method", "seconds")
    POWERS_FIELD_NUMBER: _ClassVar[int]
    RATES_FIELD_NUMBER: _ClassVar[int]
    VIOLATION_FIELD_NUMBER: _ClassVar[int]
    POSSIBLE_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    powers: _containers.RepeatedScalarFieldContainer[float]
    rates: _containers.RepeatedScalarFieldContainer[float]
    violation: _containers.RepeatedScalarFieldContainer[float]
    possible: bool
    method: str
    seconds: float
    def __init__(self, powers: _Optional[_Iterable[float]] = ..., rates: _Optional[_Iterable[float]] = ..., violation: _Optional[_Iterable[float]] = ..., possible: _Optional[bool] = ..., method: _Optional[str] = ..., seconds: _Optional[float] = ...) -> None: ...
