"""What the command line says: one line an error, no values in it, Chinese columns that line up."""

import io
import sys
from datetime import UTC, date, datetime

import pytest

from gateway.console import progress, show, table, tell_error
from gateway.core.errors import FileRefused, SettingsError


def test_a_coded_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """code, place, text and hint stand in one line on stderr, and the status is 1."""
    assert tell_error(FileRefused("the file is not UTF-8", place="a.csv!R7", hint="--encoding gb18030", code="FILE_ENCODING")) == 1
    assert capsys.readouterr() == ("", "error: FILE_ENCODING at a.csv!R7: the file is not UTF-8 (--encoding gb18030)\n")


def test_a_fault_of_the_program_names_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    """An unexpected exception is told by its type and our lines; its text may hold somebody's number."""
    with pytest.raises(ValueError, match="argument") as fault:
        table([("a", "b")], ("one",))
    assert tell_error(fault.value) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: internal at gateway/console.py:")
    assert "ValueError" in told
    assert "argument" not in told


def test_a_system_error_names_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    """A full disk or a missing right is no fault of the program."""
    assert tell_error(PermissionError(13, "Permission denied", "out.json")) == 1
    assert capsys.readouterr().err == "error: system-error at out.json: Permission denied\n"


def test_columns_of_chinese_text_line_up() -> None:
    """A Chinese character takes two places on a terminal."""
    lines = table([("名称", 1), ("name", date(2026, 4, 1)), (None, datetime(2026, 4, 1, 8, tzinfo=UTC))], ("field", "值"))
    assert lines == ["field  值", "名称   1", "name   2026-04-01", "-      2026-04-01T08:00:00Z"]
    assert table([], ("a", "b")) == ["a  b"]


def test_a_result_is_json_or_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """The same result is given to programs as JSON and to people as lines."""
    show({"名": 1}, as_json=True, text=lambda: ["never"])
    show({"名": 1}, as_json=False, text=lambda: ["line"])
    assert capsys.readouterr().out == '{\n  "名": 1\n}\nline\n'


def test_progress_without_a_terminal_is_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Off a terminal a line is written every some thousand rows and at the end, and nothing moves the cursor."""
    with progress("a.csv") as tell:
        for done in range(0, 45_001, 1000):
            tell(done, None)
        tell(45_321, 45_321)
        tell(45_321, 45_321)
    assert capsys.readouterr().err == "a.csv: 20000 rows\na.csv: 40000 rows\na.csv: 45321 of 45321 rows\n"


def test_progress_on_a_terminal_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the bar is drawn on stderr and wiped away when it is done."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with progress("a.csv") as tell:
        tell(1, 2)
        tell(2, 2)
    assert "2/2" in screen.getvalue()


def test_quiet_progress_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A caller that speaks for itself hears nothing."""
    with progress("a.csv", quiet=True) as tell:
        tell(1_000_000, None)
    assert capsys.readouterr().err == ""


def test_a_settings_error_is_told_like_any_other(capsys: pytest.CaptureFixture[str]) -> None:
    """Place and hint are left out where there are none."""
    assert tell_error(SettingsError("no settings")) == 1
    assert capsys.readouterr().err == "error: settings-invalid: no settings\n"
