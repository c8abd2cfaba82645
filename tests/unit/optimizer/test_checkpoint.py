import errno
import json
import random
from pathlib import Path

import pytest
import torch

from optimizer.checkpoint import CheckpointStore, InsufficientStorageError

IDENTITY = {"settings": {"seed": 1, "betas": (0.9, 0.99)}}
TENSORS = {
    "weight": torch.arange(6.0).reshape(2, 3).T,  # not contiguous
    "step": torch.tensor(7),
    "half": torch.ones(2, dtype=torch.bfloat16),
    "mask": torch.tensor([True, False]),
}
VALUES = {"lr": 0.1, "history": [{"loss": 1 / 3}], "best": None}


def a_store(folder: Path, fault=lambda name: None, identity=IDENTITY) -> CheckpointStore:
    return CheckpointStore(folder, identity=identity, fault=fault)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    saved = a_store(tmp_path).save(12, TENSORS, VALUES)
    found, rejected = a_store(tmp_path).load_newest()
    assert found is not None
    assert not rejected
    assert (found.step, found.values, found.sha256) == (12, VALUES, saved.sha256)
    assert found.path == saved.path
    for name, tensor in TENSORS.items():
        assert torch.equal(found.tensors[name], tensor)
        assert found.tensors[name].dtype == tensor.dtype


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    for step in (1, 2, 3):
        store.save(step, TENSORS, VALUES)
    assert files(tmp_path) == [
        "step-000000002.json",
        "step-000000002.safetensors",
        "step-000000003.json",
        "step-000000003.safetensors",
    ]


def test_an_empty_folder_has_none(tmp_path: Path) -> None:
    assert a_store(tmp_path / "new").load_newest() == (None, ())


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_any_flipped_bit_is_noticed_and_the_older_one_is_used(tmp_path: Path, suffix: str) -> None:
    store = a_store(tmp_path)
    store.save(1, TENSORS, VALUES)
    newest = store.save(2, TENSORS, VALUES).path.with_suffix(suffix)
    whole = newest.read_bytes()
    rng = random.Random(0)
    for _ in range(50):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        newest.write_bytes(damaged)
        found, rejected = a_store(tmp_path).load_newest()
        assert found is not None
        assert found.step == 1
        assert [entry.code for entry in rejected] == ["checkpoint-rejected"]


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "gone"])
def test_damaged_files_are_passed_over(tmp_path: Path, suffix: str, damage: str) -> None:
    store = a_store(tmp_path)
    store.save(1, TENSORS, VALUES)
    newest = store.save(2, TENSORS, VALUES).path.with_suffix(suffix)
    content = newest.read_bytes()
    newest.unlink()
    if damage != "gone":
        newest.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"")
    found, _ = a_store(tmp_path).load_newest()
    assert found is not None
    assert found.step == 1


def test_a_tensor_file_that_is_none_is_rejected_even_with_its_digest(tmp_path: Path) -> None:
    import hashlib

    from optimizer.checkpoint import _digest

    saved = a_store(tmp_path).save(1, TENSORS, VALUES)
    saved.path.with_suffix(".safetensors").write_bytes(b"nonsense")
    body = json.loads(saved.path.read_text())["body"]
    body["sha256"] = hashlib.sha256(b"nonsense").hexdigest()
    saved.path.write_text(json.dumps({"body": body, "digest": _digest(body)}))
    found, rejected = a_store(tmp_path).load_newest()
    assert found is None
    assert "malformed" in rejected[0].reason


def test_another_version_or_another_job_is_incompatible(tmp_path: Path, monkeypatch) -> None:
    a_store(tmp_path).save(1, TENSORS, VALUES)
    found, rejected = a_store(tmp_path, identity={"settings": {"seed": 2}}).load_newest()
    assert found is None
    assert rejected[0].code == "checkpoint-incompatible"
    monkeypatch.setattr("optimizer.checkpoint.SCHEMA", "secateur/checkpoint/2")
    found, rejected = a_store(tmp_path).load_newest()
    assert found is None
    assert rejected[0].code == "checkpoint-incompatible"
    assert "secateur/checkpoint/1" in rejected[0].reason


class Killed(BaseException):
    """As if the process had died here."""


@pytest.mark.parametrize("failpoint", ["ckpt.tmp", "ckpt.rename"])
@pytest.mark.parametrize("hit", [1, 2])
def test_dying_at_any_point_leaves_a_checkpoint_that_loads(
    tmp_path: Path, failpoint: str, hit: int
) -> None:
    hits = []

    def die(name: str) -> None:
        hits.append(name)
        if hits.count(failpoint) == hit and name == failpoint:
            raise Killed

    a_store(tmp_path).save(1, TENSORS, VALUES)
    store = a_store(tmp_path, fault=die)
    if failpoint == "ckpt.rename" and hit == 2:
        store.save(2, TENSORS, VALUES)
    with pytest.raises(Killed):
        store.save(3, TENSORS, VALUES)
    after = a_store(tmp_path)
    found, rejected = after.load_newest()
    assert found is not None
    assert not rejected
    assert found.step == (3 if failpoint == "ckpt.rename" else 1)
    assert not [name for name in files(tmp_path) if name.endswith(".tmp")]
    after.save(4, TENSORS, VALUES)
    assert len(files(tmp_path)) == 4  # what the dead one left is swept


def full_disk(times: int):
    hits = []

    def fault(name: str) -> None:
        if name == "ckpt.tmp" and len(hits) < times:
            hits.append(name)
            raise OSError(errno.ENOSPC, "No space left on device")

    return fault


def test_a_full_disk_costs_the_older_checkpoint_and_is_tried_again(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    store.save(1, TENSORS, VALUES)
    store.save(2, TENSORS, VALUES)
    assert a_store(tmp_path, fault=full_disk(1)).save(3, TENSORS, VALUES).step == 3
    assert files(tmp_path)[0] == "step-000000002.json"


def test_a_disk_that_stays_full_is_an_error_and_the_last_one_is_intact(tmp_path: Path) -> None:
    a_store(tmp_path).save(1, TENSORS, VALUES)
    with pytest.raises(InsufficientStorageError, match="disk is full") as caught:
        a_store(tmp_path, fault=full_disk(2)).save(2, TENSORS, VALUES)
    assert caught.value.code == "insufficient-storage"
    found, _ = a_store(tmp_path).load_newest()
    assert found is not None
    assert found.step == 1


@pytest.mark.parametrize("times", [1, 2])
def test_other_io_errors_are_passed_on(tmp_path: Path, times: int) -> None:
    faults = iter([OSError(errno.ENOSPC, "full"), OSError(errno.EIO, "broken")][2 - times :])

    def fault(name: str) -> None:
        raise next(faults)

    with pytest.raises(OSError, match="broken"):
        a_store(tmp_path, fault=fault).save(1, TENSORS, VALUES)
