{
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const specs = [...document.querySelectorAll('script[type="application/json"][data-chart]')];
  const drawn = new Map();

  const config = () => {
    const text = colour("--text"), soft = colour("--soft"), line = colour("--border");
    return {
      background: null,
      font: "system-ui, sans-serif",
      view: { stroke: null },
      axis: { labelColor: soft, titleColor: soft, gridColor: line, domainColor: line, tickColor: line, titleFontWeight: 500, labelSeparation: 6 },
      legend: { labelColor: text, titleColor: soft, orient: "bottom", columns: 4, labelLimit: 160, symbolLimit: 30 },
      text: { color: text, fill: text },
      rule: { color: soft },
      mark: { tooltip: true },
    };
  };

  const draw = async (script) => {
    const host = document.getElementById(script.dataset.chart);
    const before = drawn.get(host);
    if (before) before.finalize();
    const spec = JSON.parse(script.textContent);
    spec.width = "container";
    spec.height = "container";
    spec.autosize = { type: "fit", contains: "padding", resize: true };
    try {
      const result = await vegaEmbed(host, spec, {
        mode: "vega-lite", renderer: "svg", actions: false, ast: true, config: config(), logLevel: 0,
      });
      drawn.set(host, result);
      host.dataset.drawn = "yes";
    } catch (error) {
      host.dataset.drawn = "no";
      host.textContent = "This chart could not be drawn: " + error.message;
    }
  };

  const all = () => Promise.all(specs.map(draw)).then(() => { document.documentElement.dataset.ready = "yes"; });
  dark.addEventListener("change", all);
  addEventListener("beforeprint", () => dispatchEvent(new Event("resize")));

  for (const table of document.querySelectorAll("table.grid[data-page]")) {
    const rows = [...table.tBodies[0].rows], size = Number(table.dataset.page);
    if (rows.length <= size) continue;
    const pages = Math.ceil(rows.length / size), turn = document.createElement("div"), where = document.createElement("span");
    let page = 0;
    const show = () => {
      rows.forEach((row, n) => { row.hidden = Math.floor(n / size) !== page; });
      where.textContent = `${page * size + 1} to ${Math.min(rows.length, (page + 1) * size)} of ${rows.length}`;
      back.disabled = page === 0;
      on.disabled = page === pages - 1;
    };
    const button = (words, step) => {
      const made = document.createElement("button");
      made.type = "button";
      made.textContent = words;
      made.addEventListener("click", () => { page += step; show(); });
      return made;
    };
    const back = button("Back", -1), on = button("Next", 1);
    turn.className = "turn";
    turn.append(back, where, on);
    table.parentElement.after(turn);
    show();
    addEventListener("beforeprint", () => rows.forEach((row) => { row.hidden = false; }));
    addEventListener("afterprint", show);
  }

  for (const form of document.querySelectorAll("form.filters")) {
    for (const control of form.elements) control.addEventListener("change", () => form.requestSubmit());
  }
  const seconds = Number(document.currentScript.dataset.refresh || 0);
  if (seconds) setTimeout(() => location.reload(), seconds * 1000);

  all();
}
