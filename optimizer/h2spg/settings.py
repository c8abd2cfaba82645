"""What H2SPG may be told: one check that names all offenders."""

from optimizer.h2spg.direction import VARIANTS

MODES = ("schedule", "paper")


def check_settings(
    variant: str,
    mode: str,
    lr: float,
    momentum: float,
    dampening: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    averaging: float | None,
    measure_every: int,
) -> None:
    """Refuse settings outside their range.

    Raises:
        ValueError: Names every rule that is broken. The arguments are those of ``H2SPG``.
    """
    legal = {
        f"variant in {VARIANTS}": variant in VARIANTS,
        f"mode in {MODES}": mode in MODES,
        "lr >= 0": lr >= 0,
        "0 <= momentum < 1": 0 <= momentum < 1,
        "0 <= dampening <= 1": 0 <= dampening <= 1,
        "0 <= betas < 1": all(0 <= beta < 1 for beta in betas),
        "eps > 0": eps > 0,
        "weight_decay >= 0": weight_decay >= 0,
        "0 <= averaging < 1": averaging is None or 0 <= averaging < 1,
        "measure_every >= 1": measure_every >= 1,
    }
    broken = [rule for rule, holds in legal.items() if not holds]
    if broken:
        message = f"settings must satisfy: {', '.join(broken)}"
        raise ValueError(message)
