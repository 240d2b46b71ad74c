// Draws the figure in #data, in place of the picture that stands there for who has no JavaScript. Names in it were
// written by others: they come into the page as text and in no other way.
'use strict';

const SVG = 'http://www.w3.org/2000/svg';
const HEIGHT = 380;
const ROW = 24;
const [LEFT, RIGHT, TOP, BOTTOM] = [64, 16, 10, 36];
const MAX_SIGNS = 150; // more points than this have no room for signs
const MIN_CELL = 9; // a column is no narrower; rounds share one then

const figure = JSON.parse(document.getElementById('data').textContent);
const main = document.getElementById('figure');
const ends = extent(figure.series.flatMap((it) => it.points.map((at) => at[0])));
const stops = [...new Set(figure.series.flatMap((it) => it.points.map((at) => at[0])))].sort((a, b) => a - b);
const hidden = new Set();
let view = ends;
let cursor = ends[1];
let drag = null; // where somebody began to choose a part

function clean(text) {
  return String(text).replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '\ufffd');
}

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) if (value !== null && value !== false) node.setAttribute(key, value);
  node.append(...children.flat(Infinity).filter(Boolean).map((it) => (it instanceof Node ? it : clean(it))));
  return node;
}

const el = (name, attributes, ...children) => fill(document.createElement(name), attributes, children);
const svg = (name, attributes, ...children) => fill(document.createElementNS(SVG, name), attributes, children);
const number = (value) => String(Number(value.toPrecision(6)));

function extent(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const it of values) [low, high] = [Math.min(low, it), Math.max(high, it)];
  return low <= high ? [low, high] : [0, 1];
}

/** Steps that people count in, about so many of them. */
function steps([low, high], count) {
  const raw = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((it) => it * power).find((it) => it >= raw);
  const values = [];
  for (let at = Math.ceil(low / step); at * step <= high + step / 1e6; at += 1) values.push(Number((at * step).toPrecision(12)));
  return values;
}

/** The points in view, with the neighbour at each side, so that lines go on to the edge. */
function inView(points) {
  const begin = points.findIndex((it) => it[0] >= view[0]);
  if (begin < 0) return points.slice(-1);
  const end = points.findIndex((it) => it[0] > view[1]);
  return points.slice(Math.max(0, begin - 1), end < 0 ? points.length : end + 1);
}

const isSign = (kind) => ['full', 'hollow', 'cross'].includes(kind);
const cross = (x, y, r) => `M${x - r} ${y - r}L${x + r} ${y + r}M${x - r} ${y + r}L${x + r} ${y - r}`;

function mark(kind, color, x, y) {
  if (kind === 'cross') return svg('path', { d: cross(x, y, 4), stroke: color, 'stroke-width': 2, fill: 'none' });
  return svg('circle', { cx: x, cy: y, r: 4, stroke: color, 'stroke-width': 2, fill: kind === 'full' ? color : 'none' });
}

function drawn({ kind, color, points }, x, y) {
  const at = points.map(([px, ...values]) => [x(px).toFixed(1), ...values.map((it) => y(it).toFixed(1))]);
  if (!at.length) return [];
  if (isSign(kind)) return points.length > MAX_SIGNS ? [] : at.map(([px, py]) => mark(kind, color, Number(px), Number(py)));
  if (kind === 'band') {
    const d = `M${at.map(([px, low]) => `${px} ${low}`).join('L')}L${at.toReversed().map(([px, , high]) => `${px} ${high}`).join('L')}Z`;
    return [svg('path', { d, fill: color, 'fill-opacity': 0.15 })];
  }
  const d = at.map(([px, py], index) => (index === 0 ? `M${px} ${py}` : kind === 'stairs' ? `H${px}V${py}` : `L${px} ${py}`)).join('');
  const last = kind === 'stairs' ? `H${x(Math.min(view[1], ends[1])).toFixed(1)}` : '';
  return [svg('path', { d: d + last, fill: 'none', stroke: color, 'stroke-width': kind === 'stairs' ? 2.5 : 1.8 })];
}

const width = () => Math.max(320, Math.min(1100, main.clientWidth));
const x = (value) => LEFT + (view[0] === view[1] ? 0.5 : (value - view[0]) / (view[1] - view[0])) * (width() - LEFT - RIGHT);
const back = (px) => view[0] + ((px - LEFT) / (width() - LEFT - RIGHT)) * (view[1] - view[0]);

function chart() {
  const shown = figure.series.filter((it) => !hidden.has(it.name)).map((it) => ({ ...it, points: inView(it.points) }));
  const [low, high] = extent(shown.flatMap((it) => it.points.flatMap((at) => at.slice(1))));
  const room = Math.max((high - low) * 0.06, 1e-3);
  const up = [low - room, high + room];
  const y = (value) => TOP + (1 - (value - up[0]) / (up[1] - up[0])) * (HEIGHT - TOP - BOTTOM);
  const edge = width() - RIGHT;
  return svg('svg', {
    class: 'chart', id: 'chart', viewBox: `0 0 ${width()} ${HEIGHT}`, width: width(), height: HEIGHT, tabindex: 0, role: 'img',
    'aria-label': `${figure.title}, ${figure.x} ${number(view[0])} to ${number(view[1])}. Arrow keys move along it, plus and minus look closer and further.`,
  },
  svg('clipPath', { id: 'inside' }, svg('rect', { x: LEFT, y: 0, width: edge - LEFT, height: HEIGHT })),
  steps(up, 7).map((value) => [
    svg('path', { class: 'rule', d: `M${LEFT} ${y(value)}H${edge}` }),
    svg('text', { x: LEFT - 6, y: y(value) + 4, 'text-anchor': 'end' }, number(value))]),
  steps(view, width() < 600 ? 5 : 12).map((value) => svg('text', { x: x(value), y: HEIGHT - BOTTOM + 16, 'text-anchor': 'middle' }, number(value))),
  svg('text', { x: (LEFT + edge) / 2, y: HEIGHT - 4, 'text-anchor': 'middle' }, figure.x),
  svg('text', { transform: `translate(13 ${HEIGHT / 2}) rotate(-90)`, 'text-anchor': 'middle' }, figure.y),
  svg('g', { 'clip-path': 'url(#inside)' }, shown.map((it) => drawn(it, x, y)),
    svg('rect', { class: 'chosen', id: 'chosen', x: 0, y: TOP, width: 0, height: HEIGHT - TOP - BOTTOM }),
    svg('path', { class: 'cursor', id: 'cursor', d: '' })));
}

// ---- Who did what ----

/** The rounds in view, and how many of them share a column. */
function columns() {
  const { rounds } = figure.rows;
  const begin = rounds.findIndex((it) => it >= view[0]);
  const last = rounds.findLastIndex((it) => it <= view[1]);
  const all = begin < 0 || last < begin ? [] : rounds.slice(begin, last + 1);
  const share = Math.max(1, Math.ceil(all.length / Math.floor((width() - LEFT - RIGHT) / MIN_CELL)));
  return { begin, all, share };
}

function strip() {
  const { begin, all, share } = columns();
  const { rows, signs } = figure.rows;
  const names = Math.min(200, width() / 4);
  const count = Math.ceil(all.length / share);
  const cell = Math.min(40, (width() - names - RIGHT) / Math.max(1, count));
  const of = (letter) => signs[letter.charCodeAt(0) - 97];
  const body = rows.map(([name, letters], row) => [
    svg('text', { x: 0, y: row * ROW + 16 }, name.length > names / 7.5 ? `${name.slice(0, names / 7.5)}…` : name, svg('title', {}, clean(name))),
    Array.from({ length: count }, (_, column) => {
      const part = letters.slice(begin + column * share, begin + Math.min(all.length, (column + 1) * share));
      const counts = signs.map((sign, at) => [sign, part.split(String.fromCharCode(97 + at)).length - 1]).filter(([, times]) => times > 0);
      let above = 0;
      const parts = counts.map(([[, , color], times]) => {
        const height = ((ROW - 2) * times) / part.length;
        above += height;
        return color && svg('rect', { x: names + column * cell, y: row * ROW + ROW - 1 - above, width: Math.max(1, cell - (cell > 5 ? 1 : 0)), height, fill: color });
      });
      const sign = part.length === 1 && cell >= 12 && of(part)[0];
      const first = all[column * share];
      const rounds = part.length === 1 ? `round ${first}` : `rounds ${first} to ${first + part.length - 1}`;
      const told = counts.map(([[, meaning], times]) => (part.length === 1 ? meaning : `${times} × ${meaning}`)).join(', ');
      return svg('g', {}, svg('title', {}, clean(`${name}, ${rounds}: ${told}`)), parts,
        sign && svg('text', { x: names + (column + 0.5) * cell - 0.5, y: row * ROW + 16, 'text-anchor': 'middle', style: 'fill:#fff;paint-order:stroke;stroke:#000;stroke-opacity:.45;stroke-width:2px' }, sign));
    }),
  ]);
  const used = signs.filter(([, , color], at) => color && rows.some(([, letters]) => letters.includes(String.fromCharCode(97 + at))));
  return [
    el('h2', { style: 'font-size:1.05em' }, `Who did what${share > 1 ? `, ${share} rounds a column` : ''}`),
    el('div', { class: 'wide' }, svg('svg', { id: 'strip', viewBox: `0 0 ${width()} ${rows.length * ROW}`, width: width(), height: rows.length * ROW, role: 'img', 'aria-label': 'Who did what in which round' }, body)),
    el('ul', { class: 'signs' }, used.map(([sign, meaning, color]) => el('li', {}, el('span', { style: `background:${color}`, 'aria-hidden': 'true' }, sign), meaning))),
  ];
}

/** What there is at the cursor. */
function readout() {
  const values = figure.series.filter((it) => !hidden.has(it.name)).map((it) => {
    const last = it.points.findLast((at) => at[0] <= cursor);
    if (!last || (it.kind !== 'stairs' && last[0] !== cursor)) return null;
    return `${it.name}: ${last.slice(1).map(number).join(' to ')}`;
  });
  return `${figure.x} ${number(cursor)}. ${values.filter(Boolean).join('; ')}`;
}

function point(value) {
  if (!stops.length) return;
  const after = stops.findIndex((it) => it >= value);
  const [left, right] = after < 0 ? [stops.at(-1), stops.at(-1)] : [stops[Math.max(0, after - 1)], stops[after]];
  cursor = value - left < right - value ? left : right;
  cursor = Math.min(Math.max(cursor, stops[0]), stops.at(-1));
  document.getElementById('cursor').setAttribute('d', `M${x(cursor)} ${TOP}V${HEIGHT - BOTTOM}`);
  document.getElementById('readout').textContent = clean(readout());
}

function look(from, to) {
  const least = stops.length > 1 ? Math.min((ends[1] - ends[0]) / 4, Math.max((ends[1] - ends[0]) / 5000, 1e-9) * 4) : 0;
  const span = Math.min(ends[1] - ends[0], Math.max(to - from, least));
  const begin = Math.min(Math.max(from, ends[0]), ends[1] - span);
  view = figure.rows ? [Math.round(begin), Math.round(begin + span)] : [begin, begin + span]; // rounds are whole
  draw();
}

/** Looks closer, or further where the factor is more than one, and leaves the cursor where it is. */
const zoom = (factor) => {
  const middle = Math.min(Math.max(cursor, view[0]), view[1]);
  look(middle - (middle - view[0]) * factor, middle + (view[1] - middle) * factor);
};
const shift = (share) => look(view[0] + share * (view[1] - view[0]), view[1] + share * (view[1] - view[0]));

function draw() {
  const had = document.activeElement && document.activeElement.id;
  const whole = view[0] === ends[0] && view[1] === ends[1];
  const button = (id, text, label, act, disabled) => {
    const node = el('button', { id, type: 'button', 'aria-label': label, title: label, disabled: disabled ? '' : null }, text);
    node.addEventListener('click', act);
    return node;
  };
  const legend = figure.series.map((it, at) => {
    const node = el('button', { id: `series-${at}`, type: 'button', 'aria-pressed': String(!hidden.has(it.name)) },
      svg('svg', { width: 22, height: 14, viewBox: '0 0 22 14', 'aria-hidden': 'true' },
        isSign(it.kind) ? mark(it.kind, it.color, 11, 7) : svg('rect', { x: 0, y: it.kind === 'band' ? 1 : 5.5, width: 22, height: it.kind === 'band' ? 12 : 3, fill: it.color, 'fill-opacity': it.kind === 'band' ? 0.25 : 1 })),
      it.name);
    node.addEventListener('click', () => {
      if (!hidden.delete(it.name)) hidden.add(it.name);
      draw();
    });
    return node;
  });
  main.replaceChildren(
    el('h1', {}, figure.title),
    el('div', { class: 'bar', role: 'toolbar', 'aria-label': 'What part is shown' },
      button('all', 'All', 'Show all of it', () => look(...ends), whole),
      button('closer', '+', 'Look closer', () => zoom(0.5)),
      button('further', '−', 'Look from further away', () => zoom(2), whole),
      button('earlier', '◀', 'Earlier', () => shift(-0.5), view[0] === ends[0]),
      button('later', '▶', 'Later', () => shift(0.5), view[1] === ends[1]),
      el('span', {}, `${figure.x} ${number(view[0])} to ${number(view[1])}; drag over a part to look closer`)),
    chart(),
    el('p', { class: 'readout', id: 'readout', role: 'status' }),
    el('div', { class: 'bar legend', role: 'group', 'aria-label': 'What is drawn' }, legend),
    ...(figure.rows && figure.rows.rows.length && figure.rows.rounds.length ? strip() : []),
    ...figure.notes.map((note) => el('p', { class: 'note' }, clean(note))));
  point(cursor);
  if (had && document.getElementById(had)) document.getElementById(had).focus();
  document.body.dataset.view = `${number(view[0])} ${number(view[1])}`;
}

// ---- What somebody does ----

const place = (event) => {
  const { left, width: shown } = document.getElementById('chart').getBoundingClientRect();
  return Math.min(width() - RIGHT, Math.max(LEFT, ((event.clientX - left) / shown) * width()));
};
main.addEventListener('pointerdown', (event) => {
  if (event.target.closest('#chart')) drag = place(event);
});
main.addEventListener('pointermove', (event) => {
  if (drag === null && !event.target.closest('#chart')) return;
  const at = place(event);
  if (drag !== null) fill(document.getElementById('chosen'), { x: Math.min(at, drag), width: Math.abs(at - drag) }, []);
  point(back(at));
});
document.addEventListener('pointerup', (event) => {
  if (drag === null) return;
  const [from, to] = [drag, place(event)].sort((a, b) => a - b);
  drag = null;
  if (to - from > 4) look(back(from), back(to));
  else fill(document.getElementById('chosen'), { width: 0 }, []);
});
main.addEventListener('dblclick', (event) => {
  if (event.target.closest('#chart')) look(...ends);
});
main.addEventListener('keydown', (event) => {
  if (!event.target.closest('#chart') || event.ctrlKey || event.metaKey || event.altKey) return;
  const at = stops.indexOf(cursor);
  const acts = {
    ArrowLeft: () => point(stops[Math.max(0, at - 1)]),
    ArrowRight: () => point(stops[Math.min(stops.length - 1, at + 1)]),
    Home: () => point(view[0]), End: () => point(view[1]),
    '+': () => zoom(0.5), '=': () => zoom(0.5), '-': () => zoom(2), 0: () => look(...ends),
  };
  if (!acts[event.key] || !stops.length) return;
  event.preventDefault();
  acts[event.key]();
});
addEventListener('resize', draw);
draw();
