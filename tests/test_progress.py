import io

import pytest
from rich.console import Console

from cnn import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "JUPYTER_COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    return Terminal()


def run(shown, clock, label="training", steps=10, seconds=1.0, **arguments):
    with shown.task(label, total=steps) as task:
        for step in range(steps):
            clock.now += seconds
            task.advance(**{"note": f"step {step}"} | arguments)


def test_silence(clock, capsys):
    shown = progress.Progress()
    shown.line("a sentence")
    with shown.task("training", total=3) as task:
        task.advance(2)
        clock.now += 100
        task.advance()
    assert task.done == 3
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("steps", "seconds", "interval", "counts"),
    [
        pytest.param(10, 1.0, 3.0, [3, 6, 9, 10], id="every-three-seconds-and-the-end"),
        pytest.param(100, 0.5, 10.0, [20, 40, 60, 80, 100], id="the-end-is-said-once"),
        pytest.param(3, 20.0, 10.0, [1, 2, 3], id="slow-steps"),
        pytest.param(10, 0.5, 10.0, [10], id="short-task"),
        pytest.param(10, 0.05, 10.0, [], id="a-moment"),
    ],
)
def test_lines_are_at_most_one_per_interval(clock, steps, seconds, interval, counts):
    stream = io.StringIO()
    run(progress.Lines(stream, interval), clock, steps=steps, seconds=seconds)
    assert [int(line.split()[1].split("/")[0]) for line in stream.getvalue().splitlines()] == counts


def test_a_line_says_what_is_done_and_left(clock):
    stream = io.StringIO()
    run(progress.Lines(stream, 4.0), clock, steps=6, seconds=2.0)
    assert stream.getvalue().splitlines() == [
        "training 2/6, 4 s, about 8 s left: step 1",
        "training 4/6, 8 s, about 4 s left: step 3",
        "training 6/6, 12 s, about 0 s left: step 5",
    ]


def test_a_line_without_a_note_and_a_sentence(clock):
    stream = io.StringIO()
    shown = progress.Lines(stream, 1.0)
    shown.line("loading digits [cached]")
    run(shown, clock, steps=1, note="")
    assert stream.getvalue() == "loading digits [cached]\ntraining 1/1, 1 s, about 0 s left\n"


def test_advancing_by_nothing_yet_is_no_division_by_zero(clock):
    stream = io.StringIO()
    run(progress.Lines(stream, 1.0), clock, steps=1, amount=0)
    assert stream.getvalue().startswith("training 0/1, 1 s, about 0 s left")


def test_a_share_is_said_at_most_once_per_interval(clock):
    stream = io.StringIO()
    with progress.Lines(stream, 10.0).share("study") as shown:
        for done, left in [(0.0, None), (0.02, None), (0.2, 150.0), (0.996, 12.4), (1.0, 0.0)]:
            clock.now += 6.0
            shown.show(done, left, f"place {done:g}")
    assert stream.getvalue().splitlines() == [
        "study 2 % after 12 seconds: place 0.02",
        "study 99 % after 24 seconds, about 12 seconds left: place 0.996",
        "study 100 % after 30 seconds: place 1",
    ]


@pytest.mark.parametrize("seconds, lines", [(0.3, 0), (0.6, 1)])
def test_a_share_of_a_moment_is_silent(clock, seconds, lines):
    stream = io.StringIO()
    with progress.Lines(stream).share("study") as shown:
        for done in (0.5, 1.0):
            clock.now += seconds
            shown.show(done, 0.0, "")
    assert len(stream.getvalue().splitlines()) == lines


def test_a_bar_of_a_share_shows_percent_and_time_and_has_its_note_below(terminal, clock):
    shown = progress.Bars(terminal)
    with shown.share("study") as share, shown.task("pictures", total=4) as task:
        task.advance(1, note="the first")
        share.show(0.43, None, "2 blocks; so far [1 block]")
        assert "study" in drawn(shown) and "43 %" in drawn(shown) and "-:--:--" in drawn(shown)
        share.show(0.44, 3725.0, "2 blocks; so far [1 block]")
        clock.now += 4.0  # without another word the time left goes down
        bar, pictures, note = drawn(shown).splitlines()
        assert bar.split()[-1] == "1:02:01" and "44 %" in bar and "/" not in bar
        assert "1/4" in pictures and pictures.split()[-2:] == ["the", "first"]
        assert note == "2 blocks; so far [1 block]"
        clock.now += 3725.0  # it takes longer than was said
        assert drawn(shown).splitlines()[0].split()[-1] == "-:--:--"
    assert not shown.display.live.is_started


def drawn(shown):
    """What the bars look like now."""
    console = Console(file=io.StringIO(), width=160)
    console.print(shown.display.get_renderable())
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def test_bars_show_label_count_and_note_and_then_leave(terminal):
    shown = progress.Bars(terminal)
    with shown.task("training", total=4) as task:
        task.advance(3, note="loss 0.25")
        shown.line("seed 1 done [3/4]")
        shown.display.refresh()
        assert shown.display.live.is_started
    text = terminal.getvalue()
    assert "training" in text and "3/4" in text and "loss 0.25" in text
    assert "seed 1 done [3/4]" in text
    assert task.done == 3
    assert not shown.display.live.is_started
    assert shown.display.tasks == []


def test_the_display_lives_as_long_as_any_task(terminal):
    shown = progress.Bars(terminal)
    with shown.task("trials", total=2):
        with shown.task("epochs", total=3):
            assert [task.description for task in shown.display.tasks] == ["trials", "epochs"]
        assert [task.description for task in shown.display.tasks] == ["trials"]
        assert shown.display.live.is_started
    assert not shown.display.live.is_started
    with shown.task("again", total=1):
        assert shown.display.live.is_started
    assert not shown.display.live.is_started


def test_an_error_closes_the_display(terminal):
    shown = progress.Bars(terminal)
    with pytest.raises(KeyboardInterrupt), shown.task("training", total=2):
        raise KeyboardInterrupt
    assert not shown.display.live.is_started


def test_brackets_are_text_and_no_markup(terminal):
    shown = progress.Bars(terminal)
    with shown.task("runs/[bold]a[/b]", total=1) as task:
        task.advance(note="[red]nan[/x]")
        shown.display.refresh()
    assert "runs/[bold]a[/b]" in terminal.getvalue() and "[red]nan[/x]" in terminal.getvalue()


def test_automatic_picks_by_stream(terminal, monkeypatch):
    assert type(progress.automatic(terminal)) is progress.Bars
    assert type(progress.automatic(io.StringIO())) is progress.Lines
    monkeypatch.setattr(progress.sys, "stderr", stream := io.StringIO())
    assert progress.automatic().stream is stream
