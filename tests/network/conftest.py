import jaxtyping
import pytest


@pytest.fixture
def unchecked(monkeypatch):
    """What a caller sees who runs without the tests' type checks: the library's own messages."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
