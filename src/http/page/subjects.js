// The table of subjects, and the one that is looked at.

import { NARROW, element, fromTemplate, hashOf, note, setChildren, setScore, setText } from './dom.js';
import { duration, percent, times, whole } from './format.js';
import { silenced, transitionItem } from './alerts.js';
import { changeOf, negativeShare, newestFirst, state, transitionsOf } from './store.js';
import { current, say } from './words.js';

const rowsShown = () => (NARROW.matches ? 12 : 40);
// Rows do not change places under a pointer that has just moved: a click would land on the wrong subject.
const SORT_HOLD_MS = 3_000;
// A window's mean rarely leaves this range: a sparkline over −1 to 1 would be flat.
const TREND_FULL_SCALE = 0.8;

// By column: what is sorted by, the greatest first.
const ORDERS = {
  change: ({ change }) => (change == null ? -1 : Math.abs(change)),
  mean: subject => -(subject.window?.mean_score ?? 2),
  share: subject => negativeShare(subject.window) ?? -1,
  count: subject => subject.window?.count ?? 0,
  name: () => 0,
};

const rows = new Map(); // subject → { root, slots }
let order = 'change';
let allShown = false;
let pointerMovedAt = -Infinity;
let sortedAs = '';
let trendPainted = {};

export function paintSubjects(selected) {
  const severity = new Map();
  for (const alert of state.open) if (severity.get(alert.subject) !== 'critical') severity.set(alert.subject, alert.severity);
  const trend = trendRange();
  const anew = trend.first !== trendPainted.first || trend.span !== trendPainted.span || trend.language !== trendPainted.language;
  trendPainted = trend;
  setText(element('window-length'), say('last_window', { duration: duration(state.head.window_seconds) }));
  for (const name of rows.keys()) if (!state.subjects.has(name)) rows.delete(name);
  for (const subject of state.subjects.values()) {
    const row = rows.get(subject.subject) ?? newRow(subject.subject);
    if (subject.moved || anew) {
      subject.change = changeOf(subject, state.head.window_seconds);
      paintRow(row, subject, trend);
    }
    subject.moved = false;
    const flag = severity.get(subject.subject);
    row.root.dataset.severity = flag ?? '';
    setText(row.slots.flag, flag ? say(`${flag}_alert`) : '');
    if (subject.subject === selected) row.slots.name.setAttribute('aria-current', 'true');
    else row.slots.name.removeAttribute('aria-current');
  }
  sortRows();
}

function sortRows() {
  const wanted = element('find').value.trim().toLocaleLowerCase();
  const kind = element('kind').value;
  const asked = [order, wanted, kind, allShown].join(' ');
  if (asked === sortedAs && performance.now() - pointerMovedAt < SORT_HOLD_MS) return;
  sortedAs = asked;
  const found = [...state.subjects.values()]
    .filter(subject => (!kind || subject.kind === kind) && `${subject.name} ${subject.subject}`.toLocaleLowerCase().includes(wanted))
    // The market stands above all it is made of.
    .sort((a, b) => (b.kind === 'market') - (a.kind === 'market') || ORDERS[order](b) - ORDERS[order](a) || a.name.localeCompare(b.name));
  const shown = allShown ? found : found.slice(0, rowsShown());
  setChildren(element('subject-rows'), shown.map(subject => rows.get(subject.subject).root));
  element('subjects-more').hidden = shown.length === found.length;
  setText(element('subjects-more').firstElementChild, say('show_all', { n: whole(found.length) }));
  note(element('subjects-empty'), found.length > 0 ? '' : say(state.subjects.size > 0 ? 'none_found' : 'no_subjects'));
  for (const head of element('subjects').querySelectorAll('th[data-sort]')) {
    const chosen = head.dataset.sort === order;
    if (chosen) head.setAttribute('aria-sort', order === 'name' || order === 'mean' ? 'ascending' : 'descending');
    else head.removeAttribute('aria-sort');
  }
}

function newRow(subject) {
  const row = fromTemplate('subject-template');
  row.slots.name.href = hashOf(subject);
  row.root.addEventListener('click', event => {
    if (!event.target.closest('a')) row.slots.name.click();
  });
  rows.set(subject, row);
  return row;
}

function paintRow({ root, slots }, { name, kind, window, points, change }, trend) {
  setText(slots.name, kind === 'market' ? say('market') : name);
  slots.name.title = say(kind);
  root.classList.toggle('is-empty', !window || window.count === 0);
  setScore(slots.change, change);
  setScore(slots.mean, window?.mean_score);
  setText(slots.share, percent(negativeShare(window)));
  setText(slots.count, whole(window?.count));
  const { line, area } = sparkline(points, trend);
  root.querySelector('.line').setAttribute('d', line);
  root.querySelector('.area').setAttribute('d', area);
}

// All sparklines share one span of event time, so that rows can be compared. It begins with the market's, which has the
// densest points, and ends with the newest of all: partitions do not move in step.
function trendRange() {
  const first = state.subjects.get('market')?.points[0]?.t ?? 0;
  const last = Math.max(first, ...[...state.subjects.values()].map(({ points }) => points.at(-1)?.t ?? 0));
  return { first, span: Math.max(last - first, state.head.window_seconds * 1000), language: current() };
}

function sparkline(points, { first, span }) {
  const runs = [[]];
  for (const { t, mean } of points) {
    if (t < first) continue;
    if (mean == null) runs.push([]);
    else runs.at(-1).push([(100 * (t - first)) / span, 10 - 9.5 * Math.max(-1, Math.min(1, mean / TREND_FULL_SCALE))]);
  }
  const drawn = runs.filter(run => run.length > 1);
  const path = run => run.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join('L');
  return {
    line: drawn.map(run => `M${path(run)}`).join(''),
    area: drawn.map(run => `M${run[0][0].toFixed(1)} 10L${path(run)}V10Z`).join(''),
  };
}

// ---- the one that is looked at ----

export function paintSelected(selected, chart) {
  const subject = state.subjects.get(selected);
  const window = subject?.window;
  setText(element('subject-heading'), selected === 'market' ? say('market') : subject?.name ?? selected);
  const of = state.open.filter(({ subject: name }) => name === selected);
  const alert = of.find(({ severity }) => severity === 'critical') ?? of[0];
  element('subject-kind').dataset.severity = alert?.severity ?? '';
  setText(element('subject-kind'), alert ? say(`${alert.severity}_alert`) : subject && subject.kind !== 'market' ? say(subject.kind) : '');
  setScore(element('subject-mean'), window?.mean_score);
  setText(element('subject-share'), percent(negativeShare(window)));
  setText(element('subject-count'), whole(window?.count));
  setScore(element('subject-index'), subject?.index);
  setText(element('subject-buzz'), times(subject?.buzz));
  const mix = element('subject-mix');
  const labels = ['negative', 'neutral', 'positive'];
  for (const label of labels) mix.querySelector(`.${label}`).style.flexGrow = String(window?.[label] ?? 0);
  mix.setAttribute('aria-label', window ? say('mix', window) : say('no_items'));
  const silence = state.silences.get(selected);
  note(element('subject-silenced'), silence && silenced(silence));
  const empty = (subject?.points.length ?? 0) === 0;
  note(element('chart-empty'), empty ? say(subject || selected === 'market' ? 'nothing_to_draw' : 'unknown_subject') : '');
  const transitions = transitionsOf(({ subject: name }) => name === selected);
  chart?.show(subject?.points ?? [], transitions, state.head.window_seconds);
  paintTransitions(selected, transitions);
}

let transitionsPainted = '';

function paintTransitions(selected, transitions) {
  const key = [selected, current(), ...transitions.map(alert => `${alert.id} ${alert.sequence}`)].join('\n');
  if (key === transitionsPainted) return;
  transitionsPainted = key;
  element('subject-alerts').replaceChildren(...transitions.sort(newestFirst).map(alert => transitionItem(alert, false)));
  element('subject-alerts-none').hidden = transitions.length > 0;
}

/** `changed` is called where the order or what is shown has been chosen anew. */
export function listenToSubjects(changed) {
  element('subjects').addEventListener('pointermove', () => { pointerMovedAt = performance.now(); });
  element('subjects').addEventListener('keydown', event => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const links = [...element('subject-rows').querySelectorAll('a')];
    links[links.indexOf(document.activeElement) + step]?.focus();
    event.preventDefault();
  });
  for (const head of element('subjects').querySelectorAll('th[data-sort]')) {
    head.querySelector('button').addEventListener('click', () => {
      order = head.dataset.sort;
      changed();
    });
  }
  element('subjects-more').firstElementChild.addEventListener('click', () => {
    allShown = true;
    changed();
  });
  for (const field of [element('find'), element('kind')]) field.addEventListener('input', changed);
}

