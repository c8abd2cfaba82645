"""The form of ``POST /v1/jobs`` as the OpenAPI document describes it."""

import re
from dataclasses import fields
from inspect import getdoc
from typing import Any

from service.form_parts import FILE_FIELD
from service.job_requests import SETTINGS
from service.recipe import CHOICES, Recipe
from service.schemas import JobRequest

_EXAMPLE = {"dataset": "https://example.com/digits.npz", "target_macs": "0.4", "epochs": "10"}


_ENTRY = re.compile(r"^    (\w+): (.*(?:\n {8,}.*)*)", re.MULTILINE)
_DEFAULTS = {field.name: field.default for field in fields(Recipe)}


def _texts() -> dict[str, str]:
    """What the recipe says of each setting."""
    found = _ENTRY.findall(getdoc(Recipe) or "")
    return {name: " ".join(text.replace("``", "`").split()) for name, text in found}


def _setting(name: str, text: str) -> dict[str, Any]:
    """One setting as a field: a text, as all form fields are."""
    schema: dict[str, Any] = {"type": "string", "description": text}
    if name in CHOICES:
        schema["enum"] = list(CHOICES[name])
    default = _DEFAULTS[name]
    if isinstance(default, bool):
        schema["default"] = str(default).lower()
    elif isinstance(default, int | float | str):
        schema["default"] = str(default)
    elif isinstance(default, tuple) and default:
        schema["default"] = ",".join(default)
    return schema


def _job_form() -> dict[str, Any]:
    properties: dict[str, Any] = {
        FILE_FIELD: {"type": "string", "format": "binary", "description": "The ONNX file."},
        "dataset": {"type": "string", "description": "Address of the data set (NPZ)."},
        "metadata": {"type": "string", "description": "JSON object of strings."},
        "job": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/JobRequest"},
            "description": "The whole request as JSON instead of single fields.",
        },
    }
    texts = _texts()
    properties |= {name: _setting(name, texts.get(name, "")) for name in SETTINGS}
    schema = {
        "type": "object",
        "required": [FILE_FIELD],
        "properties": properties,
        "additionalProperties": False,
        "example": _EXAMPLE,
    }
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


def form_schemas() -> dict[str, Any]:
    """The schemas that the form refers to, for the document's components."""
    schema = JobRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs", {}), "JobRequest": schema}


JOB_FORM = _job_form()
