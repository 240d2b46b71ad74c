// Draws the page from one document, api/state, and draws it anew when api/events says that there is another one. All
// addresses are relative to the page's own, so whatever serves these files and that document has the page.
//
// Much of what is shown was written by others. It comes into the page as text (`clean`, `el`) and in no other way.
'use strict';

const SVG = 'http://www.w3.org/2000/svg';
const WINDOWS = [['30', 'last 30 rounds'], ['60', 'last 60 rounds'], ['200', 'last 200 rounds'], ['all', 'all rounds']];
const MAX_IN_GRID = 60;
const ANNOUNCE_EVERY_MS = 5000;
const RELOAD_EVERY_MS = 1000;
const RETRY_EVERY_MS = 3000;

let state = null; // the last document
let offset = 0; // what the clock of who serves it is ahead of this one
let lost = null; // since when who serves it does not answer
let chosen = '60'; // how many rounds are shown
let cursor = null; // the round that is pointed at; null for the last
let extra = { key: '', value: null, error: null }; // what a part of the page has fetched besides

// ---- Elements ----

/** What others wrote, without what would steer how the rest is shown. */
function clean(text) {
  return String(text).replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '\ufffd');
}

/** An element. Children are elements, or become text. */
function el(name, attributes, ...children) {
  const node = document.createElement(name);
  return fill(node, attributes, children);
}

function svg(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value === true ? '' : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(clean(child)));
  }
  return node;
}

/** Makes one tree what another one is, and leaves alone what is the same: so that focus, scrolling and what is open stay. */
function morph(from, to) {
  if (from.nodeType !== to.nodeType || from.nodeName !== to.nodeName || from.id !== to.id) {
    from.replaceWith(to);
    return;
  }
  if (from.nodeType === Node.TEXT_NODE) {
    if (from.data !== to.data) from.data = to.data;
    return;
  }
  for (const { name } of [...from.attributes]) {
    // What somebody has opened stays open.
    if (!to.hasAttribute(name) && !(name === 'open' && from.nodeName === 'DETAILS')) from.removeAttribute(name);
  }
  for (const { name, value } of [...to.attributes]) {
    if (from.getAttribute(name) !== value && !(name === 'open' && from.nodeName === 'DETAILS')) from.setAttribute(name, value);
  }
  if (from.nodeName === 'INPUT' && from !== document.activeElement) from.value = to.value;
  const [old, next] = [[...from.childNodes], [...to.childNodes]];
  next.forEach((child, at) => (at < old.length ? morph(old[at], child) : from.append(child)));
  old.slice(next.length).forEach((child) => child.remove());
}

const link = (hash, ...children) => el('a', { href: '#/' + hash }, children);
const path = (...parts) => parts.map(encodeURIComponent).join('/');
const card = (width, title, ...children) => el('section', { class: 'card ' + width }, el('h2', {}, title), children);
const pill = (kind, text) => el('span', { class: 'pill ' + kind }, text);
const wide = (label, table) => el('div', { class: 'wide', tabindex: '0', role: 'region', 'aria-label': label }, table);

function table(caption, heads, rows, numbers = []) {
  const side = (at) => (numbers.includes(at) ? 'number' : null);
  return wide(caption, el('table', {},
    el('caption', { class: 'hidden' }, caption),
    el('thead', {}, el('tr', {}, heads.map((head, at) => el('th', { scope: 'col', class: side(at) }, head)))),
    el('tbody', {}, rows.map((row) => el('tr', {}, row.map((cell, at) => el('td', { class: side(at) }, cell)))))));
}

function list(...pairs) {
  return el('dl', {}, pairs.filter(Boolean).map(([name, ...value]) => [el('dt', {}, name), el('dd', {}, value)]));
}

// ---- Words ----

const WORDS = {
  accepted: 'accepted', rejected: 'rejected', expired: 'expired', passed: 'passed',
};
const words = (word) => WORDS[word] || String(word).replaceAll('_', ' ');
const score = (value) => (value === null || value === undefined ? '–' : value.toFixed(3));
const micros = (value) => score(value === null || value === undefined ? null : value / 1e6);
const plural = (count, one, many) => `${count} ${count === 1 ? one : many || one + 's'}`;
const short = (digest) => el('span', { class: 'digest short', title: digest }, digest.slice(0, 8));
const now = () => Date.now() + offset;

function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${plural(Math.floor(s / 86400), 'day')} ${Math.floor((s % 86400) / 3600)} h`;
}

/** A few milliseconds are not nothing where a round takes a second. */
const brief = (ms) => (ms < 1000 ? `${ms} ms` : ms < 10000 ? `${(ms / 1000).toFixed(1)} s` : span(ms));

function time(ms) {
  if (!ms) return '–';
  const date = new Date(ms);
  return el('time', { datetime: date.toISOString() }, date.toLocaleString());
}

/** What changes each second is told by these, when it is drawn and by `tick`. */
const CLOCKS = {
  left: (at) => (at > now() ? span(at - now()) : `over for ${span(now() - at)}`),
  since: (at) => span(now() - at),
  late: (at) => (now() > at ? `${span(now() - at)} later than usual` : 'not late'),
};
const clock = (kind, at) => el('span', { 'data-clock': kind, 'data-at': at }, CLOCKS[kind](at));

function tick() {
  for (const node of document.querySelectorAll('[data-clock]')) {
    const text = CLOCKS[node.dataset.clock](Number(node.dataset.at));
    if (node.textContent !== text) node.textContent = text;
  }
}

const isLive = () => state.source.kind !== 'folder' && !state.alarm;

// ---- People ----

function who(shown) {
  const people = new Map(shown.people.map((person) => [person.learner, person]));
  return (key) => {
    const person = people.get(key);
    if (!person) return shown.experiment.names[key] || key.slice(0, 8);
    return person.name || `learner ${person.number}`;
  };
}

// ---- What is at the top ----

function standing() {
  if (!state) return lost ? el('div', { class: 'away', role: 'alert' }, el('p', {}, 'The program that serves this page does not answer. Start it again: colearn ui')) : el('div', {}, el('p', {}, 'Loading …'));
  const parts = [];
  if (state.alarm) {
    parts.push(el('div', { class: 'alarm', role: 'alert' },
      el('p', {}, el('strong', {}, state.alarm.title)),
      el('p', {}, state.alarm.what),
      el('p', {}, el('strong', {}, 'What to do: '), state.alarm.remedy),
      el('p', {}, 'Since ', time(state.alarm.since_ms), '. ', state.alarm.withdraws
        ? 'Nothing below is claimed to be verified any longer.'
        : 'What is shown below was verified before.')));
  }
  const place = el('span', { class: 'digest' }, state.source.place);
  const reading = state.connection;
  if (lost) {
    const remedy = state.source.kind === 'says' ? 'It is the node: look whether that runs.' : ['Start it again, and open the address that it prints: ', el('code', {}, 'colearn ui')];
    parts.push(el('div', { class: 'away', role: 'alert' }, el('p', {}, 'The program that serves this page has not answered for ', clock('since', lost), '. What is shown is what it said last. ', remedy)));
  } else if (reading.state === 'away') {
    parts.push(el('div', { class: 'away' }, el('p', {}, el('strong', {}, 'The node is not reached'), ' for ', clock('since', reading.since_ms), ': what is shown is as it was then. It is tried again all the time. ', el('span', { class: 'soft' }, reading.reason))));
  } else if (reading.state === 'ended') {
    parts.push(el('div', { class: 'away' }, el('p', {}, el('strong', {}, 'Nothing is followed any more'), ' for ', clock('since', reading.since_ms), ': what is shown is as it was then.')));
  } else if (reading.state === 'reading') {
    parts.push(el('div', {}, el('p', {}, `The ledger is being read: ${state.ledger.entries} of ${plural(reading.size, 'entry', 'entries')} so far.`)));
  } else if (reading.state === 'read') {
    parts.push(el('div', {}, el('p', {}, 'A copy of the ledger in ', place, ', audited and read at ', time(reading.since_ms), '. ', link('verified', 'What was verified, and how'))));
  } else if (!state.alarm) {
    const said = state.source.kind === 'says'
      ? ['This page shows what the node says. For one that verifies it, run ', el('code', {}, 'colearn ui'), ' yourself.']
      : ['Verified here, from ', place, '. ', link('verified', 'What was verified, and how')];
    parts.push(el('div', {}, el('p', {}, el('span', { class: 'live-dot', 'aria-hidden': 'true' }), 'Live. ', said)));
  }
  return el('div', { id: 'standing' }, parts);
}

// ---- Experiments ----

function experimentsPage() {
  const rows = state.experiments.map((it) => [
    link(path('x', it.name), it.name),
    it.phase_text,
    `${it.round}${it.max_rounds ? ' of ' + it.max_rounds : ''}`,
    it.accepted,
    it.member_count,
    score(it.model_vote_score),
    score(it.model_test_score),
    it.finished || !isLive() ? '–' : it.deadline_ms ? clock('left', it.deadline_ms) : '–',
    it.motions || '–',
    time(it.last_ms),
  ]);
  const heads = ['Experiment', 'Phase', 'Round', 'Accepted', 'Members', 'Vote score', 'Test score', 'Phase ends in', 'Open motions', 'Last entry'];
  const more = state.experiment_count - state.experiments.length;
  return [
    el('h1', {}, 'Experiments'),
    el('p', { class: 'lead' }, `${plural(state.experiment_count, 'experiment')} in a ledger of ${plural(state.ledger.entries, 'entry', 'entries')}. Scores are the means that members recorded of the model that was accepted last.`),
    el('section', { class: 'card', 'aria-label': 'List of experiments' },
      rows.length ? table('Experiments', heads, rows, [2, 3, 4, 5, 6]) : el('p', { class: 'none' }, 'There is no experiment yet. Create one with: colearn experiment create NAME --key FILE'),
      more > 0 && el('p', { class: 'soft' }, `${more} more; find them by name.`)),
  ];
}

function experimentPage(name) {
  const shown = state.shown;
  if (!shown || shown.experiment.name !== name) {
    return [el('h1', {}, name), el('p', { class: 'none' }, state.asked === name ? `There is no experiment ${name} in this ledger.` : 'Loading …')];
  }
  const it = shown.experiment;
  const called = who(shown);
  return [
    el('h1', {}, it.name),
    el('p', { class: 'lead' }, `Round ${it.round}${it.max_rounds ? ' of ' + it.max_rounds : ''}, ${plural(it.member_count, 'member')}, created by `, called(it.creator), ' with ', link(path('entry', shown.created), `entry ${shown.created}`), '.'),
    el('div', { class: 'cards' },
      phaseCard(shown, called), waitingCard(shown, called), modelCard(shown),
      scoresCard(shown, called), gridCard(shown, called), peopleCard(shown),
      motionsCard(shown, called), privacyCard(shown, called), measuredCard(shown, called),
      card('all', 'Rules in force', el('details', {}, el('summary', {}, `Version ${it.version} of the rules, as a plan file`), el('pre', { tabindex: '0' }, it.rules)))),
  ];
}

function phaseCard(shown, called) {
  const it = shown.experiment;
  const phase = shown.phase;
  const merged = it.merged_round;
  const told = [];
  if (phase.deadline_ms && isLive() && it.phase !== 'finished') {
    told.push(['Ends in', el('span', { class: 'big' }, clock('left', phase.deadline_ms))]);
  }
  if (it.finish_reason) told.push(['Because', words(it.finish_reason)]);
  if (it.pause_reason) told.push(['Because', words(it.pause_reason)]);
  const round = shown.history.rounds.at(-1);
  if (round && round.verdict === null && round.proposer) told.push(['Proposer', called(round.proposer)]);
  if (merged) told.push(['Stage', words(merged.stage)]);
  if (phase.since_ms) told.push(['Since', time(phase.since_ms)]);
  return card('third', 'Now', el('p', { class: 'big' }, phase.text), list(...told));
}

function waitingCard(shown, called) {
  const waits = shown.phase.waits_for;
  if (!waits.length) return card('third', 'Waited for', el('p', { class: 'none' }, 'Nobody'));
  return card('third', 'Waited for', el('ul', { class: 'plain' }, waits.slice(0, 12).map((it) => el('li', {},
    el('strong', {}, called(it.learner)), ` owes ${it.owes_text}`,
    isLive() && [' for ', clock('since', shown.phase.since_ms)],
    it.usual_ms !== null && [`; it usually takes ${brief(it.usual_ms)}`, isLive() && [': ', clock('late', it.late_from_ms)]]))),
  waits.length > 12 && el('p', { class: 'soft' }, `and ${waits.length - 12} more`));
}

function modelCard(shown) {
  const it = shown.experiment;
  const last = shown.curve.rows.at(-1);
  return card('third', 'Model',
    list(
      ['Vote score', el('span', { class: 'big' }, score(last && last[3]))],
      ['Test score', score(last && last[4])],
      ['SHA-256', el('span', { class: 'digest' }, it.model.digest)],
      ['Size', `${it.model.size.toLocaleString()} bytes`]));
}

// ---- Scores ----

/** The points of the chart: every round of a window, or all of them thinned out. */
function points(shown) {
  const rows = (chosen === 'all' ? shown.curve : shown.recent).rows.map(([round, vote, test, modelVote, modelTest, low, high, verdict]) => ({ round, vote, test, modelVote, modelTest, low, high, verdict }));
  return chosen === 'all' ? rows : rows.slice(-Number(chosen));
}

function scoresCard(shown, called) {
  const all = points(shown);
  const scored = all.filter((it) => it.vote !== null || it.test !== null);
  const choice = el('label', {}, 'Show ', el('select', { id: 'window' }, WINDOWS.map(([value, text]) => el('option', { value, selected: value === chosen }, text))));
  const title = el('div', { class: 'row' }, el('h2', {}, 'Scores'), choice);
  if (!scored.length) {
    return el('section', { class: 'card all' }, title, el('p', { class: 'none' }, 'No scores are recorded in these rounds.'), roundsTable(shown, called, all));
  }
  const at = Math.max(0, cursor === null ? all.length - 1 : all.findIndex((it) => it.round >= cursor));
  const thinned = chosen === 'all' && shown.curve.rows.length < shown.curve.rounds;
  return el('section', { class: 'card all' }, title,
    el('figure', { id: 'scores' },
      chart(all, at),
      legend(scored),
      el('div', { class: 'slider' },
        el('label', { for: 'cursor' }, 'Round'),
        el('input', { id: 'cursor', type: 'range', min: '0', max: all.length - 1, step: '1', value: at, 'aria-valuetext': readout(all[at]) })),
      el('p', { class: 'readout', id: 'readout' }, readout(all[at]), ' ', link(path('x', shown.experiment.name, 'round', all[at].round), 'Explain it'))),
    thinned && el('p', { class: 'soft' }, `Of ${shown.curve.rounds} rounds those are drawn that have the lowest and the highest scores among their neighbours.`),
    roundsTable(shown, called, all));
}

function readout(it) {
  const range = it.low === null || it.low === it.high ? '' : `, from ${score(it.low)} to ${score(it.high)}`;
  return `Round ${it.round}: ${it.verdict ? words(it.verdict) : 'open'}. Mean vote score ${score(it.vote)}${range}, mean test score ${score(it.test)}. `
    + `Accepted model then: vote ${score(it.modelVote)}, test ${score(it.modelTest)}.`;
}

function legend(scored) {
  const sample = (...marks) => svg('svg', { class: 'chart', width: '30', height: '16', viewBox: '0 0 30 16', 'aria-hidden': 'true' }, marks);
  const item = (text, ...marks) => el('li', {}, sample(marks), text);
  return el('ul', { class: 'legend' },
    item('mean vote score', svg('path', { class: 'vote', d: 'M0 8H30' })),
    item('accepted', svg('circle', { class: 'yes', cx: 15, cy: 8, r: 5 })),
    item('not accepted', svg('circle', { class: 'no', cx: 15, cy: 8, r: 5 })),
    item('mean test score', svg('path', { class: 'test', d: 'M0 8H30' })),
    item(`the accepted model (${scored.some((it) => it.modelTest !== null) ? 'test' : 'vote'} score)`, svg('path', { class: 'model', d: 'M0 12H15V4H30' })),
    item('from the lowest to the highest of the members', svg('rect', { class: 'range', x: 0, y: 1, width: 30, height: 14 })));
}

/** Steps that people count in, about so many of them. */
function steps(low, high, count) {
  const raw = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((it) => it * power).find((it) => it >= raw);
  const values = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step / 1e6; at += step) values.push(at);
  return { values, digits: Math.max(0, -Math.floor(Math.log10(step))) };
}

function chart(all, at) {
  const width = Math.max(280, Math.min(1440, document.getElementById('main').clientWidth - 66));
  const height = width < 520 ? 230 : 320;
  const [left, right, top, bottom] = [46, 24, 10, 34];
  const values = all.flatMap((it) => [it.vote, it.test, it.modelVote, it.modelTest, it.low, it.high]).filter((it) => it !== null);
  let [low, high] = [Math.min(...values), Math.max(...values)];
  const room = Math.max((high - low) * 0.06, 0.005);
  [low, high] = [low - room, high + room];
  const [first, last] = [all[0].round, all.at(-1).round];
  const x = (round) => left + (first === last ? 0.5 : (round - first) / (last - first)) * (width - left - right);
  const y = (value) => top + (1 - (value - low) / (high - low)) * (height - top - bottom);
  const p = (number) => number.toFixed(1);
  const line = (field) => all.filter((it) => it[field] !== null).map((it, at) => `${at ? 'L' : 'M'}${p(x(it.round))} ${p(y(it[field]))}`).join('');
  const of = all.some((it) => it.modelTest !== null) ? 'modelTest' : 'modelVote';
  const stairs = all.filter((it) => it[of] !== null).map((it, at) => (at ? `H${p(x(it.round))}V${p(y(it[of]))}` : `M${p(x(it.round))} ${p(y(it[of]))}`)).join('');
  const band = all.filter((it) => it.low !== null);
  const edge = (field) => (it) => `${p(x(it.round))} ${p(y(it[field]))}`;
  const area = band.length > 1 ? `M${band.map(edge('high')).join('L')}L${band.toReversed().map(edge('low')).join('L')}Z` : '';
  const across = steps(first, last, width < 520 ? 5 : 12).values.filter((it) => Number.isInteger(it));
  const up = steps(low, high, height > 300 ? 7 : 5);
  const dots = all.length <= 120 ? all.filter((it) => it.vote !== null && it.verdict) : [];
  const told = `Scores of rounds ${first} to ${last}. ${readout(all.at(-1))} The same is in the table below.`;
  return svg('svg', { class: 'chart', viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': told, 'data-first': first, 'data-last': last, 'data-left': left, 'data-right': width - right, 'data-width': width },
    up.values.map((value) => [
      svg('path', { class: 'rule', d: `M${left} ${p(y(value))}H${width - right}` }),
      svg('text', { x: left - 7, y: p(y(value) + 4), 'text-anchor': 'end' }, value.toFixed(up.digits))]),
    across.map((round) => svg('text', { x: p(x(round)), y: height - bottom + 17, 'text-anchor': 'middle' }, round)),
    svg('text', { x: p((left + width - right) / 2), y: height - 3, 'text-anchor': 'middle' }, 'round'),
    svg('path', { class: 'range', d: area }),
    svg('path', { class: 'model', d: stairs }),
    svg('path', { class: 'test', d: line('test') }),
    svg('path', { class: 'vote', d: line('vote') }),
    dots.map((it) => svg('circle', { class: it.verdict === 'accepted' ? 'yes' : 'no', cx: p(x(it.round)), cy: p(y(it.vote)), r: all.length > 60 ? 3 : 4 })),
    svg('path', { class: 'cursor', d: `M${p(x(all[at].round))} ${top}V${height - bottom}` }));
}

function roundsTable(shown, called, all) {
  const full = new Map(shown.history.rounds.map((it) => [it.round, it]));
  const rows = all.toReversed().map((it) => {
    const round = full.get(it.round);
    const trained = !round ? '–' : round.merged ? `${plural(round.merged.participants.length, 'member')}` : round.proposer ? called(round.proposer) : '–';
    const count = (field) => (round && round[field] !== null ? round[field] : '–');
    return [link(path('x', shown.experiment.name, 'round', it.round), it.round), trained, it.verdict ? words(it.verdict) : 'open', count('approvals'), count('rejections'), score(it.vote), score(it.test), score(it.modelTest ?? it.modelVote)];
  });
  return el('details', { id: 'rounds' }, el('summary', {}, 'These rounds as a table'),
    table('Rounds, the last one first', ['Round', 'Trained', 'Verdict', 'For', 'Against', 'Vote score', 'Test score', 'Accepted model'], rows, [3, 4, 5, 6, 7]));
}

// ---- Who did what ----

/** How each deed looks; what its sign is, and means, the document says. */
const LOOKS = {
  approve: 'yes', reject: 'no', abstain: 'neither', other: 'no', absent: 'absent',
  won: 'turn', lost: 'turn', missed: 'absent', due: 'turn open', done: 'turn', none: '',
};

function gridCard(shown, called) {
  const { rounds, rows, signs } = shown.grid;
  if (!rounds.length || !rows.length) return card('all', 'Who did what', el('p', { class: 'none' }, 'No round was opened yet.'));
  const name = shown.experiment.name;
  const used = new Set();
  const body = rows.map(({ learner, deeds }) => el('tr', {},
    el('th', { scope: 'row', title: learner }, called(learner)),
    rounds.map((round, at) => {
      const { sign, meaning } = signs[deeds[at]];
      used.add(deeds[at]);
      return el('td', { class: LOOKS[deeds[at]], title: `${called(learner)}, round ${round}: ${meaning}` }, el('span', { 'aria-hidden': 'true' }, sign), el('span', { class: 'hidden' }, meaning));
    })));
  return el('section', { class: 'card all' },
    el('h2', {}, 'Who did what'),
    el('div', { class: 'wide', id: 'grid', tabindex: '0', role: 'region', 'aria-label': 'Who did what in which round' },
      el('table', { class: 'grid' },
        el('caption', { class: 'hidden' }, `Members in rounds ${rounds[0]} to ${rounds.at(-1)}`),
        el('thead', {}, el('tr', {}, el('th', { scope: 'col' }, el('span', { class: 'hidden' }, 'Member')), rounds.map((round) => el('th', { scope: 'col' }, link(path('x', name, 'round', round), el('span', { class: 'hidden' }, 'Round '), round))))),
        el('tbody', {}, body))),
    el('ul', { class: 'legend' }, Object.entries(LOOKS).filter(([deed]) => signs[deed].sign && used.has(deed)).map(([deed, look]) => [look, signs[deed]]).map(([look, { sign, meaning }]) => el('li', {}, el('span', { class: 'key ' + look, 'aria-hidden': 'true' }, sign), meaning))),
    shown.people.length > rows.length && el('p', { class: 'soft' }, `${shown.people.length - rows.length} more members are in the table below.`));
}

function peopleCard(shown) {
  const waits = new Map(shown.phase.waits_for.map((it) => [it.learner, it]));
  const rows = shown.people.map((it) => {
    const owed = waits.get(it.learner);
    const [totals, seat] = [it.totals || {}, it.seat ? words(it.seat) : 'gone'];
    return [
      it.number, it.name || el('span', { class: 'none' }, 'no name'), short(it.learner),
      [seat, it.judge && ', judges only', it.exhausted && ', budget spent'],
      it.weight ?? '–', totals.accepted, totals.rejected, totals.missed_turns, totals.approvals, totals.rejections, totals.missed_votes,
      score(totals.last_vote_score), score(totals.last_test_score),
      owed ? pill('late', owed.owes_text) : '–',
    ];
  });
  if (!rows.length) return card('all', 'Members', el('p', { class: 'none' }, 'Nobody has joined yet.'));
  return card('all', 'Members', table('Members', ['No.', 'Name', 'Key', 'Seat', 'Weight', 'Accepted', 'Not accepted', 'Missed turns', 'For', 'Against', 'Missed votes', 'Vote score', 'Test score', 'Owes'], rows, [0, 4, 5, 6, 7, 8, 9, 10, 11, 12]));
}

function motionsCard(shown, called) {
  const open = shown.experiment.motions;
  if (!open.length) return card('half', 'Motions', el('p', { class: 'none' }, 'No motion is open.'));
  return card('half', 'Motions', el('ul', { class: 'plain' }, open.map((it) => el('li', {},
    el('strong', {}, `Motion ${shown.motions[it.number] || it.number}`),
    el('p', {}, 'Moved by ', called(it.mover), isLive() && [', voting ends in ', clock('left', it.deadline_ms)]),
    el('p', {}, el('progress', { max: it.electorate, value: it.approvals, 'aria-label': `Votes for motion ${it.number}` }), ` ${it.approvals} for, ${it.rejections} against, of ${it.electorate}`)))));
}

function privacyCard(shown, called) {
  const { cap, learners } = shown.privacy;
  const spent = learners.filter((it) => it.spent || it.exhausted);
  if (!spent.length) {
    return card('half', 'Privacy spent', el('p', { class: 'none' }, cap ? 'Nobody has stated anything yet.' : 'No member trains with differential privacy here.'));
  }
  const rows = spent.map((it) => [
    called(it.learner),
    it.spent ? (it.spent.epsilon_micros / 1e6).toFixed(3) : '–',
    it.spent ? (it.spent.delta_picos / 1e12).toExponential() : '–',
    it.spent ? it.spent.steps.toLocaleString() : '–',
    cap && it.spent ? el('progress', { max: cap.epsilon_micros, value: it.spent.epsilon_micros, 'aria-label': `${called(it.learner)}: share of the cap` }) : it.exhausted ? 'spent' : '–',
  ]);
  return card('half', 'Privacy spent', cap && el('p', {}, `The cap is ε = ${cap.epsilon_micros / 1e6} at δ = ${(cap.delta_picos / 1e12).toExponential()}.`),
    table('Privacy spent', ['Member', 'ε', 'δ', 'Steps', 'Of the cap'], rows, [1, 2, 3]));
}

function measuredCard(shown, called) {
  const all = shown.history.evaluations;
  if (!all.length) return null;
  const rows = all.slice(-50).toReversed().map((it) => [called(it.learner), it.round, short(it.model), Object.entries(it.measures).map(([name, value]) => `${name} ${value}`).join(', ')]);
  return card('all', 'Measured by members on their own data', table('Measurements, the last one first', ['Member', 'After round', 'Model', 'Measured'], rows, [1]));
}

// ---- A round ----

function roundPage(name, number) {
  const round = Number(number);
  const explained = besides(path('round', name, number));
  const known = state.experiments.find((it) => it.name === name);
  const heading = [
    el('p', {}, link(path('x', name), '← ', name)),
    el('h1', {}, `Round ${round} of ${name}`),
    el('p', { class: 'row' }, round > 1 ? link(path('x', name, 'round', round - 1), `← Round ${round - 1}`) : el('span'), known && round >= known.round ? null : link(path('x', name, 'round', round + 1), `Round ${round + 1} →`)),
  ];
  if (!explained) return [...heading, waiting()];
  const called = (key) => explained.names[key] || key.slice(0, 8);
  const began = explained.entries[0] ? explained.entries[0].time_ms : 0;
  const rows = explained.entries.map((it) => {
    const [by, what] = said(it.record, called);
    return [link(path('entry', it.index), it.index), brief(it.time_ms - began), by, what];
  });
  const trained = explained.proposer ? [explained.proposer] : explained.participants || [];
  return [...heading,
    el('div', { class: 'cards' },
      card('third', 'Who trained', el('p', {}, trained.map(called).join(', ')),
        el('p', {}, explained.as_recorded ? pill('here', '✓ drawn again: as recorded') : pill('withdrawn', '✗ NOT as recorded')),
        list(['Chosen by', words(explained.selection)], ['Of', plural(explained.candidates.length, 'candidate')], ['Opened', began ? time(began) : '–', ' with ', link(path('entry', explained.index), `entry ${explained.index}`)], ['Rules', `version ${explained.version}`])),
      card('two', 'What was done', table('Entries of the round', ['Entry', 'After', 'Who', 'What'], rows, [0, 1])),
      card('all', 'In full', el('details', {}, el('summary', {}, 'As colearn round --explain tells it'), el('pre', { tabindex: '0' }, explained.text)))),
  ];
}

/** Who a record is by, and what it says. */
function said(record, called) {
  const scores = (it) => (it && (it.vote !== null || it.test !== null) ? `; vote score ${micros(it.vote)}, test score ${micros(it.test)}` : '');
  const because = (it) => (it.reason ? `, because: ${words(it.reason)}` : '');
  const vote = (it) => `${{ approve: 'votes for', reject: 'votes against', abstain: 'abstains' }[it.choice] || it.choice}${because(it)}${scores(it.scores)}`;
  const judged = (it) => {
    if (!it.merges) return `abstains${because(it)}`;
    const bears = [it.bear_open && 'the open merge', it.bear_guarded && 'the guarded merge'].filter(Boolean).join(' and ');
    return `can bear ${bears || 'neither merge'}${it.prefer_guarded ? ', prefers the guarded one' : ''}${because(it)}`;
  };
  if (record.transaction) {
    const [[word, it]] = Object.entries(record.transaction.action);
    const tell = {
      propose: () => `proposes ${it.weights.digest.slice(0, 8)}${scores(it.scores)}`,
      pass: () => `passes${because(it)}`,
      vote: () => vote(it),
      reveal: () => `reveals: ${vote(it.vote)}`,
      commit: () => 'commits to a sealed vote',
      update: () => `sends an update ${it.weights.digest.slice(0, 8)}${scores(it.scores)}`,
      commit_update: () => 'commits to a sealed update',
      reveal_update: () => `reveals its update ${it.update.weights.digest.slice(0, 8)}${scores(it.update.scores)}`,
      merge_vote: () => judged(it),
      reveal_merge_vote: () => `reveals: ${judged(it.vote)}`,
    }[word];
    return [called(record.transaction.sender), tell ? tell() : words(word)];
  }
  const [[word, it]] = Object.entries(record.outcome || record);
  const tell = {
    round_opened: () => `the round is open; ${called(it.proposer)} has the turn`,
    training_opened: () => `the round is open; ${plural(it.participants.length, 'member')} train`,
    voting_opened: () => `${it.electorate} may vote`,
    merge_voting_opened: () => `${plural(it.updates.length, 'update')} are merged; ${it.electorate} may vote`,
    round_closed: () => `${words(it.verdict)}: ${it.approvals} for, ${it.rejections} against, ${it.abstentions} abstained, of ${it.electorate}`,
    finished: () => `finished: ${words(it.reason)}`,
  }[word];
  return [el('em', {}, 'contract'), tell ? tell() : words(word)];
}

// ---- The ledger ----

function ledgerPage() {
  const it = state.ledger;
  const signed = it.signed_by && it.signed_by.length;
  return [
    el('h1', {}, 'Ledger'),
    el('p', { class: 'lead' }, `${plural(it.entries, 'entry', 'entries')}, the last one recorded at `, time(it.last_ms), '.'),
    el('div', { class: 'cards' },
      card('half', 'Checkpoint',
        list(['Ledger', el('span', { class: 'digest' }, it.id)], ['Name', it.origin], ['Root', el('span', { class: 'digest' }, it.root)],
          it.chain && ['Proven', it.chain.proven ? [`the first ${plural(it.chain.proven, 'entry', 'entries')}, by block ${it.chain.height} of `, time(it.chain.time_ms)] : 'no: it is the word of who shows it'],
          ['Signed by', signed ? it.signed_by.join(', ') : '–'], ['Verifier key', el('span', { class: 'digest' }, it.verifier_key)]),
        it.checkpoint && el('details', {}, el('summary', {}, 'As it was signed'), el('pre', { tabindex: '0' }, it.checkpoint))),
      card('half', 'Witnesses', it.witnesses.length
        ? [el('p', {}, `${it.witness_quorum} of ${it.witnesses.length} must have seen this history.`),
          table('Witnesses', ['Witness', 'Has cosigned', 'Behind by'], it.witnesses.map((one) => [one.name, plural(one.entries, 'entry', 'entries'), Math.max(0, it.entries - one.entries)]), [2])]
        : el('p', { class: 'none' }, 'No witness was named. Start colearn ui with --witness KEY to see what they have cosigned.')),
      card('all', 'Nodes that keep it', it.nodes.length
        ? table('Nodes', ['Name', 'Address', 'Key that signs checkpoints'], it.nodes.map((one) => [one.name, one.url || '–', el('span', { class: 'digest' }, one.log_public_key)]))
        : el('p', { class: 'none' }, it.chain ? `A contract on the chain ${it.chain.id} keeps this ledger: ${it.chain.contract}. Nodes mirror it.` : 'One node keeps this ledger.')),
      claimsCard('What is verified, and how')),
  ];
}

function claimsCard(title) {
  return card('all', title, el('ul', { class: 'plain' }, state.claims.map((it) => el('li', {}, el('div', { class: 'row' }, el('strong', {}, it.what), pill(it.by, it.by_text)), el('p', { class: 'soft' }, it.how)))));
}

function verifiedPage() {
  return [
    el('h1', {}, 'What is verified, and how'),
    el('p', { class: 'lead' }, 'What this page shows comes from different mouths. Here is which, item by item.'),
    claimsCard('Item by item'),
  ];
}

// ---- Search, entries ----

function besides(address) {
  if (extra.key !== address) {
    extra = { key: address, value: null, error: null };
    ask(address);
  }
  return extra.value;
}

const waiting = () => (extra.error ? el('p', { class: 'none', role: 'alert' }, extra.error) : el('p', { class: 'soft' }, 'Loading …'));

function searchPage(asked) {
  const found = besides('search?q=' + encodeURIComponent(asked));
  const target = (it) => (it.entry !== undefined ? path('entry', it.entry) : it.round ? path('x', it.experiment, 'round', it.round) : it.experiment ? path('x', it.experiment) : 'ledger');
  return [
    el('h1', {}, 'Search'),
    el('p', { class: 'lead' }, found ? `${plural(found.found.length, 'result')} for “${found.asked}”${found.more ? '; there may be more' : ''}.` : 'Searching …'),
    !found ? waiting() : el('section', { class: 'card', 'aria-label': 'Results' }, found.found.length
      ? el('ul', { class: 'plain' }, found.found.map((it) => el('li', {}, pill('', it.kind), ' ', link(target(it), it.text))))
      : el('p', { class: 'none' }, 'Nothing. An entry is found by its number; digests and keys by their first four digits or more; members, experiments and nodes by a part of their name.')),
  ];
}

function entryPage(index) {
  const found = besides(path('entry', index));
  return [
    el('h1', {}, `Entry ${index}`),
    el('p', { class: 'row' }, Number(index) > 0 ? link(path('entry', Number(index) - 1), '← Entry before') : el('span'), Number(index) + 1 < state.ledger.entries && link(path('entry', Number(index) + 1), 'Entry after →')),
    !found ? waiting() : el('section', { class: 'card', 'aria-label': 'The entry' },
      list(['Recorded', time(found.time_ms)], ['Leaf hash', el('span', { class: 'digest' }, found.leaf_hash)], ['Size', `${found.bytes} bytes`]),
      el('pre', { class: 'wrap' }, found.text.trim()),
      el('details', {}, el('summary', {}, 'In full'), el('pre', { tabindex: '0' }, JSON.stringify(found.record, null, 2)))),
  ];
}

// ---- Where one is ----

function route() {
  const [where, query] = location.hash.replace(/^#\/?/, '').split('?');
  let parts;
  try {
    parts = where.split('/').filter(Boolean).map(decodeURIComponent);
  } catch {
    parts = [];
  }
  if (parts[0] === 'x' && parts[1] && parts[2] === 'round' && /^\d+$/.test(parts[3])) return { part: 'experiments', experiment: null, title: `Round ${parts[3]} of ${parts[1]}`, page: () => roundPage(parts[1], parts[3]) };
  if (parts[0] === 'x' && parts[1]) return { part: 'experiments', experiment: parts[1], title: parts[1], page: () => experimentPage(parts[1]) };
  if (parts[0] === 'ledger') return { part: 'ledger', title: 'Ledger', page: ledgerPage };
  if (parts[0] === 'verified') return { part: 'verified', title: 'What is verified', page: verifiedPage };
  if (parts[0] === 'search') {
    const asked = new URLSearchParams(query).get('q') || '';
    return { part: '', title: `Search for ${asked}`, page: () => searchPage(asked) };
  }
  if (parts[0] === 'entry' && /^\d+$/.test(parts[1])) return { part: 'ledger', title: `Entry ${parts[1]}`, page: () => entryPage(parts[1]) };
  return { part: 'experiments', title: 'Experiments', page: experimentsPage };
}

function render() {
  const here = route();
  document.title = `${state && state.alarm ? '⚠ ' : ''}${here.title} · colearn`;
  for (const node of document.querySelectorAll('[data-nav]')) {
    if (node.dataset.nav === here.part) node.setAttribute('aria-current', 'page');
    else node.removeAttribute('aria-current');
  }
  const top = standing();
  morph(document.getElementById('standing'), top.id ? top : el('div', { id: 'standing' }, top));
  if (!state) return;
  morph(document.getElementById('main'), el('main', { id: 'main', tabindex: '-1' }, here.page()));
  const slider = document.getElementById('cursor');
  if (slider && cursor === null) slider.value = slider.max;
  document.getElementById('program').textContent = clean(state.program);
  document.getElementById('updated').textContent = `${plural(state.ledger.entries, 'entry', 'entries')} · times by this computer's zone`;
  // For programs that look at the page.
  document.body.dataset.revision = state.revision;
  document.body.dataset.shown = location.hash;
}

/** Shows the newest rounds of the grid, which are at its right. */
function scrollGrid() {
  const grid = document.getElementById('grid');
  if (grid) grid.scrollLeft = grid.scrollWidth;
}

// ---- Being told ----

let announced = { text: '', at: 0, timer: 0 };

/** Says that the phase has changed: the last one, and not more often than somebody can listen. */
function announce(text) {
  if (text === announced.text) return;
  announced.text = text;
  clearTimeout(announced.timer);
  announced.timer = setTimeout(() => {
    announced.at = Date.now();
    document.getElementById('announced').textContent = clean(announced.text);
  }, Math.max(0, announced.at + ANNOUNCE_EVERY_MS - Date.now()));
}

/** Whether the round that is explained goes on. */
function isOpenRound() {
  const { key, value } = extra;
  return key.startsWith('round/') && value && !value.entries.some((it) => it.record.outcome && it.record.outcome.round_closed);
}

let loading = { busy: false, again: false, last: 0, timer: 0 };

async function answer(address) {
  const response = await fetch('api/' + address, { cache: 'no-store' });
  const value = await response.json();
  if (!response.ok) throw Object.assign(new Error(value.error || response.statusText), { told: true });
  return value;
}

async function ask(address) {
  try {
    const value = await answer(address);
    if (extra.key === address) extra.value = value;
  } catch (error) {
    if (extra.key === address) extra.error = error.message;
  }
  render();
}

async function load() {
  if (loading.busy) {
    loading.again = true;
    return;
  }
  loading.busy = true;
  const { experiment } = route();
  const rounds = chosen === 'all' ? MAX_IN_GRID : chosen;
  try {
    const value = await answer('state' + (experiment ? `?experiment=${encodeURIComponent(experiment)}&rounds=${rounds}` : ''));
    const first = !state || !state.shown || !value.shown || state.shown.experiment.name !== value.shown.experiment.name;
    state = { ...value, asked: experiment };
    offset = value.now_ms - Date.now();
    lost = null;
    const shown = value.shown;
    if (shown && !first) announce(`${shown.experiment.name}, round ${shown.experiment.round}: ${shown.phase.text}`);
    else if (shown) announced.text = `${shown.experiment.name}, round ${shown.experiment.round}: ${shown.phase.text}`;
    render();
    if (first) scrollGrid();
    if (isOpenRound()) ask(extra.key);
  } catch (error) {
    if (error.told && state) state = { ...state, asked: experiment, shown: null };
    else lost = lost || now();
    render();
  } finally {
    // Also where nothing could be drawn: it goes on with what comes next.
    loading.busy = false;
    loading.last = Date.now();
  }
  if (loading.again) {
    loading.again = false;
    soon();
  }
}

/** Loads what is new, not more often than anybody could read it, and not for a page that nobody sees. */
function soon() {
  if (document.hidden) {
    loading.again = true;
    return;
  }
  clearTimeout(loading.timer);
  loading.timer = setTimeout(load, Math.max(0, loading.last + RELOAD_EVERY_MS - Date.now()));
}

let events = null; // what tells of changes, while somebody sees the page
let retry = 0;

/** Is told of changes, unless nobody sees them: a browser has six connections to a server for all its tabs. */
function listen() {
  if (events || document.hidden) return;
  const source = new EventSource('api/events');
  events = source;
  source.addEventListener('changed', (event) => {
    if (!state || lost || JSON.parse(event.data).revision !== state.revision) soon();
  });
  // It is tried again by the browser, or here where that gives up.
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) {
      deafen();
      // Where too many listen it still answers what it is asked.
      retry = setTimeout(() => load().finally(listen), RETRY_EVERY_MS);
      return;
    }
    lost = lost || now();
    render();
  };
}

function deafen() {
  clearTimeout(retry);
  if (events) events.close();
  events = null;
}

// ---- What somebody does ----

function point(round) {
  cursor = round;
  const all = state && state.shown ? points(state.shown) : [];
  const at = all.findIndex((it) => it.round >= round);
  if (at < 0) return;
  if (at === all.length - 1) cursor = null;
  render();
  const slider = document.getElementById('cursor');
  if (slider) slider.value = at;
}

document.addEventListener('input', (event) => {
  if (event.target.id !== 'cursor') return;
  const it = points(state.shown)[Number(event.target.value)];
  if (it) point(it.round);
});
document.addEventListener('change', (event) => {
  if (event.target.id !== 'window') return;
  chosen = event.target.value;
  cursor = null;
  render();
  load();
});
document.addEventListener('pointermove', (event) => {
  const drawn = event.target.closest && event.target.closest('#scores > svg.chart');
  if (!drawn) return;
  const { left, width } = drawn.getBoundingClientRect();
  const [begin, end] = [Number(drawn.dataset.left), Number(drawn.dataset.right)];
  const x = ((event.clientX - left) / width) * Number(drawn.dataset.width);
  const [first, last] = [Number(drawn.dataset.first), Number(drawn.dataset.last)];
  const round = Math.round(first + ((x - begin) / (end - begin)) * (last - first));
  point(Math.min(last, Math.max(first, round)));
});
document.addEventListener('submit', (event) => {
  event.preventDefault();
  const asked = document.getElementById('q').value.trim();
  if (asked) location.hash = '#/search?q=' + encodeURIComponent(asked);
});
document.addEventListener('click', (event) => {
  if (!event.target.closest('[data-skip]')) return;
  event.preventDefault();
  document.getElementById('main').focus();
});
document.addEventListener('visibilitychange', () => {
  deafen();
  if (document.hidden) return;
  loading.again = false;
  load().finally(listen);
});
window.addEventListener('hashchange', () => {
  cursor = null;
  render();
  window.scrollTo(0, 0);
  document.getElementById('main').focus({ preventScroll: true });
  load();
});
window.addEventListener('resize', () => state && render());

setInterval(tick, 1000);
load().finally(listen);
