// SPDX-License-Identifier: Apache-2.0
// A head pointed at in one figure, by mouse or arrow keys -> marked in all figures of its model, its values told.
(() => {
  "use strict";
  const traces = new Map(); // by figure, as they wait in the page: figures not drawn yet tell their values too
  const tracesOf = (place) => {
    if (!traces.has(place)) traces.set(place, JSON.parse(document.getElementById(place.dataset.figure).textContent).data);
    return traces.get(place);
  };
  // Every [layer, head] of a figure.
  const headsOf = (place) => tracesOf(place).flatMap((trace) => trace.type === "heatmap"
    ? trace.x.flatMap((layer) => trace.y.map((head) => [Number(layer), Number(head)])) : trace.customdata);

  // A head in a figure: its value and its place for plotly's hover; null where the figure does not show it.
  const find = (place, head) => {
    for (const [curve, trace] of tracesOf(place).entries()) {
      if (trace.type === "heatmap") {
        const column = trace.x.indexOf(String(head.layer)), row = trace.y.indexOf(String(head.head));
        if (column < 0 || row < 0 || trace.z[row][column] == null) return null;
        return { value: trace.z[row][column], at: { curveNumber: curve, xval: column, yval: row } };
      }
      const point = trace.customdata.findIndex(([layer, number]) => layer === head.layer && number === head.head);
      if (point >= 0) return { value: null, at: { curveNumber: curve, pointNumber: point } };
    }
    return null;
  };

  // Where a drawn figure shows it, in pixels of its axes.
  const boxOf = (place, { curveNumber, pointNumber, xval, yval }) => {
    const { xaxis, yaxis } = place._fullLayout;
    if (pointNumber === undefined) {
      const [left, right] = [xaxis.c2p(xval - .5), xaxis.c2p(xval + .5)];
      const [top, bottom] = [yaxis.c2p(yval - .5), yaxis.c2p(yval + .5)];
      return { left, top, width: right - left, height: bottom - top, round: false };
    }
    const { x, y } = tracesOf(place)[curveNumber];
    return { left: xaxis.c2p(x[pointNumber]) - 8, top: yaxis.c2p(y[pointNumber]) - 8, width: 16, height: 16, round: true };
  };

  const mark = (place, head) => {
    place.querySelector(".mark-head")?.remove();
    const found = head && place._fullLayout ? find(place, head) : null;
    if (!found) return;
    const { xaxis, yaxis } = place._fullLayout, box = boxOf(place, found.at), sign = document.createElement("i");
    sign.className = box.round ? "mark-head round" : "mark-head";
    Object.assign(sign.style, {
      left: `${xaxis._offset + box.left}px`, top: `${yaxis._offset + box.top}px`,
      width: `${box.width}px`, height: `${box.height}px`,
    });
    place.append(sign);
  };

  // A head and its value in a figure, in words; only the head where the figure holds no values.
  const told = (place, head) => {
    const value = find(place, head)?.value ?? null, name = `layer ${head.layer}, head ${head.head}`;
    return value === null ? name : `${name}: ${Number(value.toPrecision(3))}`.replace("-", "\u2212");
  };

  const point = (group, head) => {
    if (head && group.head && head.layer === group.head.layer && head.head === group.head.head) return;
    group.head = head;
    for (const place of group.places) {
      mark(place, head);
      place.closest("figure").querySelector(".told").textContent = head ? told(place, head) : "\u00a0";
    }
    group.line.textContent = head ? group.places.map((place) => `${place.dataset.name}, ${told(place, head)}`).join("; ") : "";
  };

  // The next head in the direction of an arrow key, among all that the model's figures have.
  const moved = (group, key) => {
    const heads = group.places.flatMap(headsOf);
    const [layers, numbers] = [0, 1].map((place) => [...new Set(heads.map((head) => head[place]))].sort((a, b) => a - b));
    if (!group.head) return { layer: layers[0], head: numbers[0] };
    const [across, down] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    const next = (values, value, by) => values[Math.min(Math.max(values.indexOf(value) + by, 0), values.length - 1)];
    return { layer: next(layers, group.head.layer, across), head: next(numbers, group.head.head, down) };
  };

  const listen = (place, group) => {
    place.on("plotly_hover", ({ points: [{ x, y, customdata, data }] }) => {
      const [layer, head] = data.type === "heatmap" ? [x, y] : customdata;
      point(group, { layer: Number(layer), head: Number(head) });
    });
    place.on("plotly_afterplot", () => mark(place, group.head)); // drawn, at first or anew: another width, day or night
    place.addEventListener("keydown", (event) => {
      if (event.key === "Escape") point(group, null);
      if (!/^Arrow/.test(event.key)) return;
      event.preventDefault(); // or the page would scroll
      point(group, moved(group, event.key));
      const found = find(place, group.head);
      if (found) Plotly.Fx.hover(place, [found.at], "xy", true); // silently: it may come after the next key
      else Plotly.Fx.unhover(place);
    });
    place.addEventListener("blur", () => Plotly.Fx.unhover(place));
  };

  for (const line of document.querySelectorAll(".pointed")) {
    const places = [...document.querySelectorAll(`.plot[data-heads="${line.dataset.heads}"]`)];
    const group = { line, places, head: null };
    for (const place of places) place.addEventListener("drawn", () => listen(place, group), { once: true });
  }
})();
