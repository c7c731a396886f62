// From a value to a colour. Small gradients are cold, large ones hot; the middle is the run's own median.

const PALETTES = {
  light: { stops: [[5, 48, 97], [67, 147, 195], [245, 244, 240], [244, 146, 96], [165, 15, 38]], zero: [87, 96, 106], bad: [190, 0, 214], none: [214, 219, 227], blank: [255, 255, 255] },
  dark: { stops: [[120, 200, 255], [35, 98, 158], [33, 40, 49], [178, 74, 36], [255, 176, 110]], zero: [3, 5, 8], bad: [232, 78, 255], none: [62, 69, 80], blank: [21, 27, 35] },
};
const DECADES = 3; // how far from the median a colour is full, at least: where a gradient counts as starved or flooded

// Median and reach of the positive finite values, in powers of ten.
function scaleOf(values) {
  const logs = [];
  const every = Math.max(1, Math.floor(values.length / 20000));
  for (let at = 0; at < values.length; at += every) {
    if (values[at] > 0 && Number.isFinite(values[at])) logs.push(Math.log10(values[at]));
  }
  if (!logs.length) return { middle: 0, reach: DECADES };
  logs.sort((a, b) => a - b);
  const middle = logs[logs.length >> 1];
  const far = Math.max(middle - logs[Math.floor(logs.length * 0.01)], logs[Math.ceil(logs.length * 0.99) - 1] - middle);
  return { middle, reach: Math.min(8, Math.max(DECADES, far)) };
}

function mix(stops, place) {
  const at = Math.min(0.9999, Math.max(0, place)) * (stops.length - 1);
  const low = Math.floor(at);
  return stops[low].map((part, index) => Math.round(part + (stops[low + 1][index] - part) * (at - low)));
}

function colorOf(value, scale, palette = PALETTES[state.theme]) {
  if (Number.isNaN(value)) return palette.none;
  if (!Number.isFinite(value)) return palette.bad;
  if (scale.share) return mix(palette.stops.slice(2), value);
  if (value === 0) return palette.zero;
  return mix(palette.stops, 0.5 + (Math.log10(value) - scale.middle) / (2 * scale.reach));
}

// Colours for many values: the ramp is mixed once, in steps too small to see.
function painter(scale) {
  const palette = PALETTES[state.theme];
  const steps = 512;
  const ramp = Array.from({ length: steps }, (_, at) => mix(scale.share ? palette.stops.slice(2) : palette.stops, at / (steps - 1)));
  const low = scale.middle - scale.reach;
  const factor = (steps - 1) / (2 * scale.reach);
  return (value) => {
    if (!(value > 0 && value < Infinity)) return colorOf(value, scale, palette);
    const place = scale.share ? value * (steps - 1) : (Math.log10(value) - low) * factor;
    return ramp[Math.min(steps - 1, Math.max(0, Math.round(place)))];
  };
}

const css = (color) => `rgb(${color[0]} ${color[1]} ${color[2]})`;
const inkOn = (color) => (0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 140 ? '#14181d' : '#ffffff');

function drawLegend(target, scale) {
  const palette = PALETTES[state.theme];
  const stops = scale.share ? palette.stops.slice(2) : palette.stops;
  const ramp = element('span', { class: 'ramp' });
  ramp.style.background = `linear-gradient(90deg, ${stops.map(css).join(', ')})`;
  const ends = scale.share ? ['0 %', '100 %'] : [-1, 1].map((side) => short(10 ** (scale.middle + side * scale.reach)));
  const keys = [['zero', palette.zero], ['not finite', palette.bad], ['no gradient', palette.none]];
  target.replaceChildren(
    element('span', { class: 'scale' }, element('span', { text: ends[0] }), ramp, element('span', { text: ends[1] })),
    ...keys.filter(([title]) => !(scale.share && title === 'zero')).map(([title, color]) => {
      const box = element('i');
      box.style.background = css(color);
      return element('span', { class: 'key' }, box, element('span', { text: title }));
    }),
  );
}

const LINES = {
  light: ['#0b57b0', '#c2410c', '#1a7f4b', '#8b2fb5', '#b3123f', '#0e7c86', '#8a6100', '#4d5bd6', '#5b6570', '#d0338a', '#3f7d20', '#7a4a2b'],
  dark: ['#79b8ff', '#ff9e64', '#57c98a', '#d19bf5', '#ff7b9c', '#5fd4dd', '#e3b341', '#a5b0ff', '#aab4be', '#ff8fc7', '#a3d977', '#d7a98a'],
};
