// Verdict, findings, and the way from a finding to its place.

function drawVerdict() {
  byId('title').textContent = page.title;
  byId('title').title = page.title;
  byId('headline').textContent = page.headline;
  document.querySelector('.verdict').dataset.grave = page.grave;
  byId('facts').replaceChildren(...page.facts.map(([name, value]) => element('div', {}, element('dt', { text: name }), element('dd', { text: value }))));
  byId('notes').replaceChildren(...page.notes.map((note) => element('li', { text: note })));
}

function drawFindings() {
  const cards = page.findings.map(findingCard);
  byId('finding-list').replaceChildren(...(cards.length ? cards : [element('p', { class: 'none', text: 'Nothing was found: the gradients of this run look healthy.' })]));
}

function findingCard(finding, index) {
  const buttons = placesOf(finding).map(([title, go]) => element('button', { class: 'small', type: 'button', text: title, onclick: go }));
  const facts = [['at', finding.place], ['cause', finding.cause], ['fix', finding.fix], ['seen', seen(finding)]].filter(([, value]) => value);
  return element(
    'article',
    { class: 'finding', id: `finding-${index}`, 'data-severity': finding.severity, tabindex: -1 },
    element('header', {}, element('span', { class: 'code', text: finding.code }), element('span', { class: 'name', text: `${finding.name} · ${finding.severity}` }), element('div', { class: 'go' }, ...buttons)),
    element('button', { class: 'message', type: 'button', text: finding.message, onclick: () => jumpTo(finding) }),
    element('dl', {}, ...facts.flatMap(([name, value]) => [element('dt', { text: name }), element('dd', { text: value })])),
    sourceBlock(finding.source, 2),
  );
}

function seen(finding) {
  const { first_backward: first, last_backward: last, count } = finding;
  if (first === null) return null;
  return last === null || last === first ? `at backward ${first}` : `from backward ${first} to ${last}, ${count} times`;
}

// The parts of the page that show where a finding is, best first.
function placesOf(finding) {
  const places = [];
  const path = pathOf(finding);
  if (finding.rows.length) places.push(['heat map', () => showRows(finding, 'heat')], ['curves', () => showRows(finding, 'curves')]);
  if (path !== null) places.push(['graph', () => showInGraph(finding, path)]);
  if (!places.length && finding.first_backward !== null && COLUMNS) places.push(['heat map', () => showRows(finding, 'heat')]);
  return places;
}

function jumpTo(finding) {
  const places = placesOf(finding);
  if (places.length) places[0][1]();
}

function showRows(finding, part) {
  const chosen = finding.rows.length ? finding.rows.slice(0, MOST_CURVES) : state.chosen;
  change({ chosen });
  if (finding.first_backward !== null) moveTo(columnOf(finding.first_backward));
  highlightRows(finding.rows);
  scrollToPart(part);
}

function showInGraph(finding, path) {
  if (finding.first_backward !== null) moveTo(columnOf(finding.first_backward));
  openPath(path, (box) => isPlaceOf(finding, box));
  scrollToPart('graph');
}

function isPlaceOf(finding, box) {
  const { op, module, parameter } = finding.where;
  if (op) return Boolean(box.facts && box.facts.op === op && (finding.source === null || box.source === undefined || samePlace(box.source, finding.source)));
  if (parameter) return Boolean(box.rows && box.rows.some((row) => page.rows[row].name === parameter));
  return box.kind === 'module' && box.open === module;
}

function samePlace(one, other) {
  const [first, second] = [page.sources.places[one], page.sources.places[other]];
  return first[0] === second[0] && first[1] === second[1];
}

// The source around a place as numbered lines, the line itself marked; null where no text is known.
function sourceBlock(number, around) {
  if (number === null || number === undefined) return null;
  const [file, line] = page.sources.places[number];
  const lines = page.sources.files[file] || {};
  const wanted = Object.keys(lines).map(Number).filter((at) => Math.abs(at - line) <= around);
  if (!wanted.length) return null;
  return element('div', { class: 'source' }, ...wanted.map((at) => element('div', { class: at === line ? 'hot' : null }, element('i', { text: at }), element('span', { text: lines[at] }))));
}
