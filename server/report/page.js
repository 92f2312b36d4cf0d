"use strict";
(() => {
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const finger = matchMedia("(pointer: coarse)");
  const partner = JSON.parse(document.getElementById("dark").textContent);
  const sources = [...document.querySelectorAll("script[data-figure]")];
  const config = { responsive: true, displaylogo: false, displayModeBar: false };

  function draw(dark) {
    const recolour = (key, value) =>
      dark && /color$/i.test(key) && Object.hasOwn(partner, value) ? partner[value] : value;
    for (const source of sources) {
      const { data, layout } = JSON.parse(source.textContent, recolour);
      if (finger.matches) {
        // A finger that scrolls the page must not zoom the figure.
        layout.dragmode = false;
        for (const name of Object.keys(layout).filter((key) => /^[xy]axis/.test(key))) {
          layout[name].fixedrange = true;
        }
      }
      Plotly.react(source.dataset.figure, data, layout, config);
    }
  }

  prefersDark.addEventListener("change", () => draw(prefersDark.matches));
  // Paper is white whatever the screen is.
  addEventListener("beforeprint", () => draw(false));
  addEventListener("afterprint", () => draw(prefersDark.matches));
  draw(prefersDark.matches);
})();
