"""The form of ``POST /v1/jobs`` as the OpenAPI document describes it."""

from typing import Any

from service.form_parts import FILE_FIELD
from service.job_requests import SETTINGS
from service.schemas import JobRequest

_EXAMPLE = {"dataset": "https://example.com/digits.npz", "target_macs": "0.4", "epochs": "10"}


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
    properties |= {name: {"type": "string"} for name in SETTINGS}
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
