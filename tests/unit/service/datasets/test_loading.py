"""Pinning: the same bytes for every attempt, from files and from hosts."""

import hashlib
import os
from pathlib import Path

import pytest

from service.datasets import DatasetLimits, DatasetPolicy, load_dataset, pin_dataset, read_dataset
from service.datasets.files import open_below
from service.errors import DatasetError
from tests.unit.service.datasets.archives import digits, npz
from tests.unit.service.datasets.hosts import Clock, host, policy, sends

_BODY = npz(**digits())
_OTHER = npz(**digits(samples=21))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    made = tmp_path / "data" / "digits.npz"
    made.parent.mkdir()
    made.write_bytes(_BODY)
    return made


def _code(uri: str, rules: DatasetPolicy, target: Path, **options: str) -> str:
    with pytest.raises(DatasetError) as caught:
        pin_dataset(uri, rules, target, **options)
    assert not target.with_name(target.name + ".part").exists()
    return caught.value.code


def test_from_a_file(source: Path, tmp_path: Path) -> None:
    rules, target = DatasetPolicy(roots=(source.parent,)), tmp_path / "run.npz"
    pinned = pin_dataset(source.as_uri(), rules, target)
    assert pinned.sha256 == hashlib.sha256(_BODY).hexdigest()
    assert (pinned.bytes, pinned.path) == (len(_BODY), target)
    dataset = read_dataset(target)
    assert dataset.sha256 == pinned.sha256
    assert load_dataset(source.as_uri(), rules).sha256 == pinned.sha256


def test_from_a_host(tmp_path: Path) -> None:
    with host(sends(_BODY)) as made:
        uri = f"http://data.example.com:{made.port}/digits.npz"
        dataset = load_dataset(uri, policy(made))
    assert dataset.sha256 == hashlib.sha256(_BODY).hexdigest()


def test_the_second_attempt_reads_the_pinned_file(source: Path, tmp_path: Path) -> None:
    rules, target = DatasetPolicy(roots=(source.parent,)), tmp_path / "run.npz"
    first = pin_dataset(source.as_uri(), rules, target)
    source.write_bytes(_OTHER)
    again = pin_dataset(source.as_uri(), rules, target, expected_sha256=first.sha256)
    assert again == first


def test_changed_bytes_are_refused(source: Path, tmp_path: Path) -> None:
    rules, target = DatasetPolicy(roots=(source.parent,)), tmp_path / "run.npz"
    first = pin_dataset(source.as_uri(), rules, target)
    source.write_bytes(_OTHER)
    target.unlink()
    assert _code(source.as_uri(), rules, target, expected_sha256=first.sha256) == "dataset-changed"
    assert not target.exists()
    target.write_bytes(b"damaged")
    source.write_bytes(_BODY)
    again = pin_dataset(source.as_uri(), rules, target, expected_sha256=first.sha256)
    assert again == first
    assert target.read_bytes() == _BODY


def test_faults_of_files(source: Path, tmp_path: Path) -> None:
    rules, target = DatasetPolicy(roots=(source.parent,)), tmp_path / "run.npz"
    missing = (source.parent / "missing.npz").as_uri()
    assert _code(missing, rules, target) == "dataset-unavailable"
    assert _code(source.parent.as_uri(), rules, target) == "dataset-uri-forbidden"
    assert _code(source.as_uri(), DatasetPolicy(), target) == "dataset-uri-forbidden"
    fifo = source.parent / "fifo"
    os.mkfifo(fifo)
    assert _code(fifo.as_uri(), rules, target) == "dataset-uri-forbidden"
    small = DatasetPolicy(roots=rules.roots, limits=DatasetLimits(file_bytes=10))
    assert _code(source.as_uri(), small, target) == "dataset-too-large"


def test_a_link_put_in_place_after_the_check_is_not_followed(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret.npz"
    secret.write_bytes(_OTHER)
    link, folder = source.parent / "link.npz", source.parent / "folder"
    link.symlink_to(secret)
    folder.symlink_to(tmp_path)
    monkeypatch.setattr("os.path.realpath", str)  # as if the path had been checked before
    for path in (link, folder / "secret.npz"):
        with (
            pytest.raises(DatasetError) as caught,
            open_below(path, [source.parent]),
        ):
            pytest.fail("opened")
        assert caught.value.code == "dataset-uri-forbidden"


def test_a_file_outside_of_the_roots_is_not_opened(source: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError), open_below(source, [tmp_path / "other"]):
        pytest.fail("opened")


def test_a_file_that_grows_while_it_is_read(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class _Small:
        st_size = 1
        st_mode = source.stat().st_mode

    monkeypatch.setattr("service.datasets.files.os.fstat", lambda _: _Small)
    rules = DatasetPolicy(roots=(source.parent,), limits=DatasetLimits(file_bytes=100))
    assert _code(source.as_uri(), rules, tmp_path / "run.npz") == "dataset-too-large"


def test_a_failed_fetch_leaves_nothing(tmp_path: Path) -> None:
    with host(sends(status=404)) as made:
        uri = f"http://data.example.com:{made.port}/x"
        with pytest.raises(DatasetError):
            pin_dataset(uri, policy(made), tmp_path / "run.npz", sleep=Clock().sleep)
    assert list(tmp_path.iterdir()) == []
