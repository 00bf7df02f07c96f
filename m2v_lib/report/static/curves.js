// Learning curves of the runs that the reader chooses; the data stand in the page.
(() => {
  const data = document.getElementById("m2v-curves-data");
  if (!data) return;
  const runs = JSON.parse(data.textContent);
  const [filter, quantity, log, chosen, plot] = ["m2v-filter", "m2v-quantity", "m2v-log", "m2v-chosen", "m2v-plot"]
    .map((id) => document.getElementById(id));

  const count = {};
  for (const run of runs) for (const name of Object.keys(run.curves)) count[name] = (count[name] || 0) + 1;
  for (const name of Object.keys(count).sort((a, b) => count[b] - count[a]))
    quantity.add(new Option(`${name} (${count[name]} runs)`, name));

  const wanted = decodeURIComponent(location.hash.slice(1)).split(",").filter(Boolean);
  const shown = new Set(runs.filter((run) => wanted.includes(run.name)).map((run) => run.name));
  if (!shown.size) for (const run of runs.filter((run) => quantity.value in run.curves).slice(0, 3)) shown.add(run.name);
  const first = runs.find((run) => shown.has(run.name));
  if (first && !(quantity.value in first.curves)) quantity.value = Object.keys(first.curves)[0];

  const list = () => {
    const words = filter.value.toLowerCase().split(/\s+/);
    chosen.replaceChildren(...runs
      .filter((run) => words.every((word) => `${run.label} ${run.name}`.toLowerCase().includes(word)))
      .map((run) => new Option(run.label, run.name, false, shown.has(run.name))));
  };

  const draw = () => {
    const ink = getComputedStyle(document.body).color;
    const axis = { gridcolor: "#88888855", zeroline: false };
    const curves = runs.filter((run) => shown.has(run.name) && quantity.value in run.curves).map((run) => ({
      x: run.curves[quantity.value][0], y: run.curves[quantity.value][1],
      name: run.label, hovertext: run.name, mode: "lines+markers", marker: { size: 4 },
    }));
    Plotly.react(plot, curves, {
      height: 420, margin: { l: 55, r: 10, t: 10, b: 45 }, showlegend: true,
      legend: { orientation: "h", y: -0.2 }, font: { color: ink },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      xaxis: { ...axis, title: { text: "step" } },
      yaxis: { ...axis, title: { text: quantity.value }, type: log.checked ? "log" : "linear" },
    }, { displayModeBar: false, responsive: true });
  };

  filter.oninput = list;
  quantity.onchange = log.onchange = draw;
  chosen.onchange = () => {
    for (const option of chosen.options) option.selected ? shown.add(option.value) : shown.delete(option.value);
    draw();
  };
  list();
  draw();
})();
