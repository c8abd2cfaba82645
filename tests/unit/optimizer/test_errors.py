from graph_analysis.errors import InputError
from optimizer.errors import UnsupportedOperator, UnsupportedOperatorsError


def test_all_operators_are_named_with_domain_and_nodes() -> None:
    many = tuple(f"n{index}" for index in range(8))
    error = UnsupportedOperatorsError(
        [
            UnsupportedOperator(
                domain="", op_type="GRU", opset=17, nodes=("a",), reason="has no torch function"
            ),
            UnsupportedOperator(
                domain="com.acme", op_type="Magic", opset=2, nodes=many, reason="is unknown"
            ),
        ]
    )
    text = str(error)
    assert "'GRU' (ai.onnx, opset 17) at 'a' has no torch function" in text
    assert "'Magic' (com.acme, opset 2) at 'n0', 'n1', 'n2', 'n3', 'n4' and 3 more" in text
    assert "\n" not in text
    assert isinstance(error, InputError)
    assert (error.code, error.exit_code, error.param) == ("model-unsupported-op", 2, "GRU")
