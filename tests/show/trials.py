"""Trials to draw."""

from cnn.study.results import Row
from cnn.training.folder import Result


def trials(accuracies, known_costs=True):
    """Comparison trials from {variant: [accuracy by seed]}; None is a diverged trial.

    The cost grows from variant to variant. `moved_1` is measured beside the accuracy, and is half of it.
    """
    return [
        Row(
            phase="compare",
            variant=variant,
            learning_rate=1e-3,
            seed=seed,
            result=Result(
                status="diverged" if value is None else "done",
                val_accuracy=value,
                test_accuracy=value,
                parameters=1000 * (1 + place) if known_costs else None,
                macs=50_000 * (1 + place) if known_costs else None,
                train_seconds=1.0,
                measured={"moved_1": None if value is None else value / 2},
            ),
        )
        for place, (variant, values) in enumerate(accuracies.items())
        for seed, value in enumerate(values)
    ]
