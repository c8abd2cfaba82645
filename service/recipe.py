"""All settings of one compression job, validated; shared by the command line and the API.

Knows neither torch nor onnx nor the web: texts and numbers in, one frozen value out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from math import isfinite
from typing import Literal

from graph_analysis.errors import InputError
from service.export_names import FORMATS, MOST_DROP

Quantity = Literal["macs", "parameters", "bytes", "latency"]
_KINDS = ("channel", "head", "operator")
CHOICES = {
    "optimizer": ("sgd", "adam", "adamw"),
    "loss": (
        "auto",
        "mix",
        "distillation",
        "cross-entropy",
        "token-cross-entropy",
        "bce",
        "mse",
        "l1",
        "huber",
    ),
    "comparison": ("auto", "loss", "relative"),
    "renormalise": ("auto", "on", "off"),
    "augment": ("none", "flip-crop", "rand"),
    "lr_schedule": ("cosine", "one-cycle", "constant", "step"),
    "precision": ("auto", "float32", "bfloat16", "float16"),
    "start": ("pretrained", "scratch"),
    "layout": ("auto", "channels-last", "plain"),
    "cut_during_training": ("on", "off"),
    "sync_batch_norm": ("on", "off"),
    "device": ("auto", "cpu", "cuda"),
}
_SALIENCIES = ("magnitude", "taylor", "taylor-second", "fisher", "fisher-diagonal", "cosine")
_SALIENCIES_ALONE = ("paper", "hesso")  # cannot be mixed
_RATIOS = ("target_macs", "target_params", "target_bytes", "target_latency")
# name -> smallest and largest legal value
_WHOLE = {
    "epochs": (1, 100_000),
    "batch_size": (1, 1 << 20),
    "measure_every": (1, 100_000),
    "seed": (0, (1 << 63) - 1),
    "multiple": (1, 4096),
    "min_units": (1, 4096),
    "ignore_index": (-(1 << 31), (1 << 31) - 1),
    "accumulate": (1, 4096),
    "patience": (1, 100_000),
    "checkpointing": (1, 1000),
    "latency_threads": (0, 1024),
    "latency_batch": (1, 4096),
}
_REAL = {
    "lr": (0.0, 1e3),
    "time_budget": (0.0, 1e9),
    "max_accuracy_drop": (0.0, 1.0),
    "augment_magnitude": (0.0, 1.0),
    "feature_weight": (0.0, 1e6),
    "mixup": (0.0, 10.0),
    "cutmix": (0.0, 10.0),
    "max_export_drop": (0.0, 1.0),
}
_MAY_BE_LEAST = (
    "max_accuracy_drop",
    "augment_magnitude",
    "mixup",
    "cutmix",
    "feature_weight",
    "max_export_drop",
)
_BELOW_ONE = (*_RATIOS, "ema_decay")
FLAGS = ("early_stop",)  # an option of the command line without a value
# name -> setting that it does nothing without, the values of that (none: any), and both as text
_NEEDS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "latency_threads": ("target_latency", (), "target_latency"),
    "latency_batch": ("target_latency", (), "target_latency"),
    "augment_magnitude": ("augment", ("rand",), "augment 'rand'"),
    "max_export_drop": ("exports", (), "exports"),
}
_NEEDS_DROP = "needs max_accuracy_drop, which says what is good enough"
_LEARNS = "learns from the original, which start scratch leaves out"
_COUNTS = "counts from the accuracy of the original, which start scratch leaves out"
_TRUTHS = {"true": True, "false": False, "on": True, "off": False}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What the user asks of a job; every default is right for a pretrained classifier.

    Attributes:
        target_macs: Share of multiply-accumulates that remains, between 0 and 1.
        target_params: The same for parameters.
        target_bytes: The same for bytes.
        target_latency: The same for the time of a run, measured in ONNX Runtime; exactly one of the
            four is given.
        latency_threads: Threads that ``target_latency`` is measured with; 0 is ONNX Runtime's own
            choice.
        latency_batch: Samples per run that it is measured with.
        epochs: Passes over the training data.
        batch_size: Samples per step.
        lr: Largest learning rate; None chooses it.
        optimizer: ``sgd``, ``adam`` or ``adamw``.
        loss: ``auto`` mixes labels and distillation where there are labels that fit; ``mse``
            without labels compares the values of the outputs with those of the original.
        saliency: What makes channels redundant: a criterion, or a mix such as
            ``0.7*magnitude+0.3*taylor``.
        measure_every: Saliency is measured in one of so many steps; more than 1 saves time.
        comparison: How units of different groups are compared: by the ``loss`` that narrowing their
            group costs per share of the budget saved, or ``relative`` to their group's mean;
            ``auto`` is the loss where a run is long enough for its trials.
        renormalise: Whether convolutions whose normalisations were folded away at export get new
            ones while they train: ``auto`` where the whole network looks so, ``on`` or ``off``.
        feature_weight: Of the distance to the original inside of the network, beside the loss.
        ignore_index: Label of positions that ``token-cross-entropy`` leaves out.
        augment: What training images go through: ``none``, ``flip-crop`` or ``rand``; not for
            pictures that mean something else when mirrored (digits, letters).
        augment_magnitude: Of ``rand``, 0 to 1.
        mixup: Blends training samples and their labels, shares from Beta(mixup, mixup); 0 is off.
        cutmix: Sets training images into each other, likewise; 0 is off.
        lr_schedule: How the learning rate goes: ``cosine``, ``one-cycle``, ``constant``, ``step``.
        precision: ``float32``, ``bfloat16`` or ``float16`` for convolutions and products in
            training; ``auto`` takes bfloat16 on a GPU that has it.
        accumulate: Parts that the batch of a step is computed in, to save memory.
        checkpointing: Parts of the network of which all but the last are computed again in the
            backward pass, to save memory.
        layout: ``channels-last``, ``plain``, or ``auto`` by the kind of network.
        start: ``pretrained`` or ``scratch``: new weights, and labels alone to learn from.
        ema_decay: Of a moving average of the weights that is judged beside them; None has none.
        early_stop: Whether training ends once it is within ``max_accuracy_drop`` for sure.
        patience: Evaluations without a better network that end the training; None goes on.
        cut_during_training: ``on`` cuts out of the network what has become zero while it trains, so
            that the rest goes faster; ``off`` trains with the zeros. The same but for rounding.
        sync_batch_norm: Whether normalisations use the samples of all processes, where several
            train together: ``on`` or ``off``.
        seed: Of everything that is random.
        time_budget: Seconds of training; None is unlimited.
        max_accuracy_drop: Largest loss of accuracy that is still a success (0..1); None is any.
        kinds: Kinds of groups that may go.
        multiple: Kept channels of a node group are a multiple of this where there are more: other
            widths fall out of the blocked convolutions of ONNX Runtime and cost time.
        min_units: Units that every node group keeps at least.
        protect: Patterns on names of nodes, tensors and weights that stay.
        device: ``auto`` takes a GPU where there is one.
        exports: Further formats of the result: ``float16``, ``int8``, ``int8-weights``, ``ort``,
            ``bundle``.
        max_export_drop: Largest loss of a format that is handed out (0..1): of accuracy, or without
            labels of agreement with the float model.
    """

    target_macs: float | None = None
    target_params: float | None = None
    target_bytes: float | None = None
    target_latency: float | None = None
    latency_threads: int = 1
    latency_batch: int = 1
    epochs: int = 30
    batch_size: int = 64
    lr: float | None = None
    optimizer: str = "sgd"
    loss: str = "auto"
    saliency: str = "magnitude"
    measure_every: int = 1
    comparison: str = "auto"
    renormalise: str = "auto"
    feature_weight: float = 0.0
    ignore_index: int = -100
    augment: str = "none"
    augment_magnitude: float = 0.3
    mixup: float = 0.0
    cutmix: float = 0.0
    lr_schedule: str = "cosine"
    precision: str = "float32"
    accumulate: int = 1
    checkpointing: int = 1
    layout: str = "auto"
    start: str = "pretrained"
    ema_decay: float | None = None
    early_stop: bool = False
    patience: int | None = None
    cut_during_training: str = "on"
    sync_batch_norm: str = "on"
    seed: int = 0
    time_budget: float | None = None
    max_accuracy_drop: float | None = None
    kinds: tuple[str, ...] = _KINDS
    multiple: int = 8
    min_units: int = 1
    protect: tuple[str, ...] = ()
    device: str = "auto"
    exports: tuple[str, ...] = ()
    max_export_drop: float = MOST_DROP

    @property
    def target(self) -> tuple[Quantity, float]:
        """The quantity of the budget and the share of it that remains."""
        if self.target_macs is not None:
            return "macs", self.target_macs
        if self.target_params is not None:
            return "parameters", self.target_params
        if self.target_bytes is not None:
            return "bytes", self.target_bytes
        if self.target_latency is not None:
            return "latency", self.target_latency
        message = "a recipe has a target"
        raise AssertionError(message)

    @classmethod
    def parse(cls, given: Mapping[str, object]) -> "Recipe":
        """A recipe from settings named as on the command line (``_`` or ``-``), texts or values.

        Raises:
            InputError: An unknown name, an illegal value, or not exactly one target.
        """
        known = [field.name for field in fields(cls)]
        values: dict[str, object] = {}
        for raw, value in given.items():
            name = raw.replace("-", "_")
            if name not in known:
                near = get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
                message = f"unknown setting {raw!r}{hint}"
                raise InputError(message, param=raw)
            if value is not None:
                values[name] = _reader(name)(name, value)
        _check_needs(values)
        targets = [name for name in _RATIOS if name in values]
        if len(targets) != 1:
            message = f"exactly one of {', '.join(_RATIOS)} is needed, got {len(targets)}"
            raise InputError(message, param="target_macs")
        recipe = cls(**values)  # type: ignore[arg-type]
        _check_together(recipe)
        return recipe


def _check_needs(values: Mapping[str, object]) -> None:
    """Refuse settings that would do nothing because of others."""
    for name, (other, legal, text) in _NEEDS.items():
        given = values.get(other)
        if name in values and (given is None or (legal and given not in legal)):
            message = f"{name} does nothing without {text}; leave it out, or give that too"
            raise InputError(message, param=name)


def _check_together(recipe: Recipe) -> None:
    """Refuse what ``optimizer.contradictions`` would, before a job is made of it."""
    scratch = recipe.start == "scratch"
    rules = (
        ("accumulate", recipe.accumulate > recipe.batch_size, "is more than batch_size"),
        ("early_stop", recipe.early_stop and recipe.max_accuracy_drop is None, _NEEDS_DROP),
        ("loss", scratch and recipe.loss in ("distillation", "mix"), _LEARNS),
        ("feature_weight", scratch and recipe.feature_weight > 0, _LEARNS),
        ("max_accuracy_drop", scratch and recipe.max_accuracy_drop is not None, _COUNTS),
    )
    for name, is_broken, text in rules:
        if is_broken:
            message = f"{name} {getattr(recipe, name)} {text}"
            raise InputError(message, param=name)


def _reader(name: str) -> Callable[[str, object], object]:
    if name in _WHOLE:
        return _whole
    if name in CHOICES:
        return _choice
    if name in FLAGS:
        return _flag
    readers = {"kinds": _kinds, "protect": _names, "saliency": _saliency, "exports": _exports}
    return readers.get(name, _real)


def _whole(name: str, value: object) -> int:
    low, high = _WHOLE[name]
    try:
        number = int(value) if isinstance(value, str) else value
    except ValueError:
        number = value
    if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
        message = f"{name} is a whole number from {low} to {high}, got {value!r}"
        raise InputError(message, param=name)
    return number


def _real(name: str, value: object) -> float:
    low, high = _REAL.get(name, (0.0, 1.0))
    try:
        number = float(value) if isinstance(value, str | int | float) else float("nan")
    except (ValueError, OverflowError):
        number = float("nan")
    inside = low < number < high if name in _BELOW_ONE else low < number <= high
    inside = inside or (name in _MAY_BE_LEAST and number == low)
    if isinstance(value, bool) or not isfinite(number) or not inside:
        most = "below" if name in _BELOW_ONE else "at most"
        least = "at least" if name in _MAY_BE_LEAST else "above"
        message = f"{name} is a number {least} {low:g} and {most} {high:g}, got {str(value)[:40]!r}"
        raise InputError(message, param=name)
    return number


def _flag(name: str, value: object) -> bool:
    truth = value if isinstance(value, bool) else _TRUTHS.get(str(value).lower())
    if truth is None:
        message = f"{name} is true or false, got {str(value)[:40]!r}"
        raise InputError(message, param=name)
    return truth


def _choice(name: str, value: object) -> str:
    if value not in CHOICES[name]:
        message = f"{name} is one of {', '.join(CHOICES[name])}, got {value!r}"
        raise InputError(message, param=name)
    return str(value)


def _saliency(name: str, value: object) -> str:
    terms = [term.rpartition("*") for term in str(value).split("+")]
    names = [term[2].strip() for term in terms]
    mixes = set(names) <= set(_SALIENCIES) and len(set(names)) == len(names)
    weights = all(_is_weight(weight) for weight, star, _ in terms if star)
    if str(value) in _SALIENCIES_ALONE or (mixes and weights):
        return str(value)
    known = ", ".join(_SALIENCIES + _SALIENCIES_ALONE)
    message = (
        f"saliency is one of {known}, or a mix such as 0.7*magnitude+0.3*taylor without "
        f"{' and '.join(_SALIENCIES_ALONE)}, got {str(value)[:80]!r}"
    )
    raise InputError(message, param=name)


def _is_weight(text: str) -> bool:
    try:
        return 0 < float(text) < 1e9
    except ValueError:
        return False


def _kinds(name: str, value: object) -> tuple[str, ...]:
    names = _names(name, value)
    if not names or not set(names) <= set(_KINDS):
        message = f"kinds is a list of {', '.join(_KINDS)}, got {value!r}"
        raise InputError(message, param=name)
    return names


def _exports(name: str, value: object) -> tuple[str, ...]:
    names = _names(name, value)
    if len(set(names)) < len(names) or not set(names) <= set(FORMATS):
        message = f"exports is a list of {', '.join(FORMATS)}, each once, got {value!r}"
        raise InputError(message, param=name)
    return names


def _names(name: str, value: object) -> tuple[str, ...]:
    given = [value] if isinstance(value, str) else value
    if isinstance(given, list | tuple) and all(isinstance(part, str) for part in given):
        return tuple(part.strip() for text in given for part in text.split(",") if part.strip())
    message = f"{name} is a list of texts, got {value!r}"
    raise InputError(message, param=name)
