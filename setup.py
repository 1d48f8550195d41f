"""The package. Each dependency stands with what it is for; each lower bound is a version that the tests passed with."""

from setuptools import find_packages, setup

setup(
    name="conv-relu-pool",
    version="0.1.0",
    description="How many CONV-RELU-POOL blocks should we use? Measured answers in JAX and Flax",
    python_requires=">=3.11",
    packages=find_packages(include=["cnn", "cnn.*", "experiments", "experiments.*"]),
    install_requires=[
        "absl-py>=2.1",  # flags of the experiments
        "filelock>=3.16",  # one writer for each work folder
        "flax>=0.10.4",  # Linen modules, the state as a pytree
        "jax>=0.5.0",  # arrays, derivatives, compilation
        "jaxtyping>=0.2.36",  # shapes in annotations
        "matplotlib>=3.9",  # figures
        "numpy>=2.0",  # decoded images, packed results
        "optax>=0.2.4",  # optimiser, schedule, losses
        "orbax-checkpoint>=0.11.0",  # checkpoints
        "pandas>=2.2.3",  # results as tables
        "pillow>=10.4",  # decodes the images of TensorFlow Datasets, which does not declare it
        "importlib_resources>=6.4",  # imported by TensorFlow Datasets, which does not declare it
        "requests>=2.32",  # asks whether a data set's host can be reached
        "rich>=13.7",  # progress bars
        "scikit-learn>=1.5",  # the digits
        "scipy>=1.13",  # intervals and tests
        "statsmodels>=0.14.2",  # Holm's adjustment
        "tabulate>=0.9",  # printed tables
        "threadpoolctl>=3.1",  # one thread for small fits
        "tensorflow-datasets>=4.9.7",  # every other data set; works without TensorFlow
        "array_record>=0.5.1; sys_platform == 'linux'",  # reads prepared data sets; has no wheels elsewhere
    ],
    extras_require={
        "test": [
            "beartype>=0.19",  # checks the shapes in annotations
            "hypothesis>=6.112",  # property tests
            "ipykernel>=6.29.5",  # runs the notebooks
            "ipywidgets>=8.1.5",  # their progress bars
            "mypy>=2.4",  # types, before anything runs
            "nbclient>=0.10.0",  # executes them from top to bottom
            "nbformat>=5.10.4",  # reads them
            "pytest>=8.3",
            "ruff>=0.8",  # lint
        ],
        "notebooks": [
            "ipywidgets>=8.1.5",  # progress bars
            "jupyterlab>=4.2.5",  # opens them
        ],
    },
)
