"""The operations once more, in NumPy and float64: loops over the filter's positions, gradients by hand."""

import numpy as np


def positions(x, filter, stride, sides):
    """Each output cell with the slice of padded rows and columns under the filter."""
    spans = []
    for size, cells, step, (before, after) in zip(x.shape[1:3], filter, stride, sides, strict=True):
        spans.append([slice(start, start + cells) for start in range(0, size + before + after - cells + 1, step)])
    return [(i, j, rows, columns) for i, rows in enumerate(spans[0]) for j, columns in enumerate(spans[1])]


def pad(x, sides):
    return np.pad(np.asarray(x, np.float64), ((0, 0), *sides, (0, 0)))


def unpad(x, sides):
    (top, bottom), (left, right) = sides
    return x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]


def empty(x, places, channels):
    return np.zeros((x.shape[0], places[-1][0] + 1, places[-1][1] + 1, channels))


def conv2d(x, kernel, bias, stride, sides):
    padded = pad(x, sides)
    places = positions(x, kernel.shape[:2], stride, sides)
    y = empty(x, places, kernel.shape[3])
    for i, j, rows, columns in places:
        y[:, i, j] = np.tensordot(padded[:, rows, columns], kernel, 3) + bias
    return y


def conv2d_gradients(x, kernel, g, stride, sides):
    """The gradients of `sum(g * conv2d)` with respect to image, kernel and bias."""
    padded = pad(x, sides)
    places = positions(x, kernel.shape[:2], stride, sides)
    dx = np.zeros_like(padded)
    dk = np.zeros(kernel.shape)
    for i, j, rows, columns in places:
        dx[:, rows, columns] += np.tensordot(g[:, i, j], kernel, axes=(1, 3))
        dk += np.tensordot(padded[:, rows, columns], g[:, i, j], axes=(0, 0))
    return unpad(dx, sides), dk, g.sum((0, 1, 2))


def max_pool2d(x, window, stride, sides, g=None):
    """The maxima, or with `g` the gradient of `sum(g * max_pool2d)`; the image's cells compete, the first wins."""
    padded = pad(x, sides)
    inside = pad(np.ones((1, *x.shape[1:3], 1)), sides)
    places = positions(x, window, stride, sides)
    y = empty(x, places, x.shape[3])
    dx = np.zeros_like(padded)
    n, c = np.ogrid[: x.shape[0], : x.shape[3]]
    for i, j, rows, columns in places:
        candidates = np.flatnonzero(inside[0, rows, columns, 0])
        cells = padded[:, rows, columns].reshape(x.shape[0], -1, x.shape[3])
        winner = candidates[
            cells[:, candidates].argmax(1)
        ]  # [n, c]; NumPy's argmax takes the first, and any NaN first of all
        y[:, i, j] = cells[n, winner, c]
        if g is not None:
            dx[n, rows.start + winner // window[1], columns.start + winner % window[1], c] += g[:, i, j]
    return y if g is None else unpad(dx, sides)


def avg_pool2d(x, window, stride, sides, count_include_pad=True, g=None):
    """The means, or with `g` the gradient of `sum(g * avg_pool2d)`."""
    padded = pad(x, sides)
    inside = pad(np.ones((1, *x.shape[1:3], 1)), sides)
    places = positions(x, window, stride, sides)
    y = empty(x, places, x.shape[3])
    dx = np.zeros_like(padded)
    for i, j, rows, columns in places:
        count = window[0] * window[1] if count_include_pad else inside[0, rows, columns, 0].sum()
        y[:, i, j] = padded[:, rows, columns].sum((1, 2)) / count
        if g is not None:
            dx[:, rows, columns] += g[:, i, j][:, None, None] / count
    return y if g is None else unpad(dx, sides)
