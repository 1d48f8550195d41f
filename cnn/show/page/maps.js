// Feature maps: a row for each pictured layer, painted in the page's colours, and a cell that can be picked in them.
"use strict";

const Maps = (() => {
  const FIRST = 24; // maps of a layer; the others are folded away
  const KINDS = {
    relu: "ReLU",
    max_pool: "max pooling",
    avg_pool: "average pooling",
    permute: "shuffled pixels",
  };

  // Build the rows into `container`. `pickable(name)` says whether a layer's cells come from a convolution, and
  // `picked({ name, channel, row, column })` is called when a cell is picked.
  function build(container, network, pickable, picked) {
    const rows = network.steps.filter((step) => step.pictured || step.kind === "permute").map((step) => {
      const row = rowOf(step, pickable(step.name));
      container.append(row.element);
      return row;
    });
    const byName = new Map(rows.map((row) => [row.step.name, row]));
    for (const row of rows.filter((row) => row.pickable)) listen(row, picked);

    function paint(layers, colours) {
      for (const row of rows) {
        row.maps.forEach((map, channel) => paintLayer(map.canvas, network, layers, row.step.name, channel, colours));
      }
    }

    // Frame the picked cell, and the segment of the convolution's input that it comes from.
    function mark(cell, segment) {
      for (const row of rows) {
        row.maps.forEach((map, channel) => {
          const own = row.step.name === cell.name && channel === cell.channel;
          map.element.classList.toggle("try-picked", own);
          if (row.pickable) map.element.tabIndex = (row.step.name === cell.name ? own : channel === 0) ? 0 : -1;
          const words = own ? `, row ${cell.row + 1}, column ${cell.column + 1}` : "";
          map.element.setAttribute("aria-label", label(row.step, channel) + words);
          const place = own ? { row: cell.row, column: cell.column, height: 1, width: 1 } : null;
          frame(map.element, row.step.shape, place ?? (row.step.name === segment.name ? segment : null), own);
        });
      }
    }

    return { rows, byName, paint, mark };
  }

  function rowOf(step, pickable) {
    const element = document.createElement("div");
    const [height, width, count] = step.shape;
    element.className = "try-row";
    if (step.shape.length === 1 || step.kind === "permute") {
      const map = newMap(step, 0, false);
      map.element.classList.toggle("try-strip", step.shape.length === 1); // units without height and width
      const size = step.shape.length === 1 ? `${height} units` : `${height} \u00d7 ${width}`;
      element.append(heading(step, size), group([map]));
      return { step, element, maps: [map], pickable: false };
    }
    const maps = Array.from({ length: count }, (_, channel) => newMap(step, channel, pickable));
    element.append(heading(step, `${height} \u00d7 ${width}, ${count === 1 ? "1 map" : `${count} maps`}`));
    element.append(group(maps.slice(0, FIRST)));
    if (count > FIRST) {
      const more = document.createElement("details");
      const summary = document.createElement("summary");
      summary.textContent = `Show all ${count} maps`;
      more.append(summary, group(maps.slice(FIRST)));
      element.append(more);
    }
    return { step, element, maps, pickable };
  }

  function heading(step, size) {
    const element = document.createElement("p");
    const quiet = document.createElement("span");
    const name = document.createElement("strong");
    name.textContent = step.name;
    quiet.className = "try-quiet";
    quiet.textContent = ` ${KINDS[step.kind] ?? step.kind}: ${size}`;
    element.append(name, quiet);
    return element;
  }

  function group(maps) {
    const element = document.createElement("div");
    element.className = "try-maps";
    element.append(...maps.map((map) => map.element));
    return element;
  }

  function newMap(step, channel, pickable) {
    const element = document.createElement("div");
    const canvas = document.createElement("canvas");
    element.className = "try-map";
    element.setAttribute("role", pickable ? "button" : "img");
    element.setAttribute("aria-label", label(step, channel));
    element.classList.toggle("try-pickable", pickable);
    element.append(canvas);
    return { element, canvas };
  }

  function label(step, channel) {
    return step.shape.length === 3 ? `${step.name}, map ${channel + 1} of ${step.shape[2]}` : step.name;
  }

  function listen(row, picked) {
    const [height, width] = row.step.shape;
    const within = (value, size) => Math.min(Math.max(value, 0), size - 1);
    let last = { row: Math.floor(height / 2), column: Math.floor(width / 2) };

    function pick(channel, place) {
      last = { row: within(place.row, height), column: within(place.column, width) };
      picked({ name: row.step.name, channel, ...last });
    }

    row.maps.forEach((map, channel) => {
      const at = (event) => pick(channel, cellAt(event, map.canvas, row.step.shape));
      map.element.addEventListener("click", at); // at its end, so that a finger can scroll
      map.element.addEventListener("pointermove", (event) => {
        if (event.pointerType === "mouse" && event.buttons === 1) at(event);
      });
      map.element.addEventListener("keydown", (event) => {
        const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
        const next = { PageUp: -1, PageDown: 1, Enter: 0, " ": 0 }[event.key];
        if (move) pick(channel, { row: last.row + move[0], column: last.column + move[1] });
        if (next !== undefined) {
          const other = within(channel + next, row.maps.length);
          pick(other, last);
          row.maps[other].element.closest("details")?.setAttribute("open", "");
          row.maps[other].element.focus({ preventScroll: true });
        }
        if (move || next !== undefined) event.preventDefault();
      });
    });
    row.pick = pick;
  }

  // The cell under the pointer, on a canvas that shows a map of that shape.
  function cellAt(event, canvas, [height, width]) {
    const box = canvas.getBoundingClientRect();
    const row = Math.floor(((event.clientY - box.top) / box.height) * height);
    return { row, column: Math.floor(((event.clientX - box.left) / box.width) * width) };
  }

  const limits = new WeakMap(); // of layers, so that it is found once and not for each map

  function limitOf(layer) {
    if (!limits.has(layer)) limits.set(layer, largest(layer.values));
    return limits.get(layer);
  }

  function largest(values) {
    return values.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;
  }

  // One channel of a layer, in the scale of the whole layer; what is still the image has the image's own colours.
  function paintLayer(canvas, network, layers, name, channel, colours) {
    const layer = layers.get(name);
    const pixels = asPixels(network, layers, name);
    if (pixels) paintPixels(canvas, pixels, layer.shape, network.largest_pixel);
    else paintMap(canvas, layer, channel, limitOf(layer), colours);
  }

  // The pixels of a layer that only moves them; null for every other layer.
  function asPixels(network, layers, name) {
    for (let before = name; before; before = network.byName.get(before).inputs[0]) {
      if (!["permute", "zero_pad"].includes(network.byName.get(before).kind)) return null;
    }
    const channels = network.mean.length;
    const { mean, deviation } = network;
    return layers.get(name).values.map((value, index) => value * deviation[index % channels] + mean[index % channels]);
  }

  // From the ground at 0 to the colour of negative numbers, and to that of positive ones.
  function paintMap(canvas, layer, channel, limit, colours) {
    const channels = layer.shape[2] ?? 1;
    canvas.height = layer.shape.length === 3 ? layer.shape[0] : 1;
    canvas.width = layer.shape.length === 3 ? layer.shape[1] : layer.shape[0];
    const context = canvas.getContext("2d");
    const image = context.createImageData(canvas.width, canvas.height);
    for (let cell = 0; cell < canvas.width * canvas.height; cell++) {
      const value = layer.values[cell * channels + channel] / limit;
      const ink = value < 0 ? colours.negative : colours.positive;
      for (let part = 0; part < 3; part++) {
        image.data[4 * cell + part] = colours.ground[part] + Math.abs(value) * (ink[part] - colours.ground[part]);
      }
      image.data[4 * cell + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  }

  // Pixels of an image in their own colours; with neither one nor three channels, the first as grey.
  function paintPixels(canvas, pixels, [height, width, channels], largestPixel) {
    canvas.height = height;
    canvas.width = width;
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    for (let cell = 0; cell < width * height; cell++) {
      for (let part = 0; part < 3; part++) {
        const channel = channels === 3 ? part : 0;
        image.data[4 * cell + part] = (255 * pixels[cell * channels + channel]) / largestPixel;
      }
      image.data[4 * cell + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  }

  // Lay a frame over the cells of a map of that shape, as far as they lie in it; without a place, take the frame away.
  function frame(element, shape, place, strong = false) {
    element.querySelector(".try-frame")?.remove();
    if (!place) return;
    const box = document.createElement("span");
    const sides = [
      ["top", "height", place.row, place.row + place.height, shape[0]],
      ["left", "width", place.column, place.column + place.width, shape[1]],
    ];
    for (const [side, length, first, last, size] of sides) {
      const start = Math.max(first, 0);
      box.style[side] = `${(100 * start) / size}%`;
      box.style[length] = `${(100 * (Math.min(last, size) - start)) / size}%`;
    }
    box.className = strong ? "try-frame try-strong" : "try-frame";
    element.append(box);
  }

  // The page's colours as numbers, whatever way its style sheet writes them.
  function colours(element) {
    const probe = document.createElement("span");
    element.append(probe);
    const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const read = (name) => {
      probe.style.color = `var(--${name})`;
      context.fillStyle = getComputedStyle(probe).color;
      context.fillRect(0, 0, 1, 1);
      return context.getImageData(0, 0, 1, 1).data;
    };
    const found = { ground: read("ground"), negative: read("negative"), positive: read("positive") };
    probe.remove();
    return found;
  }

  return { build, paintLayer, paintPixels, asPixels, largest, frame, cellAt, colours };
})();
