"""From a received form to what the job store wants: settings checked, nothing read or run.

There are two ways to write a request: one field per setting, named as on the command line, or the
field ``job`` with all of it as JSON. Both end in the same ``JobSpec``.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from service.errors import RequestError
from service.form_parts import FILE_FIELD, ReceivedForm, UploadedFile
from service.jobs import JobSpec, ModelReference
from service.problems import one_line
from service.recipe import Recipe
from service.schemas import JobRequest, Metadata
from service.storage import content_key
from service.uploads import unknown_field

TARGETS = {
    "target_macs": "macs",
    "target_params": "params",
    "target_bytes": "bytes",
    "target_latency": "latency",
}
SETTINGS = tuple(item.name for item in fields(Recipe))
_NUMBERS = frozenset(  # settings that take an int or a float, and perhaps null
    name for name, hint in get_type_hints(Recipe).items() if {int, float} & {hint, *get_args(hint)}
)
TEXT_FIELDS = ("job", "dataset", "metadata", *SETTINGS)
_METADATA: TypeAdapter[dict[str, str]] = TypeAdapter(Metadata)


@dataclass(frozen=True, kw_only=True)
class JobDraft:
    """A checked request whose model has not been stored yet.

    Attributes:
        file: The uploaded model.
        dataset_uri: Address of the data set; not checked here.
        target: ``macs``, ``params``, ``bytes``, ``latency`` -> ratio.
        recipe: The settings that were given, besides the target.
        metadata: The user's own pairs.
    """

    file: UploadedFile
    dataset_uri: str
    target: Mapping[str, float]
    recipe: Mapping[str, object]
    metadata: Mapping[str, str]

    def spec(self, owner: str) -> JobSpec:
        """What the store wants, for a model that is (or will be) stored by content."""
        reference = ModelReference(
            name=self.file.name,
            key=content_key(owner, self.file.sha256),
            sha256=self.file.sha256,
            bytes=self.file.size,
        )
        return JobSpec(
            model=reference,
            dataset_uri=self.dataset_uri,
            target=self.target,
            recipe=self.recipe,
            metadata=self.metadata,
        )

    @property
    def digest(self) -> str:
        """SHA-256 of everything that makes this request this request, in canonical form."""
        canonical = {
            "model": self.file.sha256,
            "dataset": self.dataset_uri,
            "target": dict(self.target),
            "recipe": dict(self.recipe),
            "metadata": dict(self.metadata),
        }
        text = json.dumps(canonical, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def draft_job(form: ReceivedForm) -> JobDraft:
    """Check a form.

    Raises:
        InputError: A field is missing, unknown, contradictory or not valid; ``param`` names it.
    """
    if form.file is None:
        message = "send the ONNX file in the field 'model', for example with curl -F model=@m.onnx"
        raise RequestError(message, param=FILE_FIELD)
    texts = dict(form.texts)
    request = texts.pop("job", None)
    metadata = _metadata(texts.pop("metadata", None))
    dataset = texts.pop("dataset", None)
    if request is None:
        settings: Mapping[str, object] = texts
    else:
        settings, dataset, metadata = _from_json(request, texts, dataset, metadata)
    if not dataset:
        message = "say where the data is: the field 'dataset' with a file:// or https:// address"
        raise RequestError(message, param="dataset")
    target, recipe = _settings(settings)
    return JobDraft(
        file=form.file, dataset_uri=dataset, target=target, recipe=recipe, metadata=metadata
    )


def _from_json(
    text: str, others: Mapping[str, str], dataset: str | None, metadata: Mapping[str, str]
) -> tuple[Mapping[str, object], str | None, Mapping[str, str]]:
    """Settings, data set and metadata of the field ``job``; the form may not say them again."""
    request = _parse_request(text)
    twice = [*others]
    twice += ["dataset"] if dataset and request.dataset else []
    twice += ["metadata"] if metadata and request.metadata else []
    if twice:
        message = f"'{twice[0]}' is given both as a field and in 'job'; use one of the two"
        raise RequestError(message, param=twice[0])
    target = request.target.model_dump(exclude_none=True)
    settings: dict[str, object] = {f"target_{name}": ratio for name, ratio in target.items()}
    for name, value in request.recipe.items():
        if name in settings or name in TARGETS or name not in SETTINGS:
            raise unknown_field(name, [known for known in SETTINGS if known not in TARGETS])
        if isinstance(value, str) and name in _NUMBERS:
            message = f"'{name}' must be a number in JSON, not text"
            raise RequestError(message, param=name)
        settings[name] = value
    return settings, request.dataset or dataset, request.metadata or metadata


def _parse_request(text: str) -> JobRequest:
    try:
        return JobRequest.model_validate_json(text)
    except ValidationError as error:
        raise _refusal(error, "job") from error


def _metadata(text: str | None) -> Mapping[str, str]:
    if text is None:
        return {}
    try:
        return _METADATA.validate_json(text, strict=True)
    except ValidationError as error:
        raise _refusal(error, "metadata") from error


def _refusal(error: ValidationError, field: str) -> RequestError:
    """The first finding of pydantic, without the input that it would quote."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    if first["type"] == "json_invalid":
        message = f"'{field}' is not JSON: {first['msg'].removeprefix('Invalid JSON: ')}"
        return RequestError(one_line(message), code="invalid-json", param=field)
    pointer = "".join(f"/{part}" for part in first["loc"])
    if first["type"] == "extra_forbidden":
        unknown = unknown_field(str(first["loc"][-1]), [*JobRequest.model_fields])
        return RequestError(str(unknown), param=one_line(f"{field}{pointer}"))
    return RequestError(
        one_line(f"{field}{pointer}: {first['msg']}"), param=one_line(field + pointer)
    )


def _settings(given: Mapping[str, object]) -> tuple[dict[str, float], dict[str, object]]:
    """Target and other settings, as the recipe understood them."""
    recipe = Recipe.parse(given)
    parsed = {name: getattr(recipe, name) for name in given}
    target = {TARGETS[name]: float(parsed.pop(name)) for name in TARGETS if name in parsed}
    if not target:
        message = "say what is to remain, for example target_macs=0.5 for half of the MACs"
        raise RequestError(message, param="target_macs")
    return target, {name: _plain(value) for name, value in parsed.items()}


def _plain(value: object) -> object:
    """A setting as JSON keeps it."""
    if isinstance(value, tuple | list | set | frozenset):
        items = [_plain(item) for item in value]
        return sorted(items, key=str) if isinstance(value, set | frozenset) else items
    return value if isinstance(value, bool | int | float) or value is None else str(value)
