// An area to draw in, and drawings prepared like the images that the network learned from.
//
// Points are in the image's pixels, from its top left corner, so that strokes can be drawn anew at any size. What is
// typical of the images, `facts`, is measured in cnn/data/drawings.py.
"use strict";

const Drawing = (() => {
  const LARGEST = 8; // times that a small drawing is made larger at most
  const FINE = 256; // dots of a side while a drawing is prepared, at least

  // Let the canvas take strokes. `changed()` is called after changes of `strokes`: once for each frame of the screen,
  // and at the end of a stroke.
  function pad(canvas, facts, shape, largest, changed) {
    const [height, width] = shape;
    const zoom = Math.max(1, Math.round(560 / Math.max(height, width))); // dots of the canvas for each pixel
    const levels = { ground: grey(facts.ground, largest), ink: grey(facts.ink, largest) };
    const strokes = [];
    canvas.width = zoom * width;
    canvas.height = zoom * height;

    function point(event) {
      const box = canvas.getBoundingClientRect();
      return [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
    }

    function paint() {
      const context = canvas.getContext("2d");
      context.fillStyle = levels.ground;
      context.fillRect(0, 0, canvas.width, canvas.height);
      context.strokeStyle = levels.ink;
      draw(context, strokes, zoom, facts.pen);
    }

    let waiting = 0; // the frame for which a change waits

    function tell() {
      cancelAnimationFrame(waiting);
      waiting = 0;
      changed();
    }

    function clear() {
      cancelAnimationFrame(waiting);
      waiting = 0;
      strokes.length = 0;
      paint();
    }

    let drawing = null; // the pointer that draws
    canvas.addEventListener("pointerdown", (event) => {
      if (drawing !== null || event.button !== 0) return;
      event.preventDefault();
      drawing = event.pointerId;
      canvas.setPointerCapture(drawing);
      strokes.push([point(event)]);
      paint();
      tell();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerId !== drawing || !strokes.length) return;
      const steps = event.getCoalescedEvents();
      strokes[strokes.length - 1].push(...(steps.length ? steps : [event]).map(point));
      paint();
      waiting ||= requestAnimationFrame(tell);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => {
        if (event.pointerId !== drawing) return;
        drawing = null;
        if (waiting) tell();
      });
    }
    paint();
    return { strokes, clear };
  }

  function grey(value, largest) {
    const level = Math.round((255 * value) / largest);
    return `rgb(${level}, ${level}, ${level})`;
  }

  function draw(context, strokes, zoom, pen) {
    context.lineCap = "round";
    context.lineJoin = "round";
    context.lineWidth = zoom * pen;
    for (const stroke of strokes) {
      context.beginPath();
      context.moveTo(zoom * stroke[0][0], zoom * stroke[0][1]);
      for (const [x, y] of stroke) context.lineTo(zoom * x, zoom * y);
      context.stroke();
    }
  }

  // The strokes as the network's uint8 pixels: brought to the typical size, drawn with the typical pen, and moved to
  // the typical place.
  function prepare(strokes, facts, shape) {
    let fitted = boxed(strokes, facts);
    if (facts.centred === "mass") {
      const [row, column] = centreOfMass(coverage(fitted, facts.pen, shape), shape);
      fitted = moved(fitted, 1, [column, row], [facts.centre[1], facts.centre[0]]);
    }
    const ink = coverage(fitted, facts.pen, shape);
    return Uint8Array.from(ink, (share) => Math.round(facts.ground + (facts.ink - facts.ground) * share));
  }

  function boxed(strokes, facts) {
    const points = strokes.flat();
    const low = [0, 1].map((axis) => Math.min(...points.map((point) => point[axis])));
    const high = [0, 1].map((axis) => Math.max(...points.map((point) => point[axis])));
    const longer = Math.max(high[0] - low[0], high[1] - low[1]); // between the middles of strokes
    const times = longer > 0 ? Math.min(LARGEST, Math.max(facts.side - facts.pen, 1) / longer) : 1;
    const middle = [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2];
    return moved(strokes, times, middle, [facts.centre[1], facts.centre[0]]);
  }

  function moved(strokes, times, from, to) {
    const place = ([x, y]) => [to[0] + times * (x - from[0]), to[1] + times * (y - from[1])];
    return strokes.map((stroke) => stroke.map(place));
  }

  // The share of each pixel that lies under ink: drawn finely, then averaged over the dots of the pixel.
  function coverage(strokes, pen, [height, width]) {
    const zoom = Math.max(2, Math.ceil(FINE / Math.max(height, width)));
    const canvas = document.createElement("canvas");
    canvas.width = zoom * width;
    canvas.height = zoom * height;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    draw(context, strokes, zoom, pen);
    const dots = context.getImageData(0, 0, canvas.width, canvas.height).data;
    const shares = new Float64Array(height * width);
    for (let dot = 0; dot < canvas.width * canvas.height; dot++) {
      const row = Math.floor(dot / canvas.width / zoom);
      const column = Math.floor((dot % canvas.width) / zoom);
      shares[row * width + column] += dots[4 * dot + 3] / 255 / zoom ** 2;
    }
    return shares;
  }

  function centreOfMass(shares, [, width]) {
    let mass = 0;
    let row = 0;
    let column = 0;
    shares.forEach((share, index) => {
      mass += share;
      row += share * (Math.floor(index / width) + 0.5);
      column += share * ((index % width) + 0.5);
    });
    return mass ? [row / mass, column / mass] : [0, 0];
  }

  return { pad, prepare };
})();
