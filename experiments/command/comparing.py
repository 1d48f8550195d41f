"""The report of a comparison of networks: the table, what its marks mean, and the result in a sentence."""

from collections.abc import Mapping, Sequence

from cnn.config import MatchedConfig
from cnn.show.comparison_page import Evidence, comparison_page
from cnn.show.parts import Page
from cnn.study import run, tables, words
from cnn.study.comparison import Comparison, ComparisonAnswer
from cnn.study.finished import Results
from experiments.command.experiment import Draw, Report


def report(
    results: Results,
    comparison: Comparison,
    sentences: Sequence[str],
    claim: str,
    pictures: Mapping[str, Draw],
    evidence: Evidence,
    shown: Sequence[str] = (),
    more: Mapping[str, Comparison] | None = None,
) -> Report:
    """The report of a comparison.

    Args:
        results: the results of the study.
        comparison: the comparison for the table.
        sentences: the result in words; what a reader must know beside it is added.
        claim: the one of them that the page begins with.
        pictures: for each picture its name and the function that draws it, that of the comparison first.
        evidence: what the page shows.
        shown: measurements that the printed table has, of those that `evidence.heads` names; by default all of these.
        more: further comparisons for `answer.json`, by the name that each has in the file.
    """
    study = results.plan.study
    dataset = study.config.dataset
    cautions = [one_rate(results), grown_grid(results), words.notes(comparison, dataset)]
    said = [sentence for sentence in (*sentences, *cautions) if sentence]
    grid = tuple(sorted(results.plan.grid))
    answer = ComparisonAnswer(study.experiment, dataset, comparison, " ".join(said), grid, more or {})
    heads = {name: evidence.heads[name] for name in shown or evidence.heads}
    table = tables.comparison_tables(comparison, heads)
    explained = tables.explained(table, str(comparison.reference))
    text = "\n\n".join([table, *matched_networks(results), explained, answer.sentence])
    reasons = [sentence for sentence in said if sentence != claim]

    def page(question: str, command: str, drawn: Mapping[str, bytes]) -> Page:
        return comparison_page(question, claim, reasons, answer, evidence, results, drawn, command)

    return Report(answer=answer, text=text, pictures=pictures, page=page)


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
