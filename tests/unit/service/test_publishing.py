"""Files of a finished run go to the store by their content."""

import json
from pathlib import Path

import pytest

from service.faults import InjectedFaultError, arm
from service.publishing import PRODUCTS, figures, publish
from service.storage import ArtifactStore


def finished(folder: Path) -> Path:
    for product in PRODUCTS:
        (folder / product.file).write_text(
            json.dumps({"of": product.name, "ratios": {"macs": 0.4}})
        )
    return folder


def test_every_product_is_stored_by_its_digest(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    store = ArtifactStore((tmp_path / "store").as_uri())
    stored = publish(finished(run), "own_a", store)
    assert [item.name for item in stored] == [product.name for product in PRODUCTS]
    for item in stored:
        assert item.key == f"own_a/{item.sha256}"
        store.verify(item.key, item.sha256)
        assert item.bytes == store.size(item.key)
    assert publish(run, "own_a", store) == stored


def test_after_a_crash_in_the_middle_it_is_repeated(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    store = ArtifactStore((tmp_path / "store").as_uri())
    arm("put.mid:raise@2")
    try:
        with pytest.raises(InjectedFaultError):
            publish(finished(run), "own_a", store)
    finally:
        arm("")
    assert len(publish(run, "own_a", store)) == len(PRODUCTS)


def test_the_proof_may_be_missing_the_model_not(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    store = ArtifactStore((tmp_path / "store").as_uri())
    (finished(run) / "proof.json").unlink()
    assert "proof" not in [item.name for item in publish(run, "own_a", store)]
    (run / "compressed.onnx").unlink()
    with pytest.raises(FileNotFoundError):
        publish(run, "own_a", store)


def test_the_result_is_a_part_of_the_report(tmp_path: Path) -> None:
    report = {"ratios": {"macs": 0.4}, "groups": ["many"], "model": {"before": {}}}
    (tmp_path / "report.json").write_text(json.dumps(report))
    assert figures(tmp_path) == {"ratios": {"macs": 0.4}, "model": {"before": {}}}
