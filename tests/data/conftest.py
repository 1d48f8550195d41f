"""What the tests of the data layer share."""

import tempfile

import pytest


@pytest.fixture(autouse=True)
def scratch(tmp_path_factory, monkeypatch):
    """Temporary files go to a folder of the test, since each builder of TFDS leaves an empty folder behind."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("scratch")))
