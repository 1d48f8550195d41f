// The sum behind one cell of a feature map: the segment under the filter, the filter, their products, and what follows.
"use strict";

const Sums = (() => {
  const CHANNELS = 8; // that are shown one by one; the others are given as one number
  const WIDEST = 5; // cells of a filter, up to which its numbers have room

  // The convolution that a layer's cells come from; null where no convolution did, or something else stands between.
  function convolutionOf(network, name) {
    let step = network.byName.get(name);
    while (step && step.kind in WORDS) step = network.byName.get(step.inputs[0]);
    return step && step.kind === "conv" ? step : null;
  }

  // Walk back from a cell to its cell of that convolution, and say in words what happened since.
  function trace(network, layers, cell) {
    const words = [];
    let { name, row, column } = cell;
    let step = network.byName.get(name);
    while (step.kind !== "conv") {
      const after = valueAt(layers.get(name), row, column, cell.channel);
      const window = cellsUnder(step, layers.get(step.inputs[0]), row, column, cell.channel);
      const strongest = window.reduce((most, other) => (other.value > most.value ? other : most));
      words.unshift(WORDS[step.kind](strongest.value, after, window));
      name = step.inputs[0];
      row = strongest.row;
      column = strongest.column;
      step = network.byName.get(name);
    }
    return { name, row, column, words };
  }

  function valueAt(layer, row, column, channel) {
    return layer.values[(row * layer.shape[1] + column) * layer.shape[2] + channel];
  }

  const WORDS = {
    relu: (before) => (before > 0 ? "ReLU keeps it, as it is above 0." : "ReLU makes it 0, as it is not above 0."),
    max_pool: (before, after, window) => `Max pooling takes the largest of ${window.length} cells: ${listed(window)}.`,
    avg_pool: (before, after, window) =>
      `Average pooling takes the mean of ${window.length} cells: ${listed(window)}. ` +
      `That is ${number(after)}; the sum shown is that of the largest.`,
    add: (before, after) => `The skip connection adds ${number(after - before)}, which gives ${number(after)}.`,
    batch_norm: (before, after) => `Normalisation makes it ${number(after)}.`,
    group_norm: (before, after) => `Normalisation makes it ${number(after)}.`,
    dropout: () => "Dropout does nothing after training.",
  };

  function cellsUnder(step, layer, row, column, channel) {
    return Array.from({ length: step.size[0] * step.size[1] }, (_, index) => {
      const down = row * step.stride[0] + Math.floor(index / step.size[1]);
      const along = column * step.stride[1] + (index % step.size[1]);
      return { row: down, column: along, value: valueAt(layer, down, along, channel) };
    });
  }

  function listed(window) {
    return window.map((cell) => number(cell.value)).join(", ");
  }

  // Fill the element of the channels with the matrices of a dot product; the channels that add most come first.
  function show(element, dot) {
    const order = [...dot.matrices].sort((one, other) => Math.abs(other.sum) - Math.abs(one.sum));
    const shown = order.slice(0, CHANNELS);
    const rest = order.slice(CHANNELS);
    const limits = {
      segment: Maps.largest(shown.flatMap((matrix) => matrix.segment)),
      filter: Maps.largest(dot.matrices.flatMap((matrix) => matrix.filter)),
      products: Maps.largest(shown.flatMap((matrix) => matrix.products)),
    };
    element.classList.toggle("try-wide", dot.size[1] > 3);
    element.classList.toggle("try-one", dot.matrices.length === 1);
    element.style.setProperty("--columns", dot.size[1]);
    element.replaceChildren(...shown.map((matrix, place) => channel(matrix, dot, limits, place === 0)));
    if (rest.length) {
      const sum = rest.reduce((total, matrix) => total + matrix.sum, 0);
      const others = rest.length === 1 ? "other channel adds" : `other ${rest.length} channels add`;
      element.append(paragraph(`The ${others} ${number(sum)}.`));
    }
    return shown[0].channel;
  }

  function channel(matrix, dot, limits, first) {
    const element = document.createElement("div");
    element.className = "try-channel";
    if (dot.matrices.length > 1) {
      element.append(paragraph(`channel ${matrix.channel + 1}: the products add up to ${number(matrix.sum)}`));
    }
    const product = document.createElement("div");
    product.className = first ? "try-product try-captioned" : "try-product";
    const caption = (name) => (first ? name : "");
    product.append(
      grid(matrix.segment, dot.size, limits.segment, caption("segment")),
      sign("\u00d7"),
      grid(matrix.filter, dot.size, limits.filter, caption("filter")),
      sign("="),
      grid(matrix.products, dot.size, limits.products, caption("products")),
    );
    element.append(product);
    return element;
  }

  function grid(values, size, limit, caption) {
    const element = document.createElement("figure");
    const cells = document.createElement("div");
    element.className = "try-matrix";
    element.style.setProperty("--columns", size[1]);
    cells.className = "try-cells";
    for (const value of values) {
      const cell = document.createElement("span");
      const share = Math.round((45 * Math.abs(value)) / limit);
      const colour = value < 0 ? "--negative" : "--positive";
      cell.style.background = `color-mix(in srgb, var(${colour}) ${share}%, transparent)`;
      cell.title = String(value);
      if (size[1] <= WIDEST) cell.textContent = short(value);
      cells.append(cell);
    }
    if (caption) {
      const text = document.createElement("figcaption");
      text.textContent = caption;
      element.append(text);
    }
    element.append(cells);
    return element;
  }

  function sign(text) {
    const element = document.createElement("span");
    element.className = "try-sign";
    element.textContent = text;
    return element;
  }

  function paragraph(text) {
    const element = document.createElement("p");
    element.textContent = text;
    return element;
  }

  // The whole calculation in one line, and what happens to its result.
  function total(dot, words) {
    const bias = `${dot.bias < 0 ? "\u2212" : "+"} ${number(Math.abs(dot.bias))} (bias)`;
    return [`${number(dot.sum)} (sum of products) ${bias} = ${number(dot.value)}.`, ...words].join(" ");
  }

  // A number in a sentence, with three digits that count; and in the cell of a matrix, which is small.
  function number(value) {
    const rounded = Number(value.toPrecision(3));
    return (Math.abs(rounded) < 1e-4 ? "0" : String(rounded)).replace("-", "\u2212");
  }

  function short(value) {
    const size = Math.abs(value);
    const text = value.toFixed(size < 10 ? 2 : size < 100 ? 1 : 0);
    return (Number(text) === 0 ? "0" : text).replace("-", "\u2212");
  }

  return { convolutionOf, trace, valueAt, show, total, number };
})();
