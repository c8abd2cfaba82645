"""Names of what H2SPG keeps, grouped by what a checkpoint does with it.

Everything here is in ``state_dict`` as tensors; nothing else is needed to resume bitwise.
"""

# Per parameter, in ``state[parameter]``: as torch's own optimizers name them.
MOMENTUM_BUFFER = "momentum_buffer"
FIRST_MOMENT = "exp_avg"
SECOND_MOMENT = "exp_avg_sq"
STEP = "step"
SHRINK_WITH_UNITS = (MOMENTUM_BUFFER, FIRST_MOMENT, SECOND_MOMENT)  # zeroed with their units

# Per run, in ``state[UNITS]``.
UNITS = "units"
STEPS_DONE = "steps_done"  # int64 ()
SCHEDULE = "schedule"  # int64 (P + 2,): total, then the boundaries
SALIENCY = "saliency"  # float64 (U,): sum over steps, or exponential average
NUM_MEASURED = "num_measured"  # int64 ()
REDUNDANT = "redundant"  # bool (U,): chosen so far, only ever grows
ZERO = "zero"  # bool (U,): exactly 0 by now, stays so
