import os
import platform
from pathlib import Path

import pytest

from cnn.config import RequestError
from cnn.training.lock import writer


def test_one_writer_and_the_next_when_it_has_left(tmp_path):
    folder = tmp_path / "deep" / "w"
    with writer(folder):
        expected = rf"in use by process {os.getpid()} on {platform.node()} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d"
        with pytest.raises(RequestError, match=expected), writer(folder):
            pass
    with writer(folder):
        pass
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_an_error_gives_the_folder_back(tmp_path):
    with pytest.raises(ZeroDivisionError), writer(tmp_path):
        raise ZeroDivisionError
    with writer(tmp_path):
        pass


def test_what_a_killed_writer_left_says_nothing_and_goes(tmp_path):
    (tmp_path / ".writer.json").write_text('{"process": 1, "host": "gone", "since": "yesterday"}')
    half = tmp_path / f".config.json.{'0' * 32}"
    half.write_text("{")
    (tmp_path / ".hidden").write_text("somebody's")
    with writer(tmp_path):
        assert not half.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", ".lock"]


@pytest.mark.parametrize("path", ["/proc/nowhere", "/etc/hostname", "/etc/hostname/x"])
def test_a_folder_that_cannot_be_written(path):
    with (
        pytest.raises(RequestError, match=f"workdir='{path}': must be a folder that can be written"),
        writer(Path(path)),
    ):
        pass
