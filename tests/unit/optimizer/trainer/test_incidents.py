import json
import math

from optimizer.errors import SecateurError
from optimizer.trainer.incidents import Stopped, TrainingDivergedError, restart_event


def test_divergence_names_step_loss_rate_and_what_to_do() -> None:
    error = TrainingDivergedError(step=7, loss=math.nan, lr=0.25)
    assert isinstance(error, SecateurError)
    assert (error.code, error.exit_code, error.step, error.lr) == ("training-diverged", 1, 7, 0.25)
    for part in ("nan", "step 7", "0.25", "2 restarts", "smaller learning rate"):
        assert part in str(error)


def test_a_restart_can_be_written_as_strict_json() -> None:
    event = restart_event(9, math.inf, math.inf, 4)
    assert json.loads(json.dumps(dict(event.data), allow_nan=False)) == {
        "step": 9,
        "loss": "inf",
        "lr": "inf",
        "resumed_at": 4,
    }
    assert "back to step 4" in event.message


def test_a_stop_is_no_error_of_the_product() -> None:
    assert not isinstance(Stopped(3), SecateurError)
    assert Stopped(3).step == 3
