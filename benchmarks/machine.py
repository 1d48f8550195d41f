"""The machine of a benchmark, and how fast it multiplies matrices, which bounds the time of a training step from below.

    python -m benchmarks.machine
    python -m benchmarks.machine --output=machine.json

A rate counts two operations for each multiply-accumulate of a product of two square matrices, whose bfloat16 operands
are summed in float32. It is the highest of several measurements, since other work can only lower it.
"""

from typing import Any

from absl import flags

from benchmarks import report
from benchmarks.describe import describe
from cnn import machine
from cnn.backends import PRECISIONS


def main(options: flags.FlagValues) -> None:
    """Describe, measure, print the table, and write it where asked."""
    measured = {precision: machine.matrix_product_rate(precision, options.repeats) for precision in PRECISIONS}
    rows = [{"what": name, "here": _text(value)} for name, value in describe().items()]
    rows += [{"what": f"{precision}, GFLOP/s", "here": f"{value:.0f}"} for precision, value in measured.items()]
    print(report.table(rows))
    settings = {"repeats": options.repeats, "side": machine.SIDE}
    report.write(options.output, settings, {"gflop_per_second": measured})


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return ", ".join(value) if isinstance(value, list) else str(value)


def define_flags(options: flags.FlagValues) -> None:
    """The flags of the command line."""
    flags.DEFINE_integer("repeats", 20, "products of each precision", lower_bound=1, flag_values=options)
    flags.DEFINE_string("output", None, "file to write the JSON to", flag_values=options)


if __name__ == "__main__":
    report.run(main, define_flags)
