// Reading the page's data. A value is NaN where there was no gradient and Infinity where it was not finite.

const page = JSON.parse(document.getElementById('data').textContent);
const ROWS = page.rows.length;
const COLUMNS = page.columns.number.length;
const CODES = 65533;

// A stored statistic: 16-bit codes on a log scale, a column after the other.
function unpack(stored) {
  const text = atob(stored.codes);
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at += 1) bytes[at] = text.charCodeAt(at);
  const codes = new Uint16Array(text.length / 2);
  for (let at = 0; at < codes.length; at += 1) codes[at] = bytes[2 * at] | (bytes[2 * at + 1] << 8);
  return { codes, low: stored.low, step: (stored.high - stored.low) / (CODES - 1), sampleOf: stored.at ? samplesBefore(stored.at) : null };
}

function decode({ codes, low, step }, at) {
  const code = codes[at];
  if (code > 2) return 10 ** (low + (code - 3) * step);
  return code === 0 ? NaN : code === 1 ? 0 : Infinity;
}

// For what was taken at some columns only: the last of them at or before each column, -1 for none.
function samplesBefore(columns) {
  let sample = -1;
  return Int32Array.from({ length: COLUMNS }, (_, column) => {
    while (sample + 1 < columns.length && columns[sample + 1] <= column) sample += 1;
    return sample;
  });
}

const STATISTICS = [
  { key: 'norm', title: 'norm', words: 'gradient norm' },
  { key: 'rms', title: 'per element', words: 'gradient norm per element (RMS)' },
  { key: 'max', title: 'largest', words: 'largest absolute gradient' },
  { key: 'update', title: 'update / weight', words: 'norm of the update over norm of the weights' },
  { key: 'zeros', title: 'zeros', words: 'share of gradient elements that are exactly zero', share: true },
].filter((statistic) => statistic.key === 'rms' || page.statistics[statistic.key]);

const unpacked = new Map();
const decoded = new Map();
const roots = page.rows.map((row) => Math.sqrt(Math.max(1, row.size)));

// One value; NaN for a statistic that this page does not have.
function valueAt(key, column, row) {
  if (key === 'rms') return valueAt('norm', column, row) / roots[row];
  if (!page.statistics[key]) return NaN;
  if (!unpacked.has(key)) unpacked.set(key, unpack(page.statistics[key]));
  const stored = unpacked.get(key);
  const at = stored.sampleOf ? stored.sampleOf[column] : column;
  return at < 0 ? NaN : decode(stored, at * ROWS + row);
}

// One statistic as columns x rows, a column after the other; decoded when first asked for.
function matrix(key) {
  if (!decoded.has(key)) {
    const values = new Float64Array(COLUMNS * ROWS);
    for (let column = 0; column < COLUMNS; column += 1) {
      for (let row = 0; row < ROWS; row += 1) values[column * ROWS + row] = valueAt(key, column, row);
    }
    decoded.set(key, values);
  }
  return decoded.get(key);
}

// The norm of several rows together.
function normOf(rows, column) {
  let total = 0;
  let known = false;
  for (const row of rows) {
    const norm = valueAt('norm', column, row);
    if (!Number.isNaN(norm)) {
      known = true;
      total += norm * norm;
    }
  }
  return known ? Math.sqrt(total) : NaN;
}

// The column that holds a backward.
function columnOf(backward) {
  const numbers = page.columns.number;
  let found = 0;
  while (found + 1 < numbers.length && numbers[found + 1] <= backward) found += 1;
  return found;
}
