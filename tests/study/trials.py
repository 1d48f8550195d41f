"""Rows of results, as the studies' `results.csv` has them."""

import pandas as pd

NAN = float("nan")


def row(phase="compare", blocks=1, rate=1e-3, seed=0, val=NAN, test=NAN, status="done", seconds=1.0):
    """One trial; cost grows with the depth."""
    cost = blocks if isinstance(blocks, int) else 0
    return {
        "phase": phase,
        "blocks": blocks,
        "learning_rate": rate,
        "seed": seed,
        "status": status,
        "parameters": 100 + cost,
        "macs": 1000 + cost,
        "val_accuracy": val,
        "test_accuracy": test,
        "train_seconds": seconds,
    }


def compared(accuracies, **options):
    """Results from {depth: [accuracy of seed 0, 1, ...]}; None is a diverged trial; test accuracy is validation's."""
    return pd.DataFrame(
        [
            row(
                blocks=blocks,
                seed=seed,
                val=NAN if value is None else value,
                test=NAN if value is None else value,
                status="diverged" if value is None else "done",
                **options,
            )
            for blocks, values in accuracies.items()
            for seed, value in enumerate(values)
        ]
    )


def tuned(trials):
    """Results from (rate, seed, accuracy), None for a diverged trial."""
    return pd.DataFrame(
        [
            row(
                "tune",
                rate=rate,
                seed=seed,
                val=NAN if value is None else value,
                status="diverged" if value is None else "done",
            )
            for rate, seed, value in trials
        ]
    )
