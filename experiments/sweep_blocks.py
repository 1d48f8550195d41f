"""How many CONV-RELU-POOL blocks should we use?

    python -m experiments.sweep_blocks
    python -m experiments.sweep_blocks --dataset=cifar10 --blocks=1,2,3,4 --seeds=5 --epochs=20

Compares depths over learning rates and seeds, and answers with a table, one sentence, a picture and a page. Validation
data alone choose the learning rate and the number of blocks; test accuracy is read once for each trial that compares.
"""

from dataclasses import replace

from cnn.config import SweepConfig
from cnn.data.content import Dataset
from cnn.errors import require
from cnn.network import matching, models
from cnn.show.answer import accuracy_vs_blocks
from cnn.show.sweep_page import sweep_page
from cnn.study import advice, tables, words
from cnn.study.answer import answer
from cnn.study.finished import Results
from cnn.study.plan import Study
from cnn.study.results import variant_name
from experiments.command import comparing
from experiments.command.experiment import Experiment, Report
from experiments.command.run import run_experiment


def study(config: SweepConfig, dataset: Dataset) -> Study:
    """The networks that a sweep compares: one for each depth, of equal cost where the settings ask for it.

    Raises:
        RequestError: the model has no blocks, a depth does not fit the images, or costs cannot be matched.
    """
    model = config.network.model
    with_blocks = [name for name, known in models.MODELS.items() if "blocks" in known.settings]
    require(model in with_blocks, "model", model, f"one that has blocks: {', '.join(with_blocks)}")
    depths = [replace(config.network, blocks=blocks) for blocks in sorted(config.blocks)]
    matched = matching.with_equal_cost(depths, config.match, dataset.image_shape, dataset.classes)
    variants = {network.blocks: network for network in matched}
    return Study("sweep_blocks", "blocks", variants, config, dataset, varies=("blocks",), grows=("blocks",))


def report(results: Results) -> Report:
    """The recommended number of blocks, and why."""
    sweep = results.plan.study
    config = sweep.config
    assert isinstance(config, SweepConfig), "the settings that `study` was given"

    def fits(blocks: int) -> bool:
        return results.plan.fits(replace(config.network, blocks=blocks))

    found = answer(
        results.rows,
        dataset=config.dataset,
        match=config.match,
        margin=config.margin,
        deeper_fits=fits(max(config.blocks) + 1),
        correct={blocks: results.correct(blocks) for blocks in sweep.variants},
        val_correct={blocks: results.val_correct(blocks) for blocks in sweep.variants},
    )
    table = tables.answer_tables(found)
    reference = "none" if found.recommended is None else variant_name("blocks", found.recommended)
    said = tables.explained(table, reference)
    grown = comparing.grown_grid(results)
    sentence = " ".join(filter(None, [words.answer_sentence(found), grown]))
    text = "\n\n".join([table, *comparing.matched_networks(results), said, sentence])

    return Report(
        answer=found,
        text=text,
        pictures={"accuracy_vs_blocks": lambda: accuracy_vs_blocks(found, results.rows)},
        page=lambda *given: sweep_page(found, results, [grown] if grown else [], *given),
        advice=lambda arguments: advice.next_command(found, config, results.plan.grid, arguments, fits),
    )


EXPERIMENT = Experiment(
    name="sweep_blocks", doc=__doc__, config=SweepConfig, fixed=("scene",), study=study, report=report
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT)
