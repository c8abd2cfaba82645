"""Names that are doubled, missing, out of order or unprintable."""

from onnx import helper

from tests.unit.service.admission import models as m
from tests.unit.service.admission.hostile.registry import add, edited, relu

# Structure.


add("model-not-sorted", "unsorted", lambda: m.model([relu("h", "y"), relu("x", "h")]))
add(
    "model-not-sorted",
    "cycle",
    lambda: m.model([helper.make_node("Add", ["x", "g"], ["h"]), relu("h", "g"), relu("h", "y")]),
)
add(
    "model-not-sorted",
    "self_loop",
    lambda: m.model([helper.make_node("Add", ["x", "y"], ["y"], name="a")]),
)
add("model-not-sorted", "input_from_nowhere", lambda: m.model([relu("nowhere", "y")]))
add("model-duplicate-name", "output_twice", lambda: m.model([relu("x", "y"), relu("x", "y")]))
add("model-duplicate-name", "output_is_input", lambda: m.model([relu("x", "x"), relu("x", "y")]))
add(
    "model-duplicate-name",
    "initializer_twice",
    lambda: edited(lambda o: o.graph.initializer.append(o.graph.initializer[0])),
)
add(
    "model-duplicate-name",
    "input_twice",
    lambda: edited(lambda o: o.graph.input.append(o.graph.input[0])),
)
add(
    "model-duplicate-name",
    "graph_output_twice",
    lambda: edited(lambda o: o.graph.output.append(o.graph.output[0])),
)
add("model-output-missing", "output_not_produced", lambda: m.model([relu("x", "h")]))
add(
    "model-missing-output",
    "split_output_without_name",
    lambda: m.model(
        [helper.make_node("Split", ["x"], ["", "y"], name="s", axis=1)], opsets=[("", 13)]
    ),
)
add(
    "model-missing-output",
    "first_output_without_name",
    lambda: m.model([helper.make_node("Dropout", ["x"], ["", "y"], name="d")]),
)
add(
    "model-missing-output",
    "lstm_without_outputs",
    lambda: m.model(
        [
            helper.make_node("LSTM", ["x", "w", "w"], ["", ""], name="l", hidden_size=1),
            relu("x", "y"),
        ],
        initializers=[m.weight("w", 1, 4, 4)],
    ),
)


# Names.
add(
    "model-name-too-long",
    "node_name_of_a_megabyte",
    lambda: m.model([relu("x", "y", name="n" * 10**6)]),
)
add(
    "model-bad-name",
    "node_name_with_newlines",
    lambda: m.model([relu("x", "y", name="ok\n2026 INFO forged log line")]),
)
add(
    "model-bad-name",
    "tensor_name_with_escape",
    lambda: m.model([relu("x", "\x1b[2J"), relu("\x1b[2J", "y")]),
)
add(
    "model-bad-name",
    "name_turns_text_around",
    lambda: m.model([relu("x", "y", name="\u202egnp.exe")]),
)
add(
    "model-bad-name",
    "name_that_is_not_utf8",
    lambda: m.classifier().SerializeToString().replace(b"relu", b"re\xffu"),
)
add("model-bad-name", "operator_with_nul", lambda: m.model(m.chain("Re\x00lu")))
add(
    "model-too-complex",
    "metadata_of_a_megabyte",
    lambda: edited(lambda o: o.metadata_props.add(key="k", value="v" * 10**6)),
)
