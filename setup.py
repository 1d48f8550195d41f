"""The package. Each dependency stands with what it is for; each lower bound is a version that the tests passed with."""

from pathlib import Path

from setuptools import find_packages, setup

PANDAS = "pandas>=2.2.3"
PROGRESS_BARS = "ipywidgets>=8.1.5"
TENSORBOARD = "tensorboard>=2.19"
GRAIN = "grain>=0.2.18"  # reads the batches of a data set that stays on the host, ahead and in threads
RAY = "ray>=2.60"  # runs trials on the machines of a cluster
EVENTS = "tensorboardX>=2.6.2.2"  # writes what TensorBoard shows, without TensorFlow

setup(
    name="conv-relu-pool",
    version="0.2.0",
    description="How many CONV-RELU-POOL blocks should we use? Measured answers in JAX and Flax",
    long_description=Path(__file__).with_name("README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    packages=find_packages(include=["cnn", "cnn.*", "experiments", "experiments.*"]),
    package_data={"cnn": ["py.typed", "show/page/*", "show/page/vendor/*"], "experiments": ["py.typed"]},
    entry_points={"console_scripts": ["conv-relu-pool=experiments.__main__:main"]},
    install_requires=[
        "absl-py>=2.1",  # flags of the experiments
        "filelock>=3.16",  # one writer for each work folder
        "flatbuffers>=24.3.25",  # writes exported programs, in JAX, which does not declare it
        "flax>=0.11.2",  # Linen modules, the state as a pytree
        "jax>=0.7.2",  # arrays, derivatives, compilation
        "jinja2>=3.1.4",  # the HTML page
        "jaxtyping>=0.3.3",  # shapes in annotations
        "matplotlib>=3.10.7",  # figures
        "numpy>=2.0",  # decoded images, packed results
        "optax>=0.2.4",  # optimiser, schedule, losses
        "orbax-checkpoint>=0.11.20",  # checkpoints
        "pillow>=10.4",  # reads and writes pictures; decodes the images of TensorFlow Datasets
        "importlib_resources>=6.4",  # imported by TensorFlow Datasets, which does not declare it
        "requests>=2.32.2",  # asks whether a data set's host can be reached
        "rich>=13.7",  # progress bars
        "safetensors>=0.4.5",  # trained weights
        "scikit-learn>=1.5",  # the digits
        "scipy>=1.13",  # intervals and tests
        "statsmodels>=0.14.2",  # Holm's adjustment
        "tabulate>=0.9",  # printed tables
        "threadpoolctl>=3.1",  # one thread for small fits
        "tensorflow-datasets>=4.9.10",  # every other data set; works without TensorFlow
        # Reads prepared data sets. Windows has no wheels of it; prepared sets in this format cannot be read there.
        "array_record>=0.8.1; sys_platform != 'win32'",
    ],
    extras_require={
        "test": [
            "beartype>=0.19",  # checks the shapes in annotations
            "hypothesis>=6.112",  # property tests
            "ipykernel>=6.29.5",  # runs the notebooks
            PROGRESS_BARS,  # in the notebooks
            "mypy>=2.4",  # types, before anything runs
            PANDAS,  # tables in tests and notebooks
            "nbclient>=0.10.0",  # executes the notebooks from top to bottom
            "nbformat>=5.10.4",  # reads the notebooks
            "playwright>=1.65",  # drives a browser in tests of the page; it takes the installed Chromium
            "pytest>=8.3",
            "pytest-xdist>=3.6",  # tests on every core
            "ruff>=0.8",  # lint and format
            TENSORBOARD,  # its own reader, in tests of the events
            EVENTS,
            GRAIN,
            RAY,
        ],
        "cuda": ["jax[cuda12]>=0.7.2"],  # JAX's own CUDA libraries, for an NVIDIA GPU under Linux
        "tpu": ["jax[tpu]>=0.7.2"],  # the TPU's library, for a Cloud TPU VM
        # For an environment of its own: jax2onnx asks for an older orbax-checkpoint, and for jax 0.8.1 or newer.
        "onnx": [
            "jax2onnx>=0.17.1",  # from JAX to ONNX graphs
            "onnx>=1.23.2",  # checks them
        ],
        "tensorboard": [
            EVENTS,
            TENSORBOARD,  # shows them
        ],
        "stream": [GRAIN],
        "ray": [RAY],
        "notebooks": [
            PANDAS,  # tables
            PROGRESS_BARS,
            "jupyterlab>=4.2.5",  # opens the notebooks
        ],
    },
)
