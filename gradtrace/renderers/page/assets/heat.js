// The heat map: a column for each backward, a row for each parameter, coloured on a log scale.

const heat = {};

function currentScale() {
  if (state.statistic.share) return { share: true };
  const key = state.statistic.key;
  heat.scales = heat.scales || new Map();
  if (!heat.scales.has(key)) heat.scales.set(key, scaleOf(matrix(key)));
  return heat.scales.get(key);
}

// Pixels as Bokeh wants them: one 32-bit RGBA each, rows from y = 0 on.
function heatImage() {
  const values = matrix(state.statistic.key);
  const paint = painter(currentScale());
  const pixels = new Uint32Array(ROWS * COLUMNS);
  const bytes = new Uint8Array(pixels.buffer);
  for (let column = 0; column < COLUMNS; column += 1) {
    for (let row = 0; row < ROWS; row += 1) {
      const color = paint(values[column * ROWS + row]);
      const at = 4 * (row * COLUMNS + column);
      bytes[at] = color[0];
      bytes[at + 1] = color[1];
      bytes[at + 2] = color[2];
      bytes[at + 3] = 255;
    }
  }
  const { ndarray } = Bokeh.require('core/util/ndarray');
  return ndarray(pixels.buffer, { dtype: 'uint32', shape: [ROWS, COLUMNS] });
}

// From a column to the number of its first backward, the unit of both charts' horizontal axis.
const left = (column) => page.columns.number[column] - 0.5;
const right = () => page.columns.last + 0.5;

function drawHeat() {
  if (!ROWS || !COLUMNS) {
    byId('heat-plot').replaceChildren(element('p', { class: 'empty', text: 'No gradient was recorded.' }));
    return;
  }
  const height = Math.min(760, Math.max(220, 60 + ROWS * 9));
  heat.x = new Bokeh.Range1d({ start: left(0), end: right(), bounds: [left(0), right()] });
  heat.y = new Bokeh.Range1d({ start: ROWS, end: 0, bounds: [0, ROWS] });
  heat.figure = makeFigure(height, heat.x, heat.y, 'box_zoom');
  heat.source = new Bokeh.ColumnDataSource({ data: { image: [heatImage()] } });
  heat.figure.image_rgba({ image: { field: 'image' }, x: left(0), y: 0, dw: right() - left(0), dh: ROWS, source: heat.source });
  heat.rows = new Bokeh.ColumnDataSource({ data: { y: [] } });
  heat.figure.hspan({ field: 'y' }, { source: heat.rows, line_width: 1.5, line_color: '#e3006d', line_alpha: 0.9 });
  heat.now = addCursor(heat.figure);
  drawMarks();
  labelRows();
  heat.y.properties.start.change.connect(labelRows);
  heat.figure.on_event('mousemove', (event) => readOut(cellAt(event)));
  heat.figure.on_event('mouseleave', () => readOut(null));
  heat.figure.on_event('tap', (event) => tapCell(cellAt(event)));
  Bokeh.Plotting.show(heat.figure, byId('heat-plot'));
  readOut(null);
}

function makeFigure(height, x, y, drag) {
  const figure = new Bokeh.Plotting.figure({
    height, sizing_mode: 'stretch_width', x_range: x, y_range: y, tools: 'pan,box_zoom,xwheel_zoom,reset,save', active_drag: drag,
    toolbar_location: 'right', output_backend: 'canvas',
  });
  figure.toolbar.logo = null;
  figure.xaxes[0].axis_label = 'backward';
  themed.push(figure);
  paintFigure(figure);
  return figure;
}

const themed = [];

function paintFigure(figure) {
  const dark = state.theme === 'dark';
  const ink = dark ? '#98a3ae' : '#5b6570';
  const line = dark ? '#2b333d' : '#dde2e8';
  figure.setv({ background_fill_color: dark ? '#151b23' : '#ffffff', border_fill_color: dark ? '#151b23' : '#ffffff', outline_line_color: line });
  for (const axis of figure.axes) {
    axis.setv({
      axis_line_color: line, major_tick_line_color: line, minor_tick_line_color: null, axis_label_text_color: ink,
      major_label_text_color: ink, major_label_text_font_size: '11px', axis_label_text_font_size: '12px', axis_label_text_font_style: 'normal',
    });
  }
  for (const grid of figure.grids) grid.setv({ grid_line_color: line, grid_line_alpha: 0.6 });
}

function addCursor(figure) {
  const span = new Bokeh.Span({ dimension: 'height', location: page.columns.number[state.column], line_color: state.theme === 'dark' ? '#ffffff' : '#14181d', line_width: 1.2, line_dash: [4, 3] });
  figure.add_layout(span);
  return span;
}

// A mark at the first backward and the row of each finding.
function drawMarks() {
  const marks = page.findings.flatMap((finding, index) => finding.rows.slice(0, 40).map((row) => ({ x: finding.first_backward ?? page.columns.number[0], y: row + 0.5, index })));
  heat.marks = marks;
  if (!marks.length) return;
  heat.figure.scatter({ x: marks.map((mark) => mark.x), y: marks.map((mark) => mark.y), marker: 'diamond', size: 9, fill_color: '#e3006d', line_color: '#ffffff', line_width: 1 });
}

// Names of the rows in sight: all of them where they fit, else the first row of each module.
function labelRows() {
  const [low, high] = [Math.min(heat.y.start, heat.y.end), Math.max(heat.y.start, heat.y.end)];
  const first = Math.max(0, Math.floor(low));
  const last = Math.min(ROWS, Math.ceil(high));
  const room = Math.floor(heat.figure.height / 16);
  const labels = new Map();
  for (const row of rowsToName(first, last, room)) labels.set(row + 0.5, clipped(page.rows[row].name));
  heat.figure.yaxes[0].ticker = new Bokeh.FixedTicker({ ticks: [...labels.keys()] });
  heat.figure.yaxes[0].major_label_overrides = labels;
}

function rowsToName(first, last, room) {
  const rows = Array.from({ length: last - first }, (_, at) => first + at);
  if (rows.length <= room) return rows;
  for (let depth = 8; depth > 0; depth -= 1) {
    const starts = rows.filter((row) => row === first || head(row, depth) !== head(row - 1, depth));
    if (starts.length <= room) return apart(starts, rows.length / room);
  }
  return apart(rows, rows.length / room);
}

// Of rows in order those that stand far enough below the one before for two lines of text.
function apart(rows, distance) {
  const kept = [];
  for (const row of rows) if (!kept.length || row - kept[kept.length - 1] >= distance) kept.push(row);
  return kept;
}

const head = (row, depth) => page.rows[row].name.split('.').slice(0, depth).join('.');
const clipped = (name) => (name.length > 34 ? `…${name.slice(-33)}` : name);

function cellAt(event) {
  const row = Math.floor(event.y);
  if (!(row >= 0 && row < ROWS) || !(event.x >= left(0) && event.x <= right())) return null;
  return { row, column: columnOf(Math.round(event.x)) };
}

function readOut(cell) {
  const { row, column } = cell || { row: null, column: state.column };
  const parts = [element('b', { text: `backward ${page.columns.number[column]}` })];
  if (row === null) parts.push(` · ${state.statistic.words} · move over the map to read it, click for the curve of a row`);
  else parts.push(` · ${page.rows[row].name} · ${state.statistic.title} `, element('b', { text: shown(state.statistic, valueAt(state.statistic.key, column, row)) }));
  byId('heat-readout').replaceChildren(...parts);
}

function tapCell(cell) {
  if (!cell) return;
  moveTo(cell.column);
  if (!state.chosen.includes(cell.row)) toggleRow(cell.row);
  highlightRows([cell.row]);
}

function highlightRows(rows) {
  if (!heat.rows) return;
  heat.rows.data = { y: rows.slice(0, 12).flatMap((row) => [row, row + 1]) };
}

function drawStatisticChoice() {
  byId('statistics').replaceChildren(...STATISTICS.map((statistic) => element('button', {
    type: 'button', role: 'radio', text: statistic.title, title: statistic.words, 'aria-checked': String(statistic === state.statistic), onclick: () => change({ statistic }),
  })));
}

function repaintHeat() {
  drawStatisticChoice();
  if (!heat.figure) return;
  heat.source.data = { image: [heatImage()] };
  drawLegend(byId('heat-legend'), currentScale());
  readOut(null);
}

on(['statistic', 'theme'], repaintHeat);
on(['column'], () => {
  if (heat.now) heat.now.location = page.columns.number[state.column];
});
