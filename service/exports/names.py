"""The names of the formats; knows neither onnx nor torch, so that ``--help`` is quick."""

FLOAT16, INT8, INT8_WEIGHTS, ORT, BUNDLE = "float16", "int8", "int8-weights", "ort", "bundle"
FORMATS = (FLOAT16, INT8, INT8_WEIGHTS, ORT, BUNDLE)
LOSSY = (FLOAT16, INT8, INT8_WEIGHTS)
FILE_NAMES = {
    FLOAT16: "compressed.float16.onnx",
    INT8: "compressed.int8.onnx",
    INT8_WEIGHTS: "compressed.int8-weights.onnx",
    ORT: "compressed.ort",
    BUNDLE: "bundle.zip",
}
MOST_DROP = 0.01  # one point of accuracy
