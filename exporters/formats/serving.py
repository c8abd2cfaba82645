"""The serving bundle: a folder that runs as it is, and that Triton serves as it is.

::

    NAME/
      README.txt      what is here, and how to run it
      client.py       runs the model on samples, prepared as in training
      config.pbtxt    Triton's configuration: the folder goes into a model repository
      1/model.onnx    the model, byte for byte
      report.json     and other files of the report, if given
"""

import hashlib
import io
import re
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import onnx

from exporters.formats.triton import Served, ServedTensor, described, served, triton_config
from exporters.sessions import Feeds
from graph_analysis.errors import InputError

_CLIENT = Path(__file__).with_name("example_client.py")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same files make the same archive
_LONGEST_NAME = 64


def bundle_name(path: Path) -> str:
    """A name for the bundle's folder that file systems and servers take.

    Example:
        >>> bundle_name(Path("out/my net (2).zip"))
        'my-net-2'
    """
    stem = path.stem if path.suffix == ".zip" else path.name
    return re.sub(r"[^A-Za-z0-9_.]+", "-", stem).strip("-.")[:_LONGEST_NAME] or "model"


def bundle_files(
    data: bytes,
    name: str,
    *,
    reports: Mapping[str, bytes] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    samples: Feeds | None = None,
) -> dict[str, bytes]:
    """The files of a bundle by their paths in its folder.

    Args:
        data: The ONNX file.
        name: Of the folder.
        reports: Files to lie beside it, by name.
        shapes: Shapes per input that are known to work; bind free axes but the batch.
        samples: Real ones to run it on; random ones without.

    Raises:
        InputError: ``export-unsupported``: the model cannot be served.
    """
    model = served(onnx.load_from_string(data), shapes, samples)
    return {
        "README.txt": _readme(name, data, model, tuple(reports or ())).encode(),
        "client.py": _CLIENT.read_bytes(),
        "config.pbtxt": triton_config(name, model).encode(),
        "1/model.onnx": data,
        **(reports or {}),
    }


def _readme(name: str, data: bytes, model: Served, reports: Sequence[str]) -> str:
    batches = (
        "The first axis counts samples and may be of any length; requests are batched together."
        if model.is_batched
        else "The batch is part of the file's shapes: requests are not batched together."
    )
    shown = "".join(f"{report:<16}what was removed, proved and measured\n" for report in reports)
    return f"""{name}: an ONNX model, ready to run

1/model.onnx    {len(data):,} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}
client.py       an example: runs the model on the samples of an NPZ file
config.pbtxt    the configuration for Triton Inference Server
{shown}
Inputs
{_listed(model.inputs)}
Outputs
{_listed(model.outputs)}
{batches}

Run it (needs numpy and onnxruntime):

    python client.py samples.npz outputs.npz

takes x_test of samples.npz (x_test:INPUT where there are several inputs; "train" or "val" as a
third argument takes those) and writes all outputs by name. Samples are prepared as they were for
training: cast to the type of the input and nothing else. Values must be scaled as they were there.

Serve it: copy this folder into a model repository and start

    tritonserver --model-repository REPOSITORY

The folder must keep the name {name}, or config.pbtxt be changed with it.
"""


def _listed(tensors: Sequence[ServedTensor]) -> str:
    return "".join(f"    {described(tensor)}\n" for tensor in tensors)


def write_bundle(files: Mapping[str, bytes], name: str, output: Path) -> None:
    """Write a bundle as an archive (``.zip``, one folder ``name`` in it) or as a folder.

    Raises:
        InputError: ``output`` is there already and no archive, or cannot be written.
    """
    try:
        if output.suffix == ".zip":
            _write_archive(files, name, output)
        else:
            _write_folder(files, output)
    except OSError as error:
        message = f"cannot write {output}: {error.strerror or error}"
        raise InputError(message, code="output-not-writable", param=str(output)) from error


def _write_archive(files: Mapping[str, bytes], name: str, output: Path) -> None:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            entry = zipfile.ZipInfo(f"{name}/{path}", _EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
    with tempfile.NamedTemporaryFile(dir=output.parent, prefix=".secateur-", delete=False) as file:
        temporary = Path(file.name)
        try:
            file.write(memory.getvalue())
            file.close()
            temporary.chmod(0o644)
            temporary.replace(output)
        finally:
            temporary.unlink(missing_ok=True)


def _write_folder(files: Mapping[str, bytes], output: Path) -> None:
    if output.exists():
        message = f"{output} is there already; name a new folder, or an archive (.zip)"
        raise InputError(message, code="output-not-writable", param=str(output))
    made = Path(tempfile.mkdtemp(dir=output.absolute().parent, prefix=".secateur-"))
    try:
        for path, data in files.items():
            target = made / PurePosixPath(path)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(data)
        made.chmod(0o755)
        made.rename(output)
    finally:
        shutil.rmtree(made, ignore_errors=True)
