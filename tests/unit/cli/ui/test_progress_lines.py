from __future__ import annotations

import io

from p2pal.app.events import Progress
from p2pal.cli.streams import Writer
from p2pal.cli.ui.progress_lines import Plain, Silent


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def progress(done: int, total: int = 1000, **more: int) -> Progress:
    return Progress(
        done=done, total=total, files_done=1, files_failed=more.get("failed", 0), files=3, rate=2e6, eta=42.0
    )


def board() -> tuple[Plain, Clock, io.StringIO]:
    out, clock = io.StringIO(), Clock()
    return Plain(Writer(out), clock), clock, out


def test_a_line_at_the_start_and_each_ten_percent() -> None:
    plain, _, out = board()
    plain.start(1000, 3, "direct, host udp")
    for done in range(0, 1001, 10):
        plain.update(progress(done))
    plain.stop(complete=True)
    lines = out.getvalue().splitlines()
    assert lines[0] == "0% of 1.0 kB, 3 files"
    assert lines[1] == "10%, 100 bytes of 1.0 kB, 2.0 MB/s, 0:42 left, 1 of 3 files, direct, host udp"
    assert [line.split("%")[0] for line in lines] == [str(step) for step in range(0, 101, 10)]


def test_a_line_each_five_seconds_when_it_is_slow() -> None:
    plain, clock, out = board()
    plain.start(1000, 3, "")
    for _ in range(50):
        clock.now += 0.5
        plain.update(progress(1, failed=2))
    lines = out.getvalue().splitlines()[1:]
    assert len(lines) == 5
    assert "2 failed" in lines[0]


def test_the_end_of_a_broken_transfer_says_how_far_it_came_once() -> None:
    plain, _, out = board()
    plain.start(1000, 3, "")
    plain.update(progress(100))
    plain.update(progress(150))
    plain.stop(complete=False)
    plain.stop(complete=False)
    assert [line.split(",")[0] for line in out.getvalue().splitlines()[1:]] == ["10%", "15%"]


def test_another_path_shows_in_the_next_line() -> None:
    plain, _, out = board()
    plain.start(1000, 3, "direct, host udp")
    plain.path("relayed, turn tcp")
    plain.update(progress(500))
    assert out.getvalue().splitlines()[-1].endswith("relayed, turn tcp")


def test_a_reader_that_went_away_is_no_error() -> None:
    class Gone(io.StringIO):
        writes = 0

        def write(self, text: str) -> int:
            self.writes += 1
            raise BrokenPipeError

    gone = Gone()
    writer = Writer(gone)
    writer.line("a")
    writer.line("b")
    assert gone.writes == 1


def test_silence() -> None:
    silent = Silent()
    silent.start(1, 1, "")
    silent.update(progress(1))
    silent.path("")
    silent.note("x")
    silent.stop(complete=True)
    silent.abandon()


def test_it_begins_at_what_is_there() -> None:
    plain, _, out = board()
    plain.start(1000, 3, "", 420)
    plain.update(progress(430))
    plain.update(progress(520))
    assert [line.split("%")[0] for line in out.getvalue().splitlines()] == ["42", "52"]


def test_no_progress_while_a_question_is_asked() -> None:
    plain, _, out = board()
    plain.start(1000, 3, "")
    plain.pause()
    plain.update(progress(500))
    plain.note("a note")
    assert out.getvalue().splitlines()[1:] == []
    plain.go_on()
    assert out.getvalue().splitlines()[1:] == ["a note"]
    plain.update(progress(600))
    assert out.getvalue().splitlines()[2].startswith("60%")


def test_what_waits_for_an_answer_is_bounded_and_ends_with_the_question() -> None:
    plain, _, out = board()
    plain.pause()
    plain.pause()  # a question within a question
    for number in range(60):
        plain.note(f"note {number}")
    plain.go_on()
    assert out.getvalue() == ""
    plain.go_on()
    assert out.getvalue().splitlines() == [
        "(10 more lines before these)",
        *(f"note {number}" for number in range(10, 60)),
    ]
    plain.pause()
    plain.note("the end")
    plain.stop(complete=False)
    assert out.getvalue().splitlines()[-1] == "the end"


def test_a_question_is_shown_again_after_a_shell_had_the_terminal() -> None:
    shown: list[str] = []
    for each in (board()[0], Silent()):
        each.resume()
        each.pause(lambda: shown.append("again"))
        each.suspend()
        each.resume()
        each.go_on()
        each.resume()
        assert not each.hides_cursor
    assert shown == ["again"] * 2
