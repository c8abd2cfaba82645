"""Outline and picture: what is shown, folded, coloured and escaped; with a layout of their own."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from graph_analysis import Analysis, analyze, load_model
from graph_analysis.outline import Fate, Outline, outline
from graph_analysis.svg import picture, sizes_of
from graph_analysis.testing import HARD_CASES
from tests.unit.graph_analysis.placements import column

SVG = "{http://www.w3.org/2000/svg}"
DRAWN = {"svg", "title", "style", "g", "rect", "ellipse", "path", "text"}
HOSTILE = (
    "<script>alert(1)</script>",
    "&\"'>]]><!--",
    "line\nfeed\ttab\x00\x07\x1b[31m\x7f",
    "long " * 2000,
    "\N{RIGHT-TO-LEFT OVERRIDE}\N{GRINNING FACE}\ufffe",
    "javascript:alert(1)",
)


def analysis_of(model: onnx.ModelProto) -> Analysis:
    return analyze(load_model(model.SerializeToString()))


def residual_network(blocks: int) -> onnx.ModelProto:
    """Blocks of MatMul, Relu, MatMul beside a skip, between a stem and a head."""
    rng = np.random.default_rng(0)
    nodes, weights = [helper.make_node("MatMul", ["x", "stem"], ["h0"])], {"stem": (8, 8)}
    for block in range(blocks):
        weights |= {f"up{block}": (8, 16), f"down{block}": (16, 8)}
        nodes += [
            helper.make_node("MatMul", [f"h{block}", f"up{block}"], [f"a{block}"]),
            helper.make_node("Relu", [f"a{block}"], [f"b{block}"]),
            helper.make_node("MatMul", [f"b{block}", f"down{block}"], [f"c{block}"]),
            helper.make_node("Add", [f"h{block}", f"c{block}"], [f"h{block + 1}"]),
        ]
    weights["head"] = (8, 4)
    nodes.append(helper.make_node("MatMul", [f"h{blocks}", "head"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [
            numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
            for name, shape in weights.items()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def fates(drawn: Outline) -> list[str]:
    return [f"{box.fate.value}{'!' if box.is_within else ''}" for box in drawn.boxes]


def test_every_box_shows_what_may_happen_to_it() -> None:
    drawn = outline(analysis_of(residual_network(1)))
    assert fates(drawn) == ["channels", "erased!", "joint", "channels", "end", "end"]
    assert [box.steps for box in drawn.boxes][:3] == [
        ("MatMul",),
        ("MatMul", "Relu", "MatMul"),
        ("Add",),
    ]
    assert drawn.boxes[1].parameters == (256, 256)
    assert drawn.boxes[1].macs == 256
    heads = outline(analysis_of(HARD_CASES["separate_qkv_heads"]()))
    assert Fate.HEADS in {box.fate for box in heads.boxes}
    # what only feeds an erased structure goes with it
    assert all(box.is_within for box in heads.boxes if box.fate is Fate.HEADS)
    stays = outline(analyze_protected(residual_network(1)))
    assert fates(stays) == ["stays", "stays", "joint", "stays", "end", "end"]


def analyze_protected(model: onnx.ModelProto) -> Analysis:
    from graph_analysis import AnalysisOptions

    loaded = load_model(model.SerializeToString())
    return analyze(loaded, options=AnalysisOptions(protect=("*",)))


def test_repeated_blocks_are_one_block() -> None:
    drawn = outline(analysis_of(residual_network(12)))
    assert [repeat.times for repeat in drawn.repeats] == [12]
    assert len(drawn.boxes) == 1 + 2 + 1 + 2
    folded = [drawn.boxes[place] for place in drawn.repeats[0].boxes]
    assert sum(box.macs for box in folded) == 12 * 256
    assert folded[0].parameters == (256, 256)
    assert folded[0].about[0].startswith("12 of these: s1, goes with operator:MatMul_1;")
    whole = outline(analysis_of(residual_network(12)), unfolded_max=100)
    assert whole.repeats == ()
    assert sum(box.macs for box in whole.boxes) == sum(box.macs for box in drawn.boxes)


def test_branches_side_by_side_are_no_repetition() -> None:
    count = 25
    nodes = [helper.make_node("MatMul", ["x", f"w{n}"], [f"a{n}"]) for n in range(count)]
    nodes.append(helper.make_node("Concat", [f"a{n}" for n in range(count)], ["y"], axis=1))
    weights = [numpy_helper.from_array(np.ones((8, 8), np.float32), f"w{n}") for n in range(count)]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8 * count])
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    opsets = [helper.make_opsetid("", 18)]
    drawn = outline(analysis_of(helper.make_model(graph, opset_imports=opsets, ir_version=9)))
    assert drawn.repeats == ()
    assert len(drawn.boxes) == count + 3


def test_a_network_of_five_hundred_operators_fits_a_page() -> None:
    analysis = analysis_of(residual_network(125))
    assert len(analysis.graph.vertices) > 500
    assert len(outline(analysis).boxes) < 10


@pytest.mark.parametrize("name", HARD_CASES)
def test_every_case_is_drawn_and_nothing_is_lost(name: str) -> None:
    analysis = analysis_of(HARD_CASES[name]())
    drawn = outline(analysis)
    inside = {m.index for s in analysis.segments.segments for p in s.pieces for m in p.members}
    macs = sum(
        product.count(np.zeros(len(analysis.classes.class_of) + 1, bool))
        for index, products in analysis.costs.macs.items()
        if index in inside
        for product in products
    )
    assert sum(box.macs for box in drawn.boxes) == macs
    assert all(0 <= end < len(drawn.boxes) for link in drawn.links for end in link)
    root = ElementTree.fromstring(picture(analysis, column, title=name))
    shapes = [e for e in root.iter() if e.get("class", "").startswith("shape")]
    assert len(shapes) == len(drawn.boxes) + 8  # those of the legend
    assert root.find(f"{SVG}title").text == name  # type: ignore[union-attr]


def hostile_model() -> onnx.ModelProto:
    model = residual_network(1)
    names = {}
    for place, name in enumerate(["x", "y", "up0", "a0", "stem"]):
        names[name] = HOSTILE[place % len(HOSTILE)] + str(place)
    graph = model.graph
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = names.get(value.name, value.name)
    for place, node in enumerate(graph.node):
        node.name = HOSTILE[place % len(HOSTILE)] + str(place)
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    graph.node[2].op_type, graph.node[2].domain = "<b>&\"'\x01</b>" + "o" * 5000, "evil"
    model.opset_import.append(helper.make_opsetid("evil", 1))
    return model


@pytest.mark.parametrize("title", HOSTILE)
def test_names_are_never_markup(title: str) -> None:
    text = picture(analysis_of(hostile_model()), column, title=title)
    root = ElementTree.fromstring(text)
    assert {element.tag.removeprefix(SVG) for element in root.iter()} == DRAWN
    attributes = {name for element in root.iter() for name in element.attrib}
    assert not {name for name in attributes if name.startswith("on") or "href" in name}
    assert "<script" not in text
    assert not re.search("[\x00-\x08\x0b-\x1f]", text)
    visible = [e.text or "" for e in root.iter(f"{SVG}text")]
    assert max(map(len, visible)) <= 160


def test_the_picture_needs_nothing_else() -> None:
    text = picture(analysis_of(residual_network(12)), column, title="model")
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert "@import" not in text
    assert "url(" not in text
    assert "\N{MULTIPLICATION SIGN}12" in text


def test_costlier_boxes_are_higher() -> None:
    drawn = outline(analysis_of(residual_network(1)))
    sizes = sizes_of(drawn, 352)
    by_macs = sorted(zip((box.macs for box in drawn.boxes[:2]), sizes[:2], strict=True), key=str)
    assert sizes[1].height > sizes[0].height
    assert by_macs[0][0] != by_macs[1][0]


def test_a_structure_of_several_segments_outlines_them_all() -> None:
    analysis = analysis_of(residual_network(2))
    first, second = analysis.structures
    block = replace(
        first,
        group=replace(first.group, id="operator:block"),
        vertices=first.vertices | second.vertices,
    )
    drawn = outline(replace(analysis, structures=(block,)))
    assert fates(drawn)[:6] == ["channels", "channels!", "joint", "channels!", "joint", "channels"]
    both = outline(replace(analysis, structures=(block, first)))
    assert fates(both)[1] == "erased!"
    assert both.boxes[1].about[0] == "s1, goes with operator:MatMul_1, goes with operator:block"
