"""Problems of the uploaded ONNX file, all found before anything is trained."""

from service.problems.kinds import kind

_EXPORT_AGAIN = "Export the model again and upload the new file."

MODEL_KINDS = (
    kind(
        "model-empty", 422, "The model is empty",
        "The file holds no bytes, or a graph without nodes.", _EXPORT_AGAIN,
    ),
    kind(
        "model-no-io", 422, "The model has no inputs or no outputs",
        "A graph needs at least one input that is not a weight, and one output.", _EXPORT_AGAIN,
    ),
    kind(
        "model-not-onnx", 422, "The file is not an ONNX model",
        "The bytes are something else: an archive, a PyTorch checkpoint, a web page, ...",
        "Convert it to ONNX first, for example with torch.onnx.export or tf2onnx.",
    ),
    kind(
        "model-truncated", 422, "The model file ends early",
        "The file stops in the middle of a record, as after an interrupted copy.",
        "Compare the size with the original and upload the whole file.",
    ),
    kind(
        "model-too-large", 413, "The model is larger than the limit",
        "The limit of one upload is SECATEUR_INLINE_LIMIT bytes.",
        "Upload a smaller model, or ask the operator to raise the limit.",
    ),
    kind(
        "model-external-data", 422, "The model's weights are in other files",
        "The file refers to external data, which one uploaded file cannot contain.",
        "Save the model with its weights inside (onnx.save without external data).",
    ),
    kind(
        "model-ir-version", 422, "The IR version is not supported",
        "The file declares an ONNX IR version outside of the supported range.", _EXPORT_AGAIN,
    ),
    kind(
        "model-opset", 422, "The opset is not supported",
        "The default operator set is missing, declared twice, or outside of the supported range.",
        "Export with an opset from 7 to the newest one listed in the message.",
    ),
    kind(
        "model-domain", 422, "The model uses an unknown operator domain",
        "Only the standard ONNX domain and functions that the model defines itself are known.",
        "Replace the custom operators by standard ones.",
    ),
    kind(
        "model-unsupported-op", 422, "The model uses operators that are not supported",
        "The message names the operators and where they are.",
        "Replace the operators, or export with another opset or exporter.",
    ),
    kind(
        "model-functions", 422, "The model's local functions cannot be used",
        "Functions are recursive, undefined, or expand to too many nodes.",
        "Inline the functions when exporting.",
    ),
    kind(
        "model-subgraph", 422, "A body of If, Loop or Scan cannot be used",
        "The body is malformed, exceeds the node budget, or holds weights and cannot be trained.",
        _EXPORT_AGAIN,
    ),
    kind(
        "model-not-sorted", 422, "The nodes are not in order",
        "A node uses a tensor that is produced later, or the graph has a cycle.", _EXPORT_AGAIN,
    ),
    kind(
        "model-duplicate-name", 422, "A name is used twice",
        "An output, initializer or input name must be unique, in bodies too.", _EXPORT_AGAIN,
    ),
    kind(
        "model-output-missing", 422, "An output of the model is never produced",
        "The graph lists an output that no node computes.", _EXPORT_AGAIN,
    ),
    kind(
        "model-missing-output", 422, "A node's output has no name",
        "Only optional outputs of a few operators may be left unnamed.", _EXPORT_AGAIN,
    ),
    kind(
        "model-tensor-size", 422, "A weight does not fit its shape",
        "The number of bytes differs from what shape and type require.", _EXPORT_AGAIN,
    ),
    kind(
        "model-dim-negative", 422, "A dimension is negative",
        "Dimensions are zero or positive numbers, or names.", _EXPORT_AGAIN,
    ),
    kind(
        "model-tensor-too-large", 422, "A tensor is too large",
        "The dimensions of a tensor multiply to more than the limit.", _EXPORT_AGAIN,
    ),
    kind(
        "model-rank", 422, "A tensor has too many dimensions",
        "Tensors of at most eight dimensions are supported.", "Reduce the rank of the tensor.",
    ),
    kind(
        "model-dtype", 422, "A tensor has an unsupported type",
        "Strings, complex numbers and 4-bit integers cannot be compressed.",
        "Export the model in float32, float16 or float64.",
    ),
    kind(
        "model-sparse-tensor", 422, "Sparse tensors are not supported",
        "The model contains a sparse initializer.", "Store the weights as dense tensors.",
    ),
    kind(
        "model-type", 422, "An input or output is not a tensor",
        "Sequences, maps and optional values are not supported.",
        "Export a model whose inputs and outputs are tensors.",
    ),
    kind(
        "model-non-finite-weights", 422, "Weights are not finite",
        "An initializer holds NaN or infinite values.",
        "Train again, or repair the named initializer.",
    ),
    kind(
        "model-nothing-to-prune", 422, "Nothing can be removed from this model",
        "All weights are zero, or every group is frozen; the message says why.",
        "Run `secateur analyze` on the model for the reasons.",
    ),
    kind(
        "model-quantised", 422, "The model is already quantised",
        "Compression trains float weights, and the model has integer ones.",
        "Upload the float model; quantise after compression.",
    ),
    kind(
        "model-too-complex", 422, "The model has too many parts",
        "The number of nodes or records exceeds the limit.", "Simplify the model.",
    ),
    kind(
        "model-too-deep", 422, "The model is nested too deeply",
        "Bodies inside bodies exceed the depth limit.", "Flatten the control flow.",
    ),
    kind(
        "model-name-too-long", 422, "A name is too long",
        "Names have at most 512 characters.", "Rename the node or tensor.",
    ),
    kind(
        "model-bad-name", 422, "A name contains control characters",
        "Names must be printable.", "Rename the node or tensor.",
    ),
    kind(
        "model-attribute", 422, "An attribute has an impossible value",
        "For example a stride of 0 or an axis outside of the tensor.", _EXPORT_AGAIN,
    ),
    kind(
        "model-shape-mismatch", 422, "Shapes do not fit together",
        "The inputs of a node cannot be combined.", _EXPORT_AGAIN,
    ),
    kind(
        "model-activation-too-large", 422, "An intermediate result is too large",
        "A tensor inside the network exceeds the memory budget.",
        "Export with a smaller input or batch.",
    ),
    kind(
        "model-input-unsupported", 422, "The data set cannot feed an input",
        "The model has an input that the data set has no array for.",
        "Name the arrays of the data set after the inputs: x_train:NAME.",
    ),
    kind(
        "input-shape-required", 422, "An input shape is needed",
        "The model has free dimensions that could not be bound.",
        "Export the model with fixed dimensions, except for the batch.",
    ),
    kind(
        "model-crashed-validator", 422, "The model crashed the validator",
        "Reading the file made the sandboxed process crash, so it was refused.", _EXPORT_AGAIN,
    ),
    kind(
        "validation-timeout", 422, "The validation took too long",
        "The sandboxed process did not finish in time.", "Simplify the model.",
    ),
    kind(
        "validation-memory", 422, "The validation needed too much memory",
        "The sandboxed process hit its memory limit.", "Simplify the model.",
    ),
    kind(
        "model-conversion-mismatch", 422, "The trainable model differs from the original",
        "On a sample, the imported module and ONNX Runtime disagree.",
        "Report the model's operators; nothing was trained.",
    ),
    kind(
        "checksum-mismatch", 422, "The checksum does not match",
        "The SHA-256 of the received bytes differs from the declared one.",
        "Send the file again.", retryable=True,
    ),
    kind(
        "export-unsupported", 422, "The model cannot be exported in that format",
        "The message says why: its opset, the type of its weights, its size, or what a converter "
        "makes of it.",
        "Leave that format out, or export the model again as the message says.",
    ),
)  # fmt: skip
