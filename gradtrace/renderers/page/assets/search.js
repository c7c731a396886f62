// Search over findings, parameters, modules, ops and source files.

const search = { hits: [], at: 0 };
const MOST_HITS = 30;

function buildIndex() {
  search.entries = [
    ...page.findings.map((finding, at) => ({ kind: 'finding', name: `${finding.code} ${finding.message}`, go: () => showFinding(at) })),
    ...Object.keys(page.graphs.length ? currentGraph().views : {}).filter(Boolean).map((path) => ({ kind: 'module', name: path, go: () => goToModule(path) })),
    ...page.rows.map((row, at) => ({ kind: 'parameter', name: row.name, go: () => goToRow(at) })),
    ...placeEntries(),
  ];
}

// An op or a source line leads to the drawing that holds it.
function placeEntries() {
  const found = new Map();
  for (const [path, view] of Object.entries(page.graphs.length ? currentGraph().views : {})) {
    view.boxes.forEach((box, at) => {
      if (box.kind === 'module' || box.kind === 'context') return;
      const name = `${box.facts && box.facts.op ? box.facts.op : box.title}${path ? ` in ${path}` : ''}${box.facts && box.facts.source ? ` (${box.facts.source})` : ''}`;
      found.set(name, { kind: 'op', name, go: () => goToBox(path, at) });
    });
  }
  return [...found.values()];
}

function goToModule(path) {
  openPath(path);
  scrollToPart('graph');
}

function goToBox(path, at) {
  const box = currentGraph().views[path].boxes[at];
  openPath(path, (other) => other === box);
  scrollToPart('graph');
}

function goToRow(row) {
  if (!state.chosen.includes(row)) toggleRow(row);
  highlightRows([row]);
  scrollToPart('heat');
}

function showFinding(at) {
  document.querySelectorAll('.finding.here').forEach((card) => card.classList.remove('here'));
  const card = byId(`finding-${at}`);
  card.classList.add('here');
  card.focus({ preventScroll: true });
  card.scrollIntoView({ block: 'center' });
}

function hitsFor(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  return search.entries.filter(({ kind, name }) => words.every((word) => `${kind} ${name}`.toLowerCase().includes(word))).slice(0, MOST_HITS);
}

function drawHits() {
  const list = byId('hits');
  const open = search.hits.length > 0;
  list.hidden = !open;
  byId('search').setAttribute('aria-expanded', String(open));
  list.replaceChildren(...search.hits.map((hit, at) => element('li', { role: 'option', id: `hit-${at}`, 'aria-selected': String(at === search.at), onmousedown: (event) => { event.preventDefault(); take(hit); } }, element('span', { class: 'kind', text: hit.kind }), element('span', { class: 'name', text: hit.name }))));
  const current = list.children[search.at];
  if (current) {
    current.scrollIntoView({ block: 'nearest' });
    byId('search').setAttribute('aria-activedescendant', current.id);
  } else byId('search').removeAttribute('aria-activedescendant');
}

function take(hit) {
  byId('search').value = '';
  byId('search').blur();
  closeHits();
  hit.go();
}

function closeHits() {
  search.hits = [];
  drawHits();
}

function listenToSearch() {
  const field = byId('search');
  field.addEventListener('input', () => {
    if (!search.entries) buildIndex();
    search.hits = hitsFor(field.value);
    search.at = 0;
    drawHits();
  });
  field.addEventListener('blur', closeHits);
  field.addEventListener('keydown', (event) => {
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      search.at = (search.at + (event.key === 'ArrowDown' ? 1 : search.hits.length - 1)) % Math.max(1, search.hits.length);
      drawHits();
      event.preventDefault();
    } else if (event.key === 'Enter' && search.hits[search.at]) take(search.hits[search.at]);
    else if (event.key === 'Escape') field.blur();
  });
}
on(['graph'], () => { search.entries = null; });
