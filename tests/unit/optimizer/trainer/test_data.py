import numpy as np
import pytest
import torch

from optimizer.errors import InputError
from optimizer.trainer.data import ArrayData, Arrays, Batches, split


def arrays(num_samples: int = 10) -> Arrays:
    return Arrays(
        inputs={"x": np.arange(num_samples, dtype=np.float32)}, labels=np.arange(num_samples)
    )


def test_an_epoch_is_a_permutation_that_depends_on_seed_and_epoch() -> None:
    batches = Batches(arrays(12), ["x"], batch_size=4)
    epochs = [torch.cat([batches.indices(3 * e + i, seed=0) for i in range(3)]) for e in range(2)]
    assert all(sorted(epoch.tolist()) == list(range(12)) for epoch in epochs)
    assert epochs[0].tolist() != epochs[1].tolist()
    again = Batches(arrays(12), ["x"], batch_size=4)
    assert again.indices(4, seed=0).tolist() == epochs[1][4:8].tolist()
    assert again.indices(4, seed=1).tolist() != epochs[1][4:8].tolist()


def test_batches_are_full_in_training_and_complete_in_evaluation() -> None:
    batches = Batches(arrays(), ["x"], batch_size=4)
    assert batches.per_epoch == 2
    assert [len(part) for part in batches.in_order(full_only=False)] == [4, 4, 2]
    assert [len(part) for part in batches.in_order(full_only=True)] == [4, 4]
    assert Batches(arrays(3), ["x"], batch_size=64).batch_size == 3


def test_inputs_come_in_graph_order_with_their_labels() -> None:
    two = Arrays(inputs={"b": np.ones((3, 2)), "a": np.zeros(3, np.int32)}, labels=np.arange(3))
    batch = Batches(two, ["a", "b"], batch_size=2).at(torch.tensor([2, 0]))
    assert [tensor.dtype for tensor in batch.inputs] == [torch.int32, torch.float64]
    assert batch.labels is not None
    assert batch.labels.tolist() == [2, 0]


def test_the_unnamed_input_is_the_only_one() -> None:
    unnamed = Arrays(inputs={"": np.ones(3, np.float32)})
    assert Batches(unnamed, ["pixels"], batch_size=2).labels is None
    with pytest.raises(InputError, match=r"no array for the inputs \['left', 'right'\]"):
        Batches(unnamed, ["left", "right"], batch_size=2)


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(InputError, match="equally many samples") as caught:
        Arrays(inputs={"x": np.ones(3)}, labels=np.arange(4))
    assert caught.value.code == "dataset-columns"
    with pytest.raises(InputError, match="equally many"):
        Arrays(inputs={})
    with pytest.raises(InputError, match="no samples"):
        Arrays(inputs={"x": np.ones(0)})


def test_validation_samples_are_held_out_once_and_never_trained_on() -> None:
    whole = arrays(20)
    train, held_out = split(ArrayData(train=whole), validation_ratio=0.25, seed=3)
    assert held_out is not None
    assert (train.num_samples, held_out.num_samples) == (15, 5)
    both = np.concatenate([train.inputs["x"], held_out.inputs["x"]])
    assert sorted(both) == list(range(20))
    given = arrays(2)
    assert split(ArrayData(train=whole, validation=given), validation_ratio=0.5, seed=0) == (
        whole,
        given,
    )
    assert split(ArrayData(train=whole), validation_ratio=0.01, seed=0) == (whole, None)
