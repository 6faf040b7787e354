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

  const paged = (table) => {
    const rows = [...table.tBodies[0].rows], size = Number(table.dataset.page);
    if (rows.length <= size) return;
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
  };
  document.querySelectorAll("table.grid[data-page]").forEach(paged);

  const cell = (row, tag, text) => {
    const made = document.createElement(tag), words = document.createElement("bdi");
    words.textContent = text;
    made.append(words);
    row.append(made);
    return made;
  };

  const numbersOf = (spec, name) => {
    const seen = new Set(), table = document.createElement("table"), head = table.createTHead().insertRow();
    const body = table.createTBody();
    for (const layer of spec.layer) {
      const values = (layer.data || spec.data).values, columns = layer.encoding.tooltip;
      if (!columns || layer.name === "marks" || seen.has(values)) continue;
      seen.add(values);
      if (!head.cells.length) {
        for (const column of columns) cell(head, "th", column.title.replace(/:$/, "")).scope = "col";
      }
      const sorted = columns[0].field === "x_text" ? [...values].sort((one, other) =>
        typeof one.x === "number" ? one.x - other.x : String(one.x).localeCompare(other.x)) : values;
      for (const value of sorted) {
        const row = body.insertRow();
        for (const column of columns) cell(row, "td", value[column.field] ?? "");
      }
    }
    const box = document.createElement("div");
    box.className = "scroll";
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", name);
    table.className = "grid";
    table.dataset.page = 25;
    box.append(table);
    return box;
  };

  for (const script of specs) {
    const host = document.getElementById(script.dataset.chart);
    const numbers = document.createElement("details"), summary = document.createElement("summary");
    const name = `Numbers of ${host.getAttribute("aria-label")}`;
    numbers.className = "numbers";
    summary.textContent = "Numbers";
    summary.setAttribute("aria-label", name);
    numbers.append(summary);
    host.before(numbers);
    numbers.addEventListener("toggle", () => {
      if (!numbers.open) dispatchEvent(new Event("resize"));
      if (!numbers.open || numbers.childElementCount > 1) return;
      const box = numbersOf(JSON.parse(script.textContent), name);
      numbers.append(box);
      paged(box.firstElementChild);
    });
  }

  for (const form of document.querySelectorAll("form.filters")) {
    for (const control of form.elements) control.addEventListener("change", () => form.requestSubmit());
  }
  const seconds = Number(document.currentScript.dataset.refresh || 0);
  if (seconds) setTimeout(() => location.reload(), seconds * 1000);

  all();
}
