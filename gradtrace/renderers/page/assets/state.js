// What the reader looks at. A change is told to all parts of the page at most once a frame.

const MOST_CURVES = 12;

const state = {
  theme: 'light',
  column: Math.max(0, COLUMNS - 1),
  statistic: STATISTICS[0] || { key: 'norm', title: 'norm', words: 'gradient norm' },
  chosen: [], // rows with a curve
  graph: 0,
  path: '',
  box: null, // index in the drawing that is shown
  mode: 'flow',
};

const listeners = [];
let pending = null;

// `what` names the parts of the state that `react` cares about.
function on(what, react) {
  listeners.push({ what, react });
}

function change(values) {
  Object.assign(state, values);
  const names = Object.keys(values);
  if (pending) {
    names.forEach((name) => pending.add(name));
    return;
  }
  pending = new Set(names);
  requestAnimationFrame(() => {
    const changed = pending;
    pending = null;
    for (const { what, react } of listeners) if (what.some((name) => changed.has(name))) react(changed);
  });
}

function toggleRow(row) {
  const without = state.chosen.filter((other) => other !== row);
  change({ chosen: without.length < state.chosen.length ? without : [...without, row].slice(-MOST_CURVES) });
}

function moveTo(column) {
  change({ column: Math.min(COLUMNS - 1, Math.max(0, column)) });
}

function scrollToPart(id) {
  byId(id).scrollIntoView({ block: 'start' });
}
