"""Looking into pictures: at the parts of a figure, and at its pixels."""

import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread


def rendered(figure):
    """The pixels of a figure, [height, width, 3] from 0 to 1."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=figure.dpi)
    return imread(io.BytesIO(buffer.getvalue()))[..., :3]


def drawn(figure):
    """The pixels of each tile on a canvas, in the order of drawing, and every text; the figure must render too."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=50)
    assert imread(io.BytesIO(buffer.getvalue()))[..., :3].std() > 0.02
    (axes,) = figure.axes
    width = axes.get_xlim()[1]
    height = axes.get_ylim()[0]
    for image in axes.images:
        left, right, bottom, top = image.get_extent()
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
    return [image.get_array() for image in axes.images], [text.get_text() for text in axes.texts]


def ink(image, colour):
    """How many pixels of an image with values from 0 to 1 have a colour given as #rrggbb."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return int((np.abs(image - wanted).max(axis=-1) < 0.02).sum())


def extent(text):
    """Left and right end of a text on its rendered figure, in pixels."""
    figure = text.get_figure()
    box = text.get_window_extent(FigureCanvasAgg(figure).get_renderer())
    return box.x0, box.x1
