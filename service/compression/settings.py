"""A job's recipe as the trainer's settings."""

import os

from optimizer.bridge.module import ImportedModule
from optimizer.config import TrainConfig
from service.compression.subject import Subject
from service.settings import Settings

_NO_STEPS = 1 << 40  # checkpoints are written by time alone


def config_of(subject: Subject, imported: ImportedModule) -> TrainConfig:
    """The trainer's settings; a batch size that the file fixes wins over the recipe's."""
    recipe = subject.recipe
    quantity, ratio = recipe.target
    fixed = None if imported.batch_is_free else subject.fixed_batch
    return TrainConfig(
        target_ratio=ratio,
        quantity=quantity,
        epochs=recipe.epochs,
        batch_size=fixed or recipe.batch_size,
        optimizer=recipe.optimizer,
        lr=recipe.lr,
        loss=recipe.loss,
        saliency=recipe.saliency,
        measure_every=recipe.measure_every,
        comparison=recipe.comparison,
        renormalise=recipe.renormalise,
        feature_weight=recipe.feature_weight,
        ignore_index=recipe.ignore_index,
        augment=recipe.augment,
        augment_magnitude=recipe.augment_magnitude,
        mixup=recipe.mixup,
        cutmix=recipe.cutmix,
        lr_schedule=recipe.lr_schedule,
        precision=recipe.precision,
        accumulate=recipe.accumulate,
        checkpointing=recipe.checkpointing,
        layout=recipe.layout,
        start=recipe.start,
        ema_decay=recipe.ema_decay,
        max_accuracy_drop=recipe.max_accuracy_drop,
        early_stop=recipe.early_stop,
        patience=recipe.patience,
        cut_during_training=recipe.cut_during_training == "on",
        sync_batch_norm=recipe.sync_batch_norm,
        seed=recipe.seed,
        time_budget=recipe.time_budget,
        device=recipe.device,
        checkpoint_steps=_NO_STEPS,
        checkpoint_seconds=Settings.from_environment(os.environ).checkpoint_interval,
    )
