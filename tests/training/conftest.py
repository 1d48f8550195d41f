import pytest

from cnn.data import datasets
from cnn.training.fit import Session


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


@pytest.fixture(scope="module")
def session(digits):
    with Session(digits) as session:
        yield session
