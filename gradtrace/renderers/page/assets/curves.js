// Curves of chosen rows over all backwards.

const curves = { lines: [] };

function drawCurves() {
  if (!ROWS || !COLUMNS) {
    byId('curves').hidden = true;
    return;
  }
  buildCurves();
}

// The vertical axis cannot change between a log and a linear scale: a new figure takes the place of the old one, and keeps
// the part that was zoomed into.
function buildCurves() {
  const { start, end } = curves.x || { start: left(0), end: right() };
  curves.x = new Bokeh.Range1d({ start, end, reset_start: left(0), reset_end: right(), bounds: [left(0), right()] });
  const linear = Boolean(state.statistic.share);
  const values = chosenSeries().flatMap((series) => series.y);
  curves.figure = makeCurveFigure(linear, limits(values, linear));
  curves.now = addCursor(curves.figure);
  for (const series of chosenSeries()) drawSeries(series);
  const hover = new Bokeh.HoverTool({ tooltips: [['', '@name'], ['backward', '@x'], ['value', '@shown']], mode: 'mouse', line_policy: 'nearest' });
  curves.figure.add_tools(hover);
  curves.figure.on_event('tap', (event) => moveTo(columnOf(Math.round(event.x))));
  if (curves.view) curves.view.then((view) => view.remove());
  byId('curves-plot').replaceChildren();
  curves.view = Bokeh.Plotting.show(curves.figure, byId('curves-plot'));
}

function makeCurveFigure(linear, [low, high]) {
  const y = new Bokeh.Range1d({ start: low, end: high });
  const index = themed.indexOf(curves.figure);
  if (index >= 0) themed.splice(index, 1);
  const figure = new Bokeh.Plotting.figure({
    height: 320, sizing_mode: 'stretch_width', x_range: curves.x, y_range: y, y_axis_type: linear ? 'linear' : 'log',
    tools: 'pan,box_zoom,xwheel_zoom,reset,save', active_drag: 'box_zoom', toolbar_location: 'right',
  });
  figure.toolbar.logo = null;
  figure.xaxes[0].axis_label = 'backward';
  figure.yaxes[0].axis_label = state.statistic.title;
  themed.push(figure);
  paintFigure(figure);
  return figure;
}

function chosenSeries() {
  return state.chosen.map((row, index) => ({
    row,
    color: LINES[state.theme][index % LINES[state.theme].length],
    y: Array.from({ length: COLUMNS }, (_, column) => valueAt(state.statistic.key, column, row)),
  }));
}

function limits(values, linear) {
  if (linear) return [-0.03, 1.03];
  const positive = values.filter((value) => value > 0 && Number.isFinite(value));
  if (!positive.length) return [1e-3, 1];
  const low = positive.reduce((a, b) => Math.min(a, b));
  const high = positive.reduce((a, b) => Math.max(a, b));
  return [low / 1.6, high * 1.6];
}

// Gaps where a gradient was zero (on a log scale) or not finite, with crosses on the upper edge for the latter. Where there
// was no gradient the line goes on: one of two losses that take turns has one at every other backward.
function drawSeries(series) {
  const drawable = (value) => Number.isFinite(value) && (state.statistic.share || value > 0);
  const known = page.columns.number.map((_, at) => at).filter((at) => !Number.isNaN(series.y[at]));
  const x = known.map((at) => page.columns.number[at]);
  const y = known.map((at) => series.y[at]);
  const name = page.rows[series.row].name;
  curves.figure.line({ field: 'x' }, { field: 'y' }, {
    line_color: series.color, line_width: 1.7,
    source: new Bokeh.ColumnDataSource({ data: {
      x, y: y.map((value) => (drawable(value) ? value : NaN)), name: x.map(() => name), shown: y.map((value) => shown(state.statistic, value)),
    } }),
  });
  const bad = x.filter((_, at) => y[at] === Infinity);
  if (bad.length) curves.figure.scatter({ x: bad, y: bad.map(() => curves.figure.y_range.end / (state.statistic.share ? 1.01 : 1.1)), marker: 'x', size: 8, line_color: series.color, line_width: 2 });
}

function drawChips() {
  const chips = state.chosen.map((row, index) => {
    const line = element('i');
    line.style.background = LINES[state.theme][index % LINES[state.theme].length];
    const name = page.rows[row].name;
    return element('span', { class: 'chip' }, line, element('span', { text: name }), element('button', { type: 'button', text: '×', 'aria-label': `Remove ${name}`, onclick: () => toggleRow(row) }));
  });
  byId('chips').replaceChildren(...(chips.length ? chips : [element('span', { class: 'quiet', text: 'Choose layers in the heat map, in the table below or by search.' })]));
}

const hasGradient = (row) => Array.from({ length: COLUMNS }, (_, column) => valueAt('norm', column, row)).some((norm) => norm > 0);

// Where one wants to begin: the rows of the gravest finding, else some matrices from the first layer to the last.
function firstChoice() {
  const found = [...new Set(page.findings.flatMap((finding) => finding.rows))].filter(hasGradient).slice(0, 5);
  if (found.length) return found;
  const matrices = page.rows.map((row, at) => ({ row, at })).filter(({ row }) => row.trained && row.shape.includes('×'));
  const pool = (matrices.length ? matrices : page.rows.map((row, at) => ({ row, at }))).map(({ at }) => at).filter(hasGradient);
  const count = Math.min(5, pool.length);
  return [...new Set(Array.from({ length: count }, (_, at) => pool[Math.round((at * (pool.length - 1)) / Math.max(1, count - 1))]))];
}

on(['chosen', 'statistic', 'theme'], () => {
  drawChips();
  if (curves.figure) buildCurves();
});
on(['column'], () => {
  if (curves.now) curves.now.location = page.columns.number[state.column];
});
