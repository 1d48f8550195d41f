"""The cache of compiled programs, which JAX writes in place: half an entry harms no run and does not stay."""

import pytest

from tests.faults.harness import TRAIN, assert_same, finish, start

pytestmark = pytest.mark.thorough


@pytest.mark.slow
def test_half_written_entries_are_compiled_anew_once(train, tmp_path):
    compiled = tmp_path / "compiled"  # JAX finds an entry only in the folder that it was made for
    finish(start(TRAIN, tmp_path / "first", compiled=compiled))
    sizes = {path: path.stat().st_size for path in compiled.glob("*-cache")}
    for number, (path, size) in enumerate(sorted(sizes.items())):
        path.write_bytes(path.read_bytes()[: size * (number % 3) // 3])  # nothing, a third, two thirds
    _, err = finish(start(TRAIN, tmp_path / "second", compiled=compiled))
    assert "cache" not in err
    assert_same(tmp_path / "second", train.folder)
    mended = {path: path.stat().st_size for path in compiled.glob("*-cache")}
    assert len(mended) >= 2  # what compiles in less than 0.05 s this time is not kept
    assert all(size > 0.9 * sizes.get(path, 0) for path, size in mended.items())
