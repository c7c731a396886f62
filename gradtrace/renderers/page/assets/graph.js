// The graph, one module at a time.

const drawing = { boxes: [], found: null };

const currentGraph = () => page.graphs[state.graph];
const currentView = () => currentGraph() && currentGraph().views[state.path];

// The module of a finding that the graph can show, or null.
function pathOf(finding) {
  if (!page.graphs.length) return null;
  const { module, parameter, op } = finding.where;
  const inner = module ?? (parameter ? parameter.split('.').slice(0, -1).join('.') : null);
  if (inner === null) return op ? '' : null;
  const path = nearest(inner);
  return path === '' && inner !== '' ? (parameter && !op ? null : '') : path;
}

// The innermost module around `path` that is drawn.
function nearest(path) {
  let at = path;
  while (at && !currentGraph().views[at]) at = at.split('.').slice(0, -1).join('.');
  return at;
}

function openPath(path, isFound = null) {
  drawing.found = isFound;
  change({ path, box: null });
}

function drawGraph() {
  const view = currentView();
  drawTrail();
  drawModes();
  if (!view) {
    byId('sheet').replaceChildren(element('p', { class: 'empty', text: page.no_graph || 'There is nothing to draw.' }));
    return;
  }
  const [[width, height], centres, edges] = page.layouts[view.layout];
  const sheet = svg('svg', { width: width + 24, height: height + 24, viewBox: `-12 -12 ${width + 24} ${height + 24}`, role: 'group', 'aria-label': 'Drawing of the module' });
  const defs = svg('defs');
  const marker = svg('marker', { id: 'arrow', viewBox: '0 0 8 8', refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: 'auto' });
  marker.append(svg('path', { d: 'M0,0.5 L8,4 L0,7.5 z' }));
  defs.append(marker);
  sheet.append(defs, ...edges.map((points) => svg('path', { d: spline(points), 'marker-end': 'url(#arrow)' })));
  drawing.boxes = view.boxes.map((box, at) => drawBox(box, at, centres[at], view.sizes[at]));
  sheet.append(...drawing.boxes.map(({ group }) => group));
  byId('sheet').replaceChildren(sheet);
  markFound(view);
  paintGraph();
}

const spline = (points) => `M${points[0]},${points[1]} C${points.slice(2).join(' ')}`;

function drawBox(box, at, [x, y], [width, height]) {
  const group = svg('g', { class: `box ${box.kind}`, tabindex: 0, role: 'button', transform: `translate(${x - width / 2},${y - height / 2})` });
  const radius = { parameter: 16, input: 16, context: height / 2 }[box.kind] ?? 6;
  const frame = svg('rect', { width, height, rx: radius });
  const value = svg('text', { class: 'value', x: 11, y: height - 9 }, '');
  group.append(frame, svg('title', {}, describeBox(box)));
  if (box.kind === 'context') group.append(svg('text', { x: width / 2, y: 16, 'text-anchor': 'middle' }, box.title));
  else {
    group.append(svg('text', { class: 'title', x: 11, y: 17 }, box.title));
    if (box.note) group.append(svg('text', { class: 'note', x: 11, y: 32 }, box.note));
    if (canOpen(box)) group.append(svg('text', { class: 'more', x: width - 15, y: 17 }, '›'));
    group.append(value);
  }
  group.addEventListener('click', () => activate(box, at));
  group.addEventListener('focus', () => box.kind !== 'context' && showDetails(at));
  group.addEventListener('keydown', (event) => {
    if (event.key === 'Enter') activate(box, at);
  });
  return { group, frame, value };
}

const canOpen = (box) => box.open !== undefined && box.open !== state.path && currentGraph().views[box.open] !== undefined;

function describeBox(box) {
  return Object.entries({ ...(box.kind === 'context' ? {} : { name: box.title }), ...(box.facts || {}) }).map(([name, value]) => `${name}: ${value}`).join('\n') || box.title;
}

function activate(box, at) {
  if (box.kind === 'context') openPath(nearest(box.open || ''));
  else if (canOpen(box)) openPath(box.open);
  else showDetails(at);
}

function showDetails(at) {
  change({ box: at });
}

function markFound(view) {
  if (!drawing.found) return;
  const at = view.boxes.findIndex((box) => box.kind !== 'context' && drawing.found(box));
  view.boxes.forEach((box, index) => drawing.boxes[index].group.classList.toggle('found', box.kind !== 'context' && drawing.found(box)));
  if (at >= 0) {
    change({ box: at });
    const [, centres] = page.layouts[view.layout];
    byId('sheet').scrollTo({ left: centres[at][0] - byId('sheet').clientWidth / 2, top: centres[at][1] - 300 });
  }
}

// The gradient that reached a box in the last measured snapshot before the chosen backward.
function flowAt(box) {
  const measured = currentGraph().measured;
  if (!box.flow || !measured.length) return NaN;
  const end = state.column + 1 < COLUMNS ? page.columns.number[state.column + 1] - 1 : page.columns.last;
  let at = 0;
  while (at + 1 < measured.length && measured[at + 1] <= end) at += 1;
  return box.flow[at] === 'nan' ? Infinity : box.flow[at] ?? NaN;
}

const boxValue = (box) => (state.mode === 'flow' ? flowAt(box) : COLUMNS && box.rows ? normOf(box.rows, state.column) : NaN);

function graphScale() {
  if (state.mode === 'parameters') return (heat.normScale = heat.normScale || scaleOf(matrix('norm')));
  drawing.scales = drawing.scales || new Map();
  if (!drawing.scales.has(state.graph)) {
    const flows = Object.values(currentGraph().views).flatMap((view) => view.boxes.flatMap((box) => (box.flow || []).filter((value) => typeof value === 'number')));
    drawing.scales.set(state.graph, scaleOf(flows));
  }
  return drawing.scales.get(state.graph);
}

function paintGraph() {
  const view = currentView();
  if (!view) return;
  const scale = graphScale();
  view.boxes.forEach((box, at) => {
    const { group, frame, value } = drawing.boxes[at];
    group.classList.toggle('chosen', at === state.box);
    if (box.kind === 'context') return;
    const amount = boxValue(box);
    const color = Number.isNaN(amount) ? PALETTES[state.theme].blank : colorOf(amount, scale);
    frame.style.fill = css(color);
    group.style.color = inkOn(color);
    value.textContent = Number.isNaN(amount) ? '' : `‖g‖ ${short(amount)}`;
  });
  drawLegend(byId('graph-legend'), scale);
  for (const place of document.querySelectorAll('.at')) place.textContent = COLUMNS ? `at backward ${page.columns.number[state.column]}` : '';
  drawDetails();
}

function drawTrail() {
  if (!currentGraph()) return;
  const parts = state.path ? state.path.split('.') : [];
  const steps = [['model', ''], ...parts.map((part, at) => [part, parts.slice(0, at + 1).join('.')])];
  const buttons = steps.flatMap(([title, path], at) => [
    at ? element('span', { text: '›' }) : null,
    element('button', { type: 'button', text: title, 'aria-current': path === state.path ? 'location' : null, disabled: currentGraph().views[path] ? null : '', onclick: () => openPath(path) }),
  ]);
  const view = currentView();
  byId('trail').replaceChildren(...buttons.filter(Boolean), element('span', { text: view && view.type ? `  ${view.type}` : '' }));
}

function drawModes() {
  const modes = [['flow', 'gradient flowing through', 'Norm of the gradient that reaches a box, from the last measured graph'], ['parameters', 'gradient of its parameters', 'Norm over the parameters in a box, at every backward']];
  byId('graph-modes').replaceChildren(...modes.map(([mode, text, title]) => element('button', { type: 'button', role: 'radio', text, title, 'aria-checked': String(mode === state.mode), onclick: () => change({ mode }) })));
  const choice = byId('graph-choice');
  choice.hidden = page.graphs.length < 2;
  choice.replaceChildren(...page.graphs.map((graph, at) => element('option', { value: at, text: `${graph.title}, ${graph.nodes} nodes` })));
  choice.value = String(state.graph);
}

function drawDetails() {
  const view = currentView();
  const box = state.box === null ? null : view.boxes[state.box];
  const target = byId('details');
  if (!box) {
    target.replaceChildren(element('p', { class: 'quiet', text: 'Gradients flow from top to bottom. Click a box with › to go into it, any other to see its source. Backspace goes up.' }), measuredNote());
    return;
  }
  const facts = { ...(box.facts || {}) };
  const amount = boxValue(box);
  if (!Number.isNaN(amount)) facts[state.mode === 'flow' ? 'gradient' : 'of parameters'] = short(amount);
  const rows = box.rows || [];
  target.replaceChildren(...[
    element('h3', { text: box.title }),
    element('dl', {}, ...Object.entries(facts).flatMap(([name, value]) => [element('dt', { text: name }), element('dd', { text: value })])),
    rows.length ? element('div', { class: 'go' }, element('button', { class: 'small', type: 'button', text: `curves of ${rows.length} parameter${rows.length > 1 ? 's' : ''}`, onclick: () => { change({ chosen: rows.slice(0, MOST_CURVES) }); scrollToPart('curves'); } })) : null,
    ...sourceOf(box),
  ].filter(Boolean));
}

function measuredNote() {
  const measured = currentGraph().measured;
  return element('p', { class: 'quiet', text: measured.length ? `Flowing gradients were measured at backward ${measured.join(', ')}.` : 'No graph was measured; the colours are those of the parameters.' });
}

function sourceOf(box) {
  if (box.source === undefined) return [];
  const [file, line, name] = page.sources.places[box.source];
  return [element('p', { class: 'where', text: `${file}:${line} in ${name}` }), sourceBlock(box.source, 8)].filter(Boolean);
}

on(['path', 'graph'], drawGraph);
on(['column', 'mode', 'theme', 'box'], (changed) => {
  if (changed.has('mode')) drawModes();
  if (!changed.has('path') && !changed.has('graph')) paintGraph();
});
