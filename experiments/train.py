"""Train one network, once.

    python -m experiments.train --dataset=mnist --model=lenet5 --epochs=10 --seed=0 --workdir=DIR

Prints the network's table, trains, reads the whole test set once at the end, and leaves the configuration, a line of
metrics for each epoch, the result and the last checkpoints in the work folder.
"""

from cnn.config import RequestError, TrialConfig, to_json
from cnn.network import models, summary
from cnn.training import replicas, trial
from cnn.training.runs import default_workdir
from experiments import flags

# MNIST's recipe reaches a mean test accuracy of 99.0 % in the fewest seconds that were found (benchmarks/README.md). It
# was chosen on validation images alone.
DEFAULTS: flags.Defaults = {
    "mnist": {
        "epochs": 2,
        "batch_size": 256,
        "learning_rate": 0.03,
        "label_smoothing": 0.1,
        "width": 8,
        "growth": 4.0,
        "pooling": "average",
    }
}


def main() -> int:
    """Train as the flags say, and print the result."""
    config = flags.configure(TrialConfig, DEFAULTS)
    _refuse_unused(config)
    progress = flags.progress()
    dataset = flags.load(config.dataset, progress)
    program = replicas.program(config, dataset, len(dataset.train_labels))
    print(summary.summary(program.network, program.task.image_shape), flush=True)
    workdir = flags.folder("workdir") or default_workdir("train", config.dataset, to_json(config))
    result = trial.run(config, dataset, workdir, keep=True, progress=progress)
    if result["status"] == "diverged":
        print(f"\nDiverged: the loss was not finite at step {result['bad_step']}. Folder: {workdir}")
    else:
        accuracy, count = result["test_accuracy"], result["test_examples"]
        print(f"\nTest accuracy {accuracy:.4f} on {count:,} images after {result['epochs']} epochs. Folder: {workdir}")
    return 0


def _refuse_unused(config: TrialConfig) -> None:
    """A flag that is not used would be kept in `config.json` as if it had been."""
    model, objects = config.network.model, config.scene.objects
    settings = models.SETTINGS.get(model, models.SETTINGS["convnet"])
    listed = f"these are used: {', '.join(settings)}" if settings else "none of a network's settings is used"
    unused = {name: f"with model={model!r} {listed}" for name in models.SETTINGS["convnet"] if name not in settings}
    if objects:
        unused["shift"] = f"with objects={objects} places are random anyway; it is used with objects=0"
    else:
        unused["canvas"] = "with objects=0 there is no scene; it is used with objects=1 or objects=2"
    for name, accepted in unused.items():
        if flags.FLAGS[name].value is not None:
            raise RequestError(f"{name}={flags.FLAGS[name].value!r}: {accepted}")


if __name__ == "__main__":
    flags.define(TrialConfig, defaults=DEFAULTS)
    flags.run(main)
