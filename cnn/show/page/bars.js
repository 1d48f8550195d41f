// The probabilities of classes as bars in a list.
"use strict";

const Bars = (() => {
  const MOST_CLASSES = 10; // in a list

  // Fill the list, with the likeliest class marked; gives the index of that class.
  function show(list, names, shares) {
    const order = [...shares.keys()].sort((one, other) => shares[other] - shares[one]);
    const shown = order.slice(0, MOST_CLASSES);
    if (order.length <= MOST_CLASSES) shown.sort((one, other) => one - other); // so that bars keep their places
    list.replaceChildren(...shown.map((index) => bar(names[index], shares[index], index === order[0])));
    return order[0];
  }

  function bar(name, share, best) {
    const element = document.createElement("li");
    const track = span("bar-track", "");
    const fill = span("", "");
    const label = span("bar-class", name);
    element.className = best ? "bar-best" : "";
    label.title = name;
    fill.style.width = `${100 * share}%`;
    track.append(fill);
    element.append(label, track, span("bar-share", percent(share)));
    return element;
  }

  function span(kind, text) {
    const element = document.createElement("span");
    element.className = kind;
    element.textContent = text;
    return element;
  }

  function percent(share) {
    const text = (100 * share).toFixed(1);
    return `${text === "100.0" && share < 1 ? "99.9" : text} %`;
  }

  return { show, percent };
})();
