// SPDX-License-Identifier: Apache-2.0
// Figures wait in the page as JSON with CSS variables for colours -> each drawn when its place comes near the window or
// before printing, and drawn again when day turns to night. Places have their height from page.css, drawn or not.
(() => {
  "use strict";
  const AROUND = "100% 0px"; // how near is near: a window's height above and below it
  const root = document.documentElement, style = getComputedStyle(root);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const read = (name) => style.getPropertyValue(name).trim();
  const filled = (value) => {
    if (typeof value === "string") {
      return value.replace(/^var\((--[\w-]+?)(?:-(band|faint))?\)$/, (_, name, shade) => read(name) + (shade ? read(`--${shade}`) : ""));
    }
    if (Array.isArray(value)) return value.map(filled);
    if (value !== null && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, filled(inner)]));
    }
    return value;
  };
  const places = [...document.querySelectorAll(".plot")];
  const drawn = new Set(), due = new Set(); // drawn in the colours of now; near the window and not drawn so
  const draw = (place) => {
    due.delete(place);
    if (drawn.has(place)) return;
    drawn.add(place);
    const figure = filled(JSON.parse(document.getElementById(place.dataset.figure).textContent));
    Plotly.react(place, figure.data, figure.layout, { responsive: true, displayModeBar: false });
    place.dispatchEvent(new Event("drawn"));
  };

  const distance = (place) => {
    const { top, bottom } = place.getBoundingClientRect();
    return Math.max(top - innerHeight, -bottom, 0);
  };
  // One figure at a time, the nearest first, so that the page can be read and scrolled while the rest are still to come.
  let drawing = false;
  const drawNext = () => {
    const [nearest] = [...due].sort((one, other) => distance(one) - distance(other));
    drawing = nearest !== undefined;
    if (!drawing) return;
    setTimeout(drawNext); // set before, so that a figure that fails keeps no other from being drawn
    draw(nearest);
  };
  const observer = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting && !drawn.has(target)) due.add(target);
      else due.delete(target);
    }
    if (!drawing) drawNext();
  }, { rootMargin: AROUND });
  const look = () => {
    drawn.clear();
    for (const place of places) {
      observer.unobserve(place); // observed anew it is told of at once
      observer.observe(place);
    }
  };
  look();
  dark.addEventListener("change", look);
  // Paper is white: by night too, what is printed has the colours of the day.
  const print = (printed) => {
    root.classList.toggle("printed", printed);
    if (dark.matches) look();
  };
  addEventListener("beforeprint", () => {
    print(true);
    places.forEach(draw);
  });
  addEventListener("afterprint", () => print(false));
  for (const place of places) place.addEventListener("focus", () => draw(place)); // before the first key comes
})();
