"use strict";

// The charts, and the boxes that hide a variant in all of them, in the tables, and with its own chart.
const page = (() => {
  const read = (name) => JSON.parse(document.getElementById(name).textContent);
  const specs = read("charts");
  const boxes = [...document.querySelectorAll("#shown input")];
  const hiddenVariants = () => boxes.filter((box) => !box.checked).map((box) => JSON.parse(box.value));
  const views = new Map();
  const config = {
    background: null,
    font: "system-ui, sans-serif",
    view: { stroke: null },
    axis: { domainColor: "var(--line)", gridColor: "var(--line)", tickColor: "var(--line)", labelFontSize: 12,
            titleFontSize: 12, titleFontWeight: "normal", gridOpacity: 0.7, labelColor: "var(--ink)",
            titleColor: "var(--ink)", labelSeparation: 8 },
    legend: { labelFontSize: 12, titleFontSize: 12, labelColor: "var(--ink)", titleColor: "var(--ink)" },
    text: { fontSize: 12, color: "var(--ink)" },
  };

  const hidden = (element) => element.closest("[hidden]") !== null;

  async function draw(name) {
    const element = document.getElementById(`chart-${name}`);
    if (views.has(name) || hidden(element)) return;
    views.set(name, null);
    const spec = { ...specs[name], params: [{ name: "hidden", value: hiddenVariants() }] };
    const result = await vegaEmbed(element, spec, { actions: false, renderer: "svg", config });
    views.set(name, result.view);
    element.style.minHeight = "";
  }

  async function update() {
    const names = new Set(hiddenVariants().map((variant) => JSON.stringify(variant)));
    for (const element of document.querySelectorAll("[data-variant]")) {
      element.hidden = names.has(JSON.stringify(JSON.parse(element.dataset.variant)));
    }
    const drawn = [...views.values()].filter(Boolean);
    await Promise.all(drawn.map((view) => view.signal("hidden", hiddenVariants()).resize().runAsync()));
    await drawAll();
    fit();
  }

  // Charts learn of a new width from this event alone; what was hidden while the window changed missed its width.
  function fit() {
    window.dispatchEvent(new Event("resize"));
  }

  async function drawAll() {
    for (const name of Object.keys(specs)) await draw(name);
  }

  async function choose(choice) {
    for (const radio of choice.querySelectorAll("input")) {
      document.getElementById(`${choice.dataset.choice}-${radio.value}`).hidden = !radio.checked;
    }
    await drawAll();
    fit();
  }

  async function copy(button) {
    const text = document.getElementById(button.dataset.copy).textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {  // a file that is opened from a disk may not write to the clipboard
      getSelection().selectAllChildren(document.getElementById(button.dataset.copy));
      document.execCommand("copy");
    }
    const label = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = label; }, 1500);
  }

  function download(button) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(read(button.dataset.from), null, 2)]));
    link.download = button.dataset.download;
    link.click();
    URL.revokeObjectURL(link.href);
  }

  boxes.forEach((box) => box.addEventListener("change", update));
  document.querySelectorAll("[data-choice]").forEach((choice) => choice.addEventListener("change", () => choose(choice)));
  document.querySelectorAll("[data-copy]").forEach((button) => button.addEventListener("click", () => copy(button)));
  document.querySelectorAll("[data-download]").forEach((button) => button.addEventListener("click", () => download(button)));
  return { drawn: drawAll(), views };
})();
