// "Try it": what is drawn, dropped or picked goes through the network, and everything on the page follows.
"use strict";

const TryIt = (() => {
  function start(data) {
    const part = (name) => document.getElementById(`try-${name}`);
    const network = { ...Network.decode(data.network), largest_pixel: data.largest_pixel };
    const shape = network.image_shape;
    const [height, width, channels] = shape;
    const takesPictures = channels === 1 || channels === 3;
    const tests = data.examples.map((example) => ({ ...example, pixels: Network.fromBase64(example.pixels) }));
    let pixels = new Uint8Array(height * width * channels).fill(data.drawing ? data.drawing.ground : 0);
    let origin = { kind: "nothing" };
    let answer = null;
    let cell = null;
    let colours = Maps.colours(part("rows"));
    let pad = null;

    const maps = Maps.build(part("rows"), network, (name) => Sums.convolutionOf(network, name) !== null, pick);

    // A new image: compute everything, and show it.
    function see(newPixels, newOrigin) {
      pixels = newPixels;
      origin = newOrigin;
      answer = Network.run(network, pixels);
      Maps.paintPixels(part("image").querySelector("canvas"), pixels, shape, data.largest_pixel);
      showAnswer();
      maps.paint(answer.layers, colours);
      part("tests").querySelectorAll("button").forEach((button, index) => {
        button.setAttribute("aria-pressed", String(origin.kind === "test" && origin.index === index));
      });
      part("invert").disabled = origin.kind !== "picture";
      if (cell) explain();
      else pickStrongest();
    }

    function showAnswer() {
      part("answer").textContent = sentence(Bars.show(part("bars"), network.class_names, answer.probabilities));
    }

    function sentence(best) {
      const likely = `${network.class_names[best]} (${Bars.percent(answer.probabilities[best])})`;
      part("answer").className = "";
      if (origin.kind === "nothing") return data.drawing ? "Nothing is drawn yet." : "No image is picked yet.";
      if (origin.kind === "test") {
        const label = tests[origin.index].label;
        const name = network.class_names[label];
        const verdict = label === best ? "It is right." : `It is wrong: this is ${name}.`;
        part("answer").className = label === best ? "try-right" : "try-wrong";
        return `The network says ${likely}. ${verdict}`;
      }
      if (origin.kind === "picture") return `${origin.name}: the network says ${likely}.`;
      return `The network says ${likely}.`;
    }

    // The cell of the first row that is excited most, so that there is a sum to look at.
    function pickStrongest() {
      const row = maps.rows.find((row) => row.pickable);
      if (!row) return;
      const values = answer.layers.get(row.step.name).values;
      const [, columns, count] = row.step.shape;
      const index = values.indexOf(values.reduce((most, value) => Math.max(most, value), -Infinity));
      const place = Math.floor(index / count);
      row.pick(index % count, { row: Math.floor(place / columns), column: place % columns });
    }

    function pick(newCell) {
      const row = maps.byName.get(newCell.name).element;
      const panel = part("sum");
      const top = row.getBoundingClientRect().top;
      cell = newCell;
      if (row.nextSibling !== panel) row.after(panel);
      panel.hidden = false;
      explain();
      window.scrollBy(0, row.getBoundingClientRect().top - top); // the row stays under the pointer
    }

    function explain() {
      const traced = Sums.trace(network, answer.layers, cell);
      const dot = Network.dotProduct(network, answer.layers, traced.name, traced.row, traced.column, cell.channel);
      const first = Sums.show(part("channels"), dot);
      const segment = { row: dot.corner[0], column: dot.corner[1], height: dot.size[0], width: dot.size[1] };
      const output = answer.layers.get(cell.name);
      const result = Sums.number(Sums.valueAt(output, cell.row, cell.column, cell.channel));
      part("title").textContent = `${cell.name}, map ${cell.channel + 1}, ${where(cell)}: why is it ${result}?`;
      part("filter").textContent = [
        `Filter ${cell.channel + 1} of ${traced.name} at ${where(traced)}:`,
        "multiply each number under the filter by the filter's number, and add up.",
        Maps.asPixels(network, answer.layers, dot.input) ? normalisation() : "",
        dot.beyond ? "Beyond the border there are zeros." : "",
        "Numbers below 0 are blue, those above 0 vermilion, here and in the maps.",
      ].join(" ");
      part("before").textContent = dot.input ? `${dot.input}, channel ${first + 1}` : "the image";
      part("after").textContent = `${cell.name}, map ${cell.channel + 1}`;
      part("total").textContent = Sums.total(dot, traced.words);
      picture(part("before"), dot.input, first, segment, false);
      picture(part("after"), cell.name, cell.channel, { ...cell, height: 1, width: 1 }, true);
      maps.mark(cell, { name: dot.input, ...segment });
      Maps.frame(part("image"), shape, inImage(dot.input, segment));
    }

    function normalisation() {
      const grey = channels === 1;
      const mean = grey ? Sums.number(network.mean[0]) : "its channel's mean";
      const deviation = grey ? Sums.number(network.deviation[0]) : "the deviation";
      return `Of each pixel ${mean} is subtracted first, and it is divided by ${deviation}.`;
    }

    // The part of the image that a part of a layer sees; null where pixels were shuffled.
    function inImage(name, seen) {
      if (!name) return seen;
      const { kind, size, stride, padding, inputs } = network.byName.get(name);
      if (kind === "permute") return null;
      return inImage(inputs[0], {
        row: seen.row * stride[0] - padding[0][0],
        column: seen.column * stride[1] - padding[1][0],
        height: (seen.height - 1) * stride[0] + size[0],
        width: (seen.width - 1) * stride[1] + size[1],
      });
    }

    // Paint a layer's map into the figure below a caption, with a frame.
    function picture(caption, name, channel, place, strong) {
      const element = caption.nextElementSibling;
      Maps.paintLayer(element.querySelector("canvas"), network, answer.layers, name, channel, colours);
      Maps.frame(element, answer.layers.get(name).shape, place, strong);
    }

    function draw() {
      see(Drawing.prepare(pad.strokes, data.drawing, shape), { kind: "drawing" });
    }

    function pickTest(index) {
      pad?.clear();
      see(tests[index].pixels, { kind: "test", index });
    }

    async function open(file) {
      if (!file || !takesPictures) return;
      try {
        const bitmap = await createImageBitmap(file);
        pad?.clear();
        see(fromPicture(bitmap), { kind: "picture", name: file.name, bitmap });
      } catch (error) {
        part("answer").textContent = `${file.name} is no picture that this browser can read.`;
      }
    }

    // A picture as the network's pixels: stretched to the image's size, on white, in grey or in colours.
    function fromPicture(bitmap) {
      const canvas = document.createElement("canvas");
      canvas.height = height;
      canvas.width = width;
      const context = canvas.getContext("2d");
      context.fillStyle = "white";
      context.fillRect(0, 0, width, height);
      context.imageSmoothingQuality = "high";
      context.drawImage(bitmap, 0, 0, width, height);
      const dots = context.getImageData(0, 0, width, height).data;
      const scale = data.largest_pixel / 255;
      return Uint8Array.from({ length: height * width * channels }, (_, index) => {
        const dot = dots.subarray(4 * Math.floor(index / channels));
        const level = channels === 3 ? dot[index % 3] : 0.299 * dot[0] + 0.587 * dot[1] + 0.114 * dot[2];
        return Math.round(scale * (part("invert").checked ? 255 - level : level));
      });
    }

    function setUp() {
      const ways = [
        data.drawing && "draw something",
        takesPictures && "drop a picture here",
        tests.length && "pick a test image",
      ].filter(Boolean);
      const last = ways.pop() ?? "look";
      const all = ways.length > 1 ? `${ways.join(", ")}, or ${last}` : [...ways, last].join(" or ");
      const runs = "the trained network runs in this page and answers at once. Nothing leaves your computer.";
      part("lead").textContent = `${all.charAt(0).toUpperCase()}${all.slice(1)}: ${runs}`;
      const keys = "Arrow keys move the cell, Page Up and Page Down change the map.";
      part("hint").textContent = maps.rows.some((row) => row.pickable)
        ? `Click a cell of a map to see the sum behind it. ${keys}`
        : "This network has no convolution, so there is no filter to look at.";
      if (data.drawing) {
        part("draw").hidden = false;
        pad = Drawing.pad(part("pad"), data.drawing, shape, data.largest_pixel, draw);
        part("clear").addEventListener("click", () => {
          pad.clear();
          see(new Uint8Array(height * width).fill(data.drawing.ground), { kind: "nothing" });
        });
      }
      part("after").nextElementSibling.addEventListener("click", (event) => {
        const row = maps.byName.get(cell.name);
        row.pick(cell.channel, Maps.cellAt(event, event.currentTarget, row.step.shape));
      });
      if (takesPictures) listenForPictures();
      tests.forEach((test, index) => part("tests").append(testButton(test, index)));
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
      new MutationObserver(repaint).observe(document.documentElement, { attributes: true });
      if (tests.length) pickTest(0);
      else see(pixels, origin);
    }

    function listenForPictures() {
      const whole = document.getElementById("try");
      part("pictures").hidden = false;
      part("file").addEventListener("change", (event) => open(event.target.files[0]));
      part("invert").addEventListener("change", () => see(fromPicture(origin.bitmap), origin));
      whole.addEventListener("dragover", (event) => event.preventDefault());
      whole.addEventListener("drop", (event) => {
        event.preventDefault();
        open(event.dataTransfer.files[0]);
      });
    }

    function testButton(test, index) {
      const button = document.createElement("button");
      const canvas = document.createElement("canvas");
      button.type = "button";
      button.title = `test image of class ${network.class_names[test.label]}`;
      button.setAttribute("aria-label", button.title);
      Maps.paintPixels(canvas, test.pixels, shape, data.largest_pixel);
      button.append(canvas);
      button.addEventListener("click", () => pickTest(index));
      return button;
    }

    function repaint() {
      colours = Maps.colours(part("rows"));
      maps.paint(answer.layers, colours);
      if (cell) explain();
    }

    setUp();
    return { network, pixels: () => pixels, answer: () => answer, cell: () => cell };
  }

  function where(cell) {
    return `row ${cell.row + 1}, column ${cell.column + 1}`;
  }

  return { start };
})();

const tryIt = TryIt.start(JSON.parse(document.getElementById("try-data").textContent));
