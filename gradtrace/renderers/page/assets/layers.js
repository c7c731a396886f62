// The table of layers at the chosen backward.

const table = { sort: 'model', down: false, filter: '' };

const HEADS = [
  { key: 'name', title: 'layer', value: (row) => page.rows[row].name },
  { key: 'type', title: 'type', value: (row) => page.rows[row].type || '' },
  { key: 'size', title: 'shape', number: true, value: (row) => page.rows[row].size },
  { key: 'norm', title: 'norm', number: true, value: (row) => valueAt('norm', state.column, row) },
  { key: 'over', title: 'over time', value: null },
  { key: 'max', title: 'largest', number: true, value: (row) => valueAt('max', state.column, row) },
  { key: 'update', title: 'update / weight', number: true, value: (row) => valueAt('update', state.column, row) },
  { key: 'zeros', title: 'zeros', number: true, value: (row) => valueAt('zeros', state.column, row) },
];

function drawLayers() {
  byId('layer-head').replaceChildren(...HEADS.map((head) => element('th', { class: head.number ? 'number' : null, scope: 'col', tabindex: head.value ? 0 : null, text: head.title, onclick: () => sortBy(head), onkeydown: (event) => event.key === 'Enter' && sortBy(head) })));
  table.lines = page.rows.map((row, index) => layerLine(row, index));
  byId('filter').addEventListener('input', (event) => {
    table.filter = event.target.value.trim().toLowerCase();
    arrangeLayers();
  });
  arrangeLayers();
  fillLayers();
}

function layerLine(row, index) {
  const cells = { norm: element('td', { class: 'number' }), max: element('td', { class: 'number' }), update: element('td', { class: 'number' }), zeros: element('td', { class: 'number' }) };
  const swatch = element('span', { class: 'swatch' });
  const line = element(
    'tr',
    { class: row.trained ? null : 'frozen', tabindex: 0, onclick: () => toggleRow(index), onkeydown: (event) => event.key === 'Enter' && toggleRow(index) },
    element('td', { class: 'layer' }, swatch, element('span', { text: row.name })),
    element('td', { text: row.type || '' }),
    element('td', { class: 'number', text: row.shape }),
    cells.norm,
    element('td', {}, sparkline(index)),
    cells.max,
    cells.update,
    cells.zeros,
  );
  return { line, cells, swatch };
}

function sparkline(row) {
  const count = Math.min(COLUMNS, 80);
  const logs = Array.from({ length: count }, (_, at) => Math.log10(valueAt('norm', Math.floor((at * COLUMNS) / count), row))).map((value) => (Number.isFinite(value) ? value : null));
  const known = logs.filter((value) => value !== null);
  const picture = svg('svg', { viewBox: '0 0 100 20', preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  if (known.length < 2) return picture;
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const span = Math.max(2, high - low); // two decades at least, so that minibatch noise draws a line and no mountains
  const middle = (low + high) / 2;
  const points = logs.flatMap((value, at) => (value === null ? [] : [`${((100 * at) / Math.max(1, count - 1)).toFixed(1)},${(10 - (16 * (value - middle)) / span).toFixed(1)}`]));
  picture.append(svg('polyline', { points: points.join(' ') }));
  return picture;
}

function sortBy(head) {
  if (!head.value) return;
  table.down = table.sort === head.key ? !table.down : false;
  table.sort = head.key;
  arrangeLayers();
}

function arrangeLayers() {
  const head = HEADS.find(({ key }) => key === table.sort);
  const rows = page.rows.map((_, at) => at).filter((at) => page.rows[at].name.toLowerCase().includes(table.filter));
  if (head) rows.sort((one, other) => compareValues(head.value(one), head.value(other)) * (table.down ? -1 : 1));
  byId('layer-rows').replaceChildren(...rows.map((row) => table.lines[row].line));
  byId('layer-count').textContent = rows.length === ROWS ? `${ROWS} rows` : `${rows.length} of ${ROWS} rows`;
  HEADS.forEach(({ key }, at) => byId('layer-head').children[at].setAttribute('aria-sort', key === table.sort ? (table.down ? 'descending' : 'ascending') : 'none'));
}

function compareValues(one, other) {
  if (typeof one === 'string') return one.localeCompare(other, undefined, { numeric: true });
  if (Number.isNaN(one) || Number.isNaN(other)) return Number.isNaN(one) - Number.isNaN(other);
  return one < other ? -1 : one > other ? 1 : 0;
}

function fillLayers() {
  if (!COLUMNS) return;
  const scale = (heat.normScale = heat.normScale || scaleOf(matrix('norm')));
  const chosen = new Set(state.chosen);
  table.lines.forEach(({ line, cells, swatch }, row) => {
    for (const [key, cell] of Object.entries(cells)) {
      const value = valueAt(key, state.column, row);
      cell.textContent = key === 'zeros' ? share(value) : key === 'norm' && Number.isNaN(value) ? (page.rows[row].trained ? 'no gradient' : 'frozen') : short(value);
    }
    swatch.style.background = css(colorOf(valueAt('norm', state.column, row), scale));
    line.classList.toggle('chosen', chosen.has(row));
  });
}

on(['column', 'chosen', 'theme'], fillLayers);
