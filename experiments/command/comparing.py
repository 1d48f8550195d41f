"""The report of a comparison of networks: the table, what its marks mean, and the result in a sentence."""

from collections.abc import Mapping

from cnn.config import MatchedConfig
from cnn.study import run, tables, words
from cnn.study.comparison import Comparison, ComparisonAnswer
from cnn.study.run import Results
from experiments.command.experiment import Draw, Report


def report(
    results: Results,
    comparison: Comparison,
    sentence: str,
    pictures: Mapping[str, Draw],
    titles: Mapping[str, str] | None = None,
    more: Mapping[str, Comparison] | None = None,
) -> Report:
    """The report of a comparison.

    Args:
        results: the results of the study.
        comparison: the comparison for the table.
        sentence: the result in words; what a reader must know beside it is added.
        pictures: for each picture its name and the function that draws it.
        titles: heads of the table's measured columns, by the measurement's name; by default the metric alone.
        more: further comparisons for `answer.json`, by the name that each has in the file.
    """
    study = results.plan.study
    dataset = study.config.dataset
    sentence = " ".join(
        filter(None, [sentence, one_rate(results), grown_grid(results), words.notes(comparison, dataset)])
    )
    answer = ComparisonAnswer(study.experiment, dataset, comparison, sentence, results.plan.grid, more or {})
    table = tables.comparison_tables(comparison, titles)
    said = tables.explained(table, str(comparison.reference))
    text = "\n\n".join([table, *matched_networks(results), said, sentence])
    return Report(answer=answer, text=text, pictures=pictures)


def one_rate(results: Results) -> str:
    """A sentence where all variants had to learn at the one rate that was given; otherwise nothing."""
    plan = results.plan
    if plan.tunes:
        return ""
    rate = f"{plan.grid[0]:g}"
    return f"All variants learnt at rate {rate}, which was given; a rate of its own may suit each variant better."


def grown_grid(results: Results) -> str:
    """A sentence where the default grid of learning rates has extended itself; otherwise nothing."""
    plan = results.plan
    added = [f"{rate:g}" for rate in plan.grid if rate not in plan.study.config.grid]
    if not added:
        return ""
    return f"The default grid of learning rates extended itself by {' and '.join(added)}: a best one lay at its edge."


def matched_networks(results: Results) -> list[str]:
    """The table of the networks' sizes where the settings ask for equal cost; otherwise nothing."""
    study = results.plan.study
    if not isinstance(study.config, MatchedConfig) or study.config.match == "width":
        return []
    return [tables.network_table(study.column, run.networks(results.plan))]
