// SPDX-License-Identifier: Apache-2.0
// Figures wait in the page as JSON with CSS variables for colours -> drawn, and drawn again when day turns to night.
(() => {
  "use strict";
  const style = getComputedStyle(document.documentElement);
  const filled = (value) => {
    if (typeof value === "string") return value.replace(/^var\((--[\w-]+)\)$/, (_, name) => style.getPropertyValue(name).trim());
    if (Array.isArray(value)) return value.map(filled);
    if (value !== null && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, filled(inner)]));
    }
    return value;
  };
  let drawing = 0;
  // One figure at a time, so that the page can be read and scrolled while the rest are still to come.
  const draw = async () => {
    const mine = ++drawing;
    for (const place of document.querySelectorAll(".plot")) {
      if (mine !== drawing) return;
      const figure = filled(JSON.parse(document.getElementById(place.dataset.figure).textContent));
      Plotly.react(place, figure.data, figure.layout, { responsive: true, displayModeBar: false });
      place.dispatchEvent(new Event("drawn", { bubbles: true }));
      await new Promise((next) => setTimeout(next));
    }
  };
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
