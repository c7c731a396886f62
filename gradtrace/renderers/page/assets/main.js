// The time line, the keys, light and dark, and the order in which the page comes up.

let playing = null;
let finding = -1;

function drawTimeline() {
  const slider = byId('slider');
  slider.max = Math.max(0, COLUMNS - 1);
  slider.disabled = COLUMNS < 2;
  byId('play').disabled = COLUMNS < 2;
  slider.addEventListener('input', () => moveTo(Number(slider.value)));
  byId('play').addEventListener('click', togglePlay);
  drawLoss();
  drawMoment();
}

function drawLoss() {
  const losses = page.columns.loss;
  const known = losses.filter((loss) => loss !== null);
  const picture = byId('loss');
  picture.setAttribute('viewBox', `0 0 ${Math.max(1, COLUMNS - 1)} 26`);
  const marks = new Set(page.findings.map(({ first_backward: first }) => first).filter((first) => first !== null).map(columnOf));
  picture.replaceChildren(...[...marks].slice(0, 200).map((column) => svg('line', { x1: column, x2: column, y1: 0, y2: 26 })));
  if (known.length < 2) return;
  const [low, high] = known.reduce(([a, b], loss) => [Math.min(a, loss), Math.max(b, loss)], [Infinity, -Infinity]);
  const points = losses.flatMap((loss, at) => (loss === null ? [] : [`${at},${(24 - (22 * (loss - low)) / (high - low || 1)).toFixed(1)}`]));
  picture.append(svg('polyline', { points: points.join(' ') }));
}

function drawMoment() {
  if (!COLUMNS) {
    byId('moment').textContent = 'no backward';
    return;
  }
  const { number, step, loss } = page.columns;
  const at = state.column;
  byId('slider').value = at;
  byId('moment').textContent = `backward ${number[at]} · step ${step[at] + 1}${loss[at] === null ? '' : ` · loss ${short(loss[at])}`}`;
  byId('slider').setAttribute('aria-valuetext', byId('moment').textContent);
}

function togglePlay() {
  if (playing) {
    clearInterval(playing);
    playing = null;
  } else {
    if (state.column === COLUMNS - 1) moveTo(0);
    const stride = Math.max(1, Math.round(COLUMNS / 200));
    playing = setInterval(() => (state.column >= COLUMNS - 1 ? togglePlay() : moveTo(state.column + stride)), 80);
  }
  byId('play').textContent = playing ? '❚❚' : '▶';
  byId('play').setAttribute('aria-label', playing ? 'Pause' : 'Play');
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  state.theme = theme;
  try {
    localStorage.setItem('gradtrace-theme', theme);
  } catch (error) {
    console.debug('the choice of theme is not kept', error);
  }
}

function firstTheme() {
  try {
    const kept = localStorage.getItem('gradtrace-theme');
    if (kept === 'light' || kept === 'dark') return kept;
  } catch (error) {
    console.debug('no theme is kept', error);
  }
  return matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
}

function stepFinding(by) {
  if (!page.findings.length) return;
  finding = (finding + by + page.findings.length) % page.findings.length;
  showFinding(finding);
}

const KEYS = {
  '/': ['search', () => byId('search').focus()],
  ArrowLeft: ['one backward earlier; ten with Shift', (event) => moveTo(state.column - (event.shiftKey ? 10 : 1))],
  ArrowRight: ['one backward later; ten with Shift', (event) => moveTo(state.column + (event.shiftKey ? 10 : 1))],
  Home: ['the first backward', () => moveTo(0)],
  End: ['the last backward', () => moveTo(COLUMNS - 1)],
  ' ': ['play through all backwards', togglePlay],
  j: ['the next finding', () => stepFinding(1)],
  k: ['the finding before', () => stepFinding(-1)],
  Backspace: ['up one module in the graph', () => state.path && openPath(nearest(state.path.split('.').slice(0, -1).join('.')))],
  t: ['light or dark', () => byId('theme').click()],
  '?': ['this list', () => byId('keys').showModal()],
};
const KEY_NAMES = { ArrowLeft: '←', ArrowRight: '→', ' ': 'Space' };

function listenToKeys() {
  document.addEventListener('keydown', (event) => {
    const key = KEYS[event.key];
    const typing = event.target.closest('input:not([type="range"]), select, textarea, dialog');
    const pressing = event.key === ' ' && event.target.closest('button, [role="button"], tr');
    const sliding = event.target.id === 'slider' && ['ArrowLeft', 'ArrowRight', 'Home', 'End'].includes(event.key);
    if (!key || typing || pressing || sliding || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    key[1](event);
  });
  byId('keys').querySelector('dl').replaceChildren(...Object.entries(KEYS).flatMap(([key, [words]]) => [element('dt', {}, element('kbd', { text: KEY_NAMES[key] || key })), element('dd', { text: words })]));
  byId('help').addEventListener('click', () => byId('keys').showModal());
  byId('theme').addEventListener('click', () => {
    setTheme(state.theme === 'dark' ? 'light' : 'dark');
    change({ theme: state.theme });
  });
}

on(['column'], drawMoment);
on(['theme'], () => {
  themed.forEach(paintFigure);
  if (heat.now) heat.now.line_color = state.theme === 'dark' ? '#ffffff' : '#14181d';
});
byId('graph-choice').addEventListener('change', (event) => change({ graph: Number(event.target.value), path: '', box: null }));

function start() {
  setTheme(firstTheme());
  state.chosen = ROWS ? firstChoice() : [];
  if (page.graphs.length && !currentGraph().measured.length) state.mode = 'parameters';
  drawVerdict();
  drawFindings();
  drawTimeline();
  listenToSearch();
  listenToKeys();
  // The findings are painted before the charts are made.
  requestAnimationFrame(() => setTimeout(() => {
    drawStatisticChoice();
    drawHeat();
    if (heat.figure) drawLegend(byId('heat-legend'), currentScale());
    drawChips();
    drawCurves();
    drawLayers();
    drawGraph();
    document.documentElement.dataset.ready = 'true';
  }));
}

start();
