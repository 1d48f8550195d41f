// "Move an image": whatever is picked, moved or shuffled goes through all networks that are shown.
"use strict";

const Moving = (() => {
  const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }; // down and right
  const WAYS = [["down", "up"], ["right", "left"]];

  function start(data) {
    const part = (name) => document.getElementById(`moving-${name}`);
    const decoded = (each) => ({ name: each.name, network: Network.decode(each.network) });
    const plain = data.plain.map(decoded);
    const shuffled = data.shuffled.map(decoded);
    const order = shuffled.length ? orderOf(shuffled[0].network) : null;
    const { image_shape: shape, class_names: names } = plain[0].network;
    const sides = shape.slice(0, 2);
    const tests = data.examples.map((example) => ({ ...example, pixels: Network.fromBase64(example.pixels) }));
    const panels = plain.map(panel);
    let test = tests[0];
    let move = [0, 0]; // pixels down and right
    let pixels = null;
    let answers = [];

    // Compute everything, and show it.
    function show() {
      const shuffles = part("shuffle")?.checked ?? false;
      pixels = moved(test.pixels, shape, move);
      const seen = shuffles ? inOrder(pixels, order, shape) : pixels;
      Maps.paintPixels(part("image").querySelector("canvas"), seen, shape, data.largest_pixel);
      answers = (shuffles ? shuffled : plain).map(({ name, network }, place) => {
        const { probabilities } = Network.run(network, pixels); // which shuffles itself
        showAnswer(panels[place], name, probabilities);
        return { name, probabilities };
      });
      part("place").textContent = where(move);
      part("image").setAttribute("aria-label", `${names[test.label]}; the arrow keys move it`);
      [...part("tests").children].forEach((button, index) => {
        button.setAttribute("aria-pressed", String(tests[index] === test));
      });
    }

    function showAnswer(panel, name, probabilities) {
      const best = Bars.show(panel.bars, names, probabilities);
      const right = best === test.label;
      panel.name.textContent = name;
      panel.answer.className = right ? "moving-right" : "moving-wrong";
      const verdict = right ? "Right." : `Wrong: this is ${names[test.label]}.`;
      panel.answer.textContent = `${names[best]} (${Bars.percent(probabilities[best])}). ${verdict}`;
    }

    function panel() {
      const element = document.createElement("div");
      const [name, answer, bars] = ["h3", "p", "ol"].map((tag) => document.createElement(tag));
      answer.setAttribute("aria-live", "polite");
      bars.className = "bars";
      element.append(name, answer, bars);
      part("answers").append(element);
      return { name, answer, bars };
    }

    // Moves end where half of the image has left.
    function moveTo(place) {
      const within = place.map((pixels, axis) => {
        const most = Math.floor(sides[axis] / 2);
        return Math.min(Math.max(pixels, -most), most);
      });
      if (within.every((pixels, axis) => pixels === move[axis])) return;
      move = within;
      show();
    }

    function step(key) {
      moveTo(move.map((pixels, axis) => pixels + STEPS[key][axis]));
    }

    function pick(index) {
      test = tests[index];
      move = [0, 0];
      show();
    }

    function testButton(example, index) {
      const button = document.createElement("button");
      const canvas = document.createElement("canvas");
      button.type = "button";
      button.title = `test image of class ${names[example.label]}`;
      button.setAttribute("aria-label", button.title);
      Maps.paintPixels(canvas, example.pixels, shape, data.largest_pixel);
      button.append(canvas);
      button.addEventListener("click", () => pick(index));
      return button;
    }

    function letDrag(image) {
      let held = null; // where the pointer took the image, and the move then
      image.addEventListener("pointerdown", (event) => {
        if (held || event.button !== 0) return;
        held = { pointer: event.pointerId, x: event.clientX, y: event.clientY, move };
        image.setPointerCapture(event.pointerId);
      });
      image.addEventListener("pointermove", (event) => {
        if (event.pointerId !== held?.pointer) return;
        const box = image.getBoundingClientRect();
        const down = Math.round(((event.clientY - held.y) / box.height) * sides[0]);
        const right = Math.round(((event.clientX - held.x) / box.width) * sides[1]);
        moveTo([held.move[0] + down, held.move[1] + right]);
      });
      const drop = (event) => {
        if (event.pointerId === held?.pointer) held = null;
      };
      image.addEventListener("pointerup", drop);
      image.addEventListener("pointercancel", drop);
    }

    function setUp() {
      const image = part("image");
      tests.forEach((example, index) => part("tests").append(testButton(example, index)));
      image.addEventListener("keydown", (event) => {
        if (!(event.key in STEPS)) return;
        event.preventDefault();
        step(event.key);
      });
      document.querySelectorAll("[data-move]").forEach((button) => {
        button.addEventListener("click", () => step(button.dataset.move));
      });
      part("reset").addEventListener("click", () => moveTo([0, 0]));
      part("shuffle")?.addEventListener("change", show);
      letDrag(image);
      show();
    }

    setUp();
    return { pixels: () => pixels, move: () => move, answers: () => answers };
  }

  // The image moved by whole pixels, as `moved` in cnn/data/preprocess.py does it: what comes in repeats the edge.
  function moved(pixels, [height, width, channels], [down, right]) {
    const within = (place, size) => Math.min(Math.max(place, 0), size - 1);
    return pixels.map((_, index) => {
      const cell = Math.floor(index / channels);
      const row = within(Math.floor(cell / width) - down, height);
      const column = within((cell % width) - right, width);
      return pixels[(row * width + column) * channels + (index % channels)];
    });
  }

  function orderOf(network) {
    return network.steps.find((step) => step.kind === "permute").order;
  }

  function inOrder(pixels, order, [, , channels]) {
    return pixels.map((_, index) => pixels[order[Math.floor(index / channels)] * channels + (index % channels)]);
  }

  function where(move) {
    const parts = move.map((pixels, axis) => pixels && `${WAYS[axis][pixels < 0 ? 1 : 0]} by ${Math.abs(pixels)}`);
    const words = parts.filter(Boolean).join(", ");
    return words ? `Moved ${words}.` : "Not moved.";
  }

  return { start };
})();
