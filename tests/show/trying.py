"""A page that holds nothing but the part "try it", as the whole page includes it."""

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import jinja2
import numpy as np

import cnn.show
from cnn.config import NetworkConfig, TrialConfig
from cnn.data import datasets, splits
from cnn.data.content import Dataset
from cnn.network import models
from cnn.show.try_it import try_it
from cnn.trained.live import rounded
from cnn.trained.network import Trained
from tests.trained import untrained

PARTS = Path(cnn.show.__file__).parent / "page"
TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>try it</title><style>
:root { color-scheme: light dark; --ink: #222; --quiet: #666; --ground: #fff; --panel: #f6f6f4; --line: #d8d8d4;
  --accent: #0072b2; --good: #00764f; --bad: #c04a00;
  --negative: #0072b2; --positive: #d55e00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e6; --quiet: #a0a09c; --ground: #161616; --panel: #1f1f1f;
  --line: #3a3a3a; --accent: #56b4e9; --good: #3ec99b; --bad: #ff9a57;
  --negative: #4aa8e8; --positive: #f0793a; } }
body { background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; margin: 0; }
main { margin: 0 auto; max-width: 62rem; padding: 1rem; }
{% include "bars.css" %}{% include "try.css" %}</style></head>
<body><main><h2>Try it</h2>{% include "try.html" %}</main></body></html>
"""


def html(part):
    """The page of a `TryIt`."""
    loader = jinja2.ChoiceLoader([jinja2.DictLoader({"page.html": TEMPLATE}), jinja2.FileSystemLoader(PARTS)])
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.get_template("page.html").render(try_it=part)


def show(page, part, folder):
    """Open the page of a `TryIt` as a file."""
    path = folder / "page.html"
    path.write_text(html(part), encoding="utf-8")
    page.goto(path.as_uri())


@functools.cache
def digits():
    return datasets.load("digits")


@functools.cache
def on_digits(**settings):
    """A network of random weights for the digits, and what a page needs to run it."""
    return on(digits(), **settings)


def on(dataset, **settings):
    """A network of random weights for a data set, and what a page needs to run it."""
    network = NetworkConfig(**{"blocks": 2, "width": 6, "hidden": 16} | settings)
    x = jnp.ones((1, *dataset.image_shape))
    variables = untrained.some_variables(models.build(network, dataset.image_shape, dataset.classes), x)
    scale = splits.channel_statistics(dataset.train_images)
    config = TrialConfig(dataset.name, network=network)
    trained = Trained(config, variables, *scale, dataset.image_shape, dataset.class_names, dataset.classes)
    return trained, try_it(trained, dataset)


def some_set(classes=3, shape=untrained.SHAPE):
    """Two images of noise for each class, with the labels from the last to the first."""
    images = untrained.random_images(2 * classes, shape)
    labels = np.tile(np.arange(classes, dtype=np.int32)[::-1], 2)
    names = tuple(f"class {label}" for label in range(classes))
    return Dataset("some", images, labels, images, labels, names, "0123456789ab", "some")


def intermediates(trained, images):
    """Every layer's output, with the weights that a page has."""
    close = rounded(trained)
    x = jnp.asarray((images.astype(np.float32) - close.mean) / close.deviation)
    return jax.jit(lambda x: close.network.apply(close.variables, x, intermediates=True)[1])(x)


def renamed(part, names):
    """The same with other class names."""
    return dataclasses.replace(part, network=dataclasses.replace(part.network, class_names=tuple(names)))
