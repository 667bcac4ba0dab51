// The desk's page: one state, fed by server-sent events, painted at most once a frame.
// Every text from the stream is set as textContent, every link is checked to be http(s): news is untrusted input.

import { createScoreChart } from './chart.js';
import { NONE, capital, clock, day, duration, minute, percent, plural, rate, scientific, shortDay, signed, times, whole } from './format.js';

const POINTS_KEPT = 360;
const RATE_SECONDS_SHOWN = 300;
const LEAST_RATE_SECONDS_SHOWN = 60;
const TRANSITIONS_KEPT = 50;
// The server sends an update about once a second: a silence this long means a dead connection that TCP has not noticed yet.
const SILENCE_BEFORE_RECONNECT_MS = 15_000;
const SILENCE_BEFORE_WARNING_MS = 5_000;
const PAUSE_BEFORE_RECONNECT_MS = 3_000;
// Rows do not change places under a pointer that has just moved: a click would land on the wrong subject.
const SORT_HOLD_MS = 3_000;

// A window's mean rarely leaves this range: a sparkline over −1 to 1 would be flat.
const TREND_FULL_SCALE = 0.8;
const NARROW = matchMedia('(max-width: 760px)'); // as in page.css
const rowsShownPerGroup = () => (NARROW.matches ? 8 : 25);

const KINDS = [['market', 'Market'], ['group', 'Groups'], ['entity', 'Entities'], ['topic', 'Topics']];
const TRANSITIONS = { firing: 'Fired', escalated: 'Escalated', resolved: 'Resolved' };
const HEALTH = { ok: 'Healthy', starting: 'Starting', degraded: 'Degraded' };

const state = {
  head: null, // everything of the last message that is not listed below
  rate: [],
  subjects: new Map(),
  open: [],
  silent: {}, // alert id → since when its window has been empty
  waiting: {}, // what keeps alerts back → how many
  recent: [],
  selected: 'market',
  lastMessageAt: 0,
};

const element = id => document.getElementById(id);

// ---- small DOM help ----

// Writing only what changed keeps selections, screen readers and the layout quiet.
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function setScore(node, value) {
  const text = signed(value);
  setText(node, text);
  node.classList.toggle('is-negative', text.startsWith('−'));
  node.classList.toggle('is-positive', text.startsWith('+'));
}

// Moving a node drops the focus inside it.
function replaceKeepingFocus(parent, children) {
  const focused = document.activeElement;
  parent.replaceChildren(...children);
  if (focused !== document.activeElement && parent.contains(focused)) focused.focus({ preventScroll: true });
}

function fromTemplate(id) {
  const root = element(id).content.firstElementChild.cloneNode(true);
  const slots = {};
  for (const node of root.querySelectorAll('[data-slot]')) slots[node.dataset.slot] = node;
  return { root, slots };
}

function safeUrl(text) {
  try {
    const url = new URL(text);
    return url.protocol === 'https:' || url.protocol === 'http:' ? url.href : null;
  } catch {
    return null;
  }
}

const negativeShare = window => (window && window.count > 0 ? window.negative / window.count : null);

const hashOf = subject => `#${encodeURIComponent(subject).replaceAll('%3A', ':')}`;

function subjectOfHash() {
  try {
    return decodeURIComponent(location.hash.slice(1)) || 'market';
  } catch {
    return 'market';
  }
}

// ---- state ----

const newestFirst = (a, b) => Date.parse(b.at) - Date.parse(a.at) || b.sequence - a.sequence;
const transitionKey = alert => `${alert.id} ${alert.sequence}`;

function applySnapshot({ rate, subjects, alerts, ...head }) {
  state.head = head;
  state.rate = rate.slice(-RATE_SECONDS_SHOWN);
  state.subjects = new Map(subjects.map(subject => [subject.subject, { ...subject, points: subject.points.slice(-POINTS_KEPT), moved: true }]));
  takeAlerts(alerts);
  state.recent = [...alerts.recent].sort(newestFirst).slice(0, TRANSITIONS_KEPT);
  announce(alerts.open.length === 0 ? 'No open alerts.' : `${plural(alerts.open.length, 'open alert')}. ${alerts.open.map(alert => alert.why).join(' ')}`);
}

function applyUpdate({ rate_point: ratePoint, subjects, alerts, ...head }) {
  if (!state.head) return;
  Object.assign(state.head, head);
  if (ratePoint) {
    state.rate.push(ratePoint);
    if (state.rate.length > RATE_SECONDS_SHOWN) state.rate.shift();
  }
  for (const { points, ...news } of subjects) {
    const subject = state.subjects.get(news.subject) ?? { points: [] };
    Object.assign(subject, news, { moved: true });
    state.subjects.set(news.subject, subject);
    const last = subject.points.at(-1)?.t ?? -Infinity;
    subject.points = [...subject.points, ...points.filter(({ t }) => t > last)].slice(-POINTS_KEPT);
  }
  takeAlerts(alerts);
  const known = new Set(state.recent.map(transitionKey));
  const fresh = alerts.recent.filter(alert => !known.has(transitionKey(alert)));
  if (fresh.length > 0) {
    state.recent = [...fresh, ...state.recent].sort(newestFirst).slice(0, TRANSITIONS_KEPT);
    announce(fresh.map(alert => `${capital(alert.severity)} alert ${alert.transition}: ${alert.subject_name}. ${alert.why}`).join(' '));
  }
}

function takeAlerts({ open, silent, waiting }) {
  Object.assign(state, { open, silent, waiting });
}

function announce(text) {
  element('announcements').textContent = text;
}

// ---- connection ----

let source = null;
let reconnectTimer = 0;

function connect() {
  clearTimeout(reconnectTimer);
  source?.close();
  source = new EventSource('api/v1/events');
  source.addEventListener('snapshot', event => receive(applySnapshot, event));
  source.addEventListener('update', event => receive(applyUpdate, event));
  source.addEventListener('error', () => {
    setConnection('lost');
    // An answer other than 200 ends an EventSource for good, and does not say which it was; everything else it retries by itself.
    if (source.readyState === EventSource.CLOSED) {
      clearTimeout(reconnectTimer);
      reconnectTimer = setTimeout(connect, PAUSE_BEFORE_RECONNECT_MS);
      learnWhoAsks();
    }
  });
  // The silence is counted from here, so that a connection that never answers is tried again too.
  state.lastMessageAt = Date.now();
}

async function learnWhoAsks() {
  let answer;
  try {
    answer = await fetch('api/v1/session');
  } catch {
    return; // no connection, which is told by now
  }
  if (answer.status === 401) return endSession();
  if (!answer.ok) return;
  const { name, role, logged_in: loggedIn } = await answer.json();
  element('holder').hidden = !loggedIn;
  setText(element('holder-name'), name ? `${name}, ${role}` : '');
}

// What is on the screen stays there, with the time at which it was true; a page that has shown nothing yet goes to the form.
function endSession() {
  clearTimeout(reconnectTimer);
  source?.close();
  if (state.head) setConnection('ended');
  else location.replace('login');
}

function receive(apply, event) {
  apply(JSON.parse(event.data));
  state.lastMessageAt = Date.now();
  setConnection('live');
  // A hidden tab paints nothing, but its title still counts.
  document.title = state.open.length > 0 ? `(${state.open.length}) Bellwether` : 'Bellwether';
  schedulePaint();
}

function watchForSilence() {
  if (document.body.dataset.connection === 'ended') return;
  const silence = Date.now() - state.lastMessageAt;
  if (silence > SILENCE_BEFORE_RECONNECT_MS) {
    setConnection('lost');
    connect();
  } else if (silence > SILENCE_BEFORE_WARNING_MS && document.body.dataset.connection === 'live') {
    setConnection('silent');
  }
}

function setConnection(connection) {
  if (document.body.dataset.connection === connection) return;
  document.body.dataset.connection = connection;
  const asOf = state.head ? ` Everything below stands as of ${clock(state.head.now)} UTC.` : '';
  const messages = { lost: `Connection lost. Reconnecting…${asOf}`, silent: `No update for ${SILENCE_BEFORE_WARNING_MS / 1000} seconds.${asOf}` };
  setText(element('connection'), messages[connection] ?? '');
  if (connection === 'ended') {
    const link = document.createElement('a');
    link.href = 'login';
    link.textContent = 'Log in again';
    element('connection').replaceChildren('The session has ended. ', link, `.${asOf}`);
  }
}

// ---- painting ----

let paintScheduled = false;

function schedulePaint() {
  if (paintScheduled) return;
  paintScheduled = true;
  requestAnimationFrame(() => {
    paintScheduled = false;
    if (!state.head) return;
    paintHead();
    paintRate();
    paintAlerts();
    paintRecent();
    paintSubjects();
    paintSelected();
  });
}

function paintHead() {
  const { health, model, event_time: eventTime } = state.head;
  element('health').dataset.state = health.state;
  setText(element('health-state'), HEALTH[health.state] ?? health.state);
  setText(element('health-reasons'), health.reasons.join('; '));
  setText(element('event-time'), eventTime ? clock(eventTime) : '––:––:––');
  if (eventTime) element('event-time').dateTime = eventTime;
  setText(element('event-date'), eventTime ? `UTC ${day(eventTime)}` : 'UTC');
  setText(element('model'), model ? `${model.name} ${model.version} on ${model.device}` : 'none loaded yet');
  setText(element('items-per-second'), rate(health.items_per_second));
  setText(element('items-total'), whole(health.items_total));
  setText(element('dead-total'), whole(health.dead_total));
  setText(element('late-total'), whole(health.late_total));
  setText(element('consumer-lag'), whole(health.consumer_lag));
  setText(element('watermark-lag'), duration(health.watermark_lag_seconds));
  setText(element('window-length'), `last ${duration(state.head.window_seconds)}`);
  setText(element('version'), `Bellwether ${state.head.version}, role ${state.head.role}`);
}

function paintRate() {
  const points = state.rate;
  const svg = element('rate-chart');
  const peak = points.reduce((most, point) => Math.max(most, point.v), 0);
  setText(element('rate-peak'), peak > 0 ? `peak ${rate(peak)}` : '');
  const now = points.at(-1)?.t ?? 0;
  const span = Math.max(LEAST_RATE_SECONDS_SHOWN, (now - (points[0]?.t ?? now)) / 1000);
  const line = (peak > 0 ? points : [])
    .map(({ t, v }) => [300 - (0.3 * (now - t)) / span, 30 - (28 * v) / Math.max(peak, 1)])
    .filter(([x]) => x >= 0)
    .map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`);
  const first = line[0]?.split(' ')[0] ?? 0;
  svg.querySelector('.line').setAttribute('d', line.length > 1 ? `M${line.join('L')}` : '');
  svg.querySelector('.area').setAttribute('d', line.length > 1 ? `M${first} 32L${line.join('L')}V32Z` : '');
}

// -- alerts --

const alertCards = new Map(); // alert id → { key, root, slots, details, detailsChosen }
const SEVERITIES = ['critical', 'warning'];

function paintAlerts() {
  const list = element('alert-list');
  const open = [...state.open].sort((a, b) => SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity) || newestFirst(a, b));
  const ids = new Set(open.map(alert => alert.id));
  for (const id of alertCards.keys()) if (!ids.has(id)) alertCards.delete(id);

  // Many alerts show their details on demand only, so that the screen names as many of them as it can.
  const detailsShown = open.length <= (NARROW.matches ? 1 : 2);
  let changed = false;
  open.forEach(alert => {
    const card = alertCards.get(alert.id) ?? {};
    if (card.key !== transitionKey(alert)) {
      Object.assign(card, alertCard(alert), { key: transitionKey(alert) });
      card.slots['details-summary'].addEventListener('click', () => { card.detailsChosen = !card.details.open; });
      alertCards.set(alert.id, card);
      changed = true;
    }
    card.details.open = card.detailsChosen ?? detailsShown;
    // The alert's partition may be ahead of the slowest one, whose event time the head shows.
    const now = Math.max(Date.parse(state.head.event_time ?? alert.at), Date.parse(alert.at));
    const seconds = (now - Date.parse(alert.started_at)) / 1000;
    setText(card.slots.since, `since ${minute(alert.started_at)}${seconds > 0 ? ` (${duration(seconds)})` : ''}`);
    const silentSince = state.silent[alert.id];
    card.slots.silent.hidden = !silentSince;
    setText(card.slots.silent, silentSince ? `No items in its window since ${minute(silentSince)}: not resolved, but unknown.` : '');
  });
  setText(element('alerts-count'), open.length > 0 ? String(open.length) : '');
  document.body.dataset.alerts = open.some(alert => alert.severity === 'critical') ? 'critical' : open.length > 0 ? 'warning' : 'none';
  if (changed || list.childElementCount !== open.length) replaceKeepingFocus(list, open.map(alert => alertCards.get(alert.id).root));
  const reasons = { market: 'while the market’s alert is open', quiet_hours: 'for the end of quiet hours' };
  const waiting = Object.entries(state.waiting).filter(([, count]) => count > 0).map(([reason, count]) => `${plural(count, 'alert')} ${count === 1 ? 'waits' : 'wait'} ${reasons[reason] ?? reason}`);
  element('alerts-waiting').hidden = waiting.length === 0;
  setText(element('alerts-waiting'), waiting.length > 0 ? `${waiting.join('; ')}.` : '');
  const quiet = element('alerts-quiet');
  quiet.hidden = open.length > 0;
  setText(quiet, `No open alerts.${state.subjects.size > 0 ? ` Watching ${plural(state.subjects.size, 'subject')}.` : ''}`);
}

function alertCard(alert) {
  const { root, slots } = fromTemplate('alert-template');
  const { window, baseline, evidence, threshold, members } = alert;
  root.dataset.severity = alert.severity;
  setText(slots.severity, capital(alert.severity));
  slots.subject.href = hashOf(alert.subject);
  setText(slots.subject, alert.subject_name);
  setText(slots.why, alert.why);
  slots.single.hidden = !alert.single_source;
  slots.members.hidden = members.length === 0;
  if (members.length > 0) slots.members.replaceChildren('Members: ', ...members.flatMap((member, index) => [index > 0 ? ', ' : '', memberLink(member)]));
  setText(slots.negative, `${whole(window.negative)} of ${whole(window.count)}`);
  setText(slots.novel, whole(window.novel_negative));
  setScore(slots.mean, window.mean_score);
  setText(slots.sources, whole(window.sources));
  setText(slots.expected, baseline ? String(Number(baseline.expected_negative.toPrecision(2))) : NONE);
  slots.expected.title = baseline ? `negative items expected from ${Math.round(baseline.history_hours)} hours of history` : 'no baseline';
  setText(slots['threshold-name'], alert.p_value == null ? 'Threshold' : 'p-value');
  const limit = threshold.name.includes('share') ? percent(threshold.value) : threshold.name.endsWith('score') ? signed(threshold.value) : scientific(threshold.value);
  setText(slots.threshold, alert.p_value == null ? limit : scientific(alert.p_value));
  slots.threshold.title = `rule ${alert.rule} (${alert.condition}), ${threshold.name.replaceAll('_', ' ')} ${limit}`;
  const [worst, ...others] = evidence.map(evidenceItem); // most negative first
  if (worst) slots.worst.append(worst);
  slots.evidence.append(...others);
  setText(slots['details-summary'], `Figures${others.length > 0 ? ` and ${plural(others.length, 'more item')}` : ''}, rule ${alert.rule}`);
  return { root, slots, details: root.querySelector('details') };
}

function memberLink({ subject, subject_name: name, novel_negative: count }) {
  const link = document.createElement('a');
  link.href = hashOf(subject);
  link.textContent = `${name} (${whole(count)})`;
  return link;
}

function evidenceItem(item) {
  const { root, slots } = fromTemplate('evidence-template');
  setScore(slots.score, item.score);
  const url = item.url ? safeUrl(item.url) : null;
  const title = !item.title ? '(no title)' : item.title.startsWith('enc:') ? '(an encrypted headline)' : item.title;
  if (url) {
    const link = document.createElement('a');
    link.href = url;
    link.target = '_blank';
    link.rel = 'noopener noreferrer';
    link.append(...headline(title, item.explanation));
    slots.title.replaceWith(link);
  } else {
    slots.title.replaceChildren(...headline(title, item.explanation));
  }
  const spread = item.copies > 0 ? `, told ${whole(item.copies + 1)} times by ${plural(item.sources, 'source')} since ${minute(item.first_seen)}` : '';
  setText(slots.origin, `${item.source ?? 'unknown source'}, ${minute(item.published_at)}${spread}`);
  return root;
}

// The headline, with the words that speak most for its sentiment marked, in three strengths.
function headline(title, explanation) {
  if (!explanation) return [title];
  const most = Math.max(...explanation.words.map(word => word.sentiment), 0.1);
  const parts = [];
  let from = 0;
  for (const { word, sentiment } of explanation.words) {
    const at = title.indexOf(word, from);
    const strength = [0.15, 0.4, 0.7].filter(least => sentiment / most >= least).length;
    if (at < 0 || strength === 0) continue;
    const mark = document.createElement('mark');
    mark.textContent = word;
    mark.dataset.strength = strength;
    mark.dataset.sentiment = explanation.sentiment;
    mark.title = `${signed(sentiment)} to the log-odds of ${explanation.sentiment}`;
    parts.push(title.slice(from, at), mark);
    from = at + word.length;
  }
  return [...parts, title.slice(from)];
}

let recentPainted = null;

function paintRecent() {
  if (recentPainted === state.recent) return; // the list is replaced, never edited
  recentPainted = state.recent;
  const today = state.head.event_time ? day(state.head.event_time) : '';
  element('recent-list').replaceChildren(...state.recent.map(alert => {
    const { root, slots } = fromTemplate('recent-template');
    root.dataset.transition = alert.transition;
    root.dataset.severity = alert.severity;
    slots.at.dateTime = alert.at;
    setText(slots.at, minute(alert.at));
    slots.at.title = `${day(alert.at)} ${clock(alert.at)} UTC`;
    setText(slots.transition, TRANSITIONS[alert.transition] ?? alert.transition);
    slots.subject.href = hashOf(alert.subject);
    setText(slots.subject, alert.subject_name);
    root.title = alert.why;
    const figures = alert.window.count > 0 ? `${whole(alert.window.negative)} of ${whole(alert.window.count)}` : 'no items';
    setText(slots.figures, `${alert.severity}, ${day(alert.at) === today ? figures : shortDay(alert.at)}`);
    return root;
  }));
  element('recent-empty').hidden = state.recent.length > 0;
}

// -- subjects --

const subjectRows = new Map(); // subject → { root, slots }
const groupBodies = new Map(); // kind → tbody
const kindsShownWhole = new Set();
let pointerMovedAt = -Infinity;
let trendPainted = {};

function paintSubjects() {
  const severity = new Map();
  for (const alert of state.open) if (severity.get(alert.subject) !== 'critical') severity.set(alert.subject, alert.severity);
  const trend = trendRange();
  const rescaled = trend.first !== trendPainted.first || trend.span !== trendPainted.span;
  trendPainted = trend;
  for (const name of subjectRows.keys()) if (!state.subjects.has(name)) subjectRows.delete(name);
  for (const subject of state.subjects.values()) {
    const row = subjectRows.get(subject.subject) ?? subjectRow(subject.subject);
    if (subject.moved || rescaled) paintSubjectRow(row, subject, trend);
    subject.moved = false;
    const flag = severity.get(subject.subject);
    row.root.dataset.severity = flag ?? '';
    setText(row.slots.flag, flag ? `${flag} alert` : '');
    if (subject.subject === state.selected) row.slots.name.setAttribute('aria-current', 'true');
    else row.slots.name.removeAttribute('aria-current');
  }
  if (performance.now() - pointerMovedAt > SORT_HOLD_MS) sortSubjects();
  element('subjects-empty').hidden = state.subjects.size > 0;
}

// With an open alert first, the gravest on top; then the most negative.
function sortSubjects() {
  const gravity = ({ subject }) => ['', 'warning', 'critical'].indexOf(subjectRows.get(subject).root.dataset.severity);
  for (const [kind, title] of KINDS) {
    const order = [...state.subjects.values()]
      .filter(subject => subject.kind === kind)
      .sort((a, b) => gravity(b) - gravity(a) || (a.window?.mean_score ?? 2) - (b.window?.mean_score ?? 2) || a.name.localeCompare(b.name));
    const shown = kindsShownWhole.has(kind) ? order : order.slice(0, rowsShownPerGroup());
    const body = groupBodies.get(kind) ?? groupBody(kind, title);
    const rows = shown.map(subject => subjectRows.get(subject.subject).root);
    body.root.hidden = order.length === 0;
    const old = body.rows;
    if (old.length !== rows.length || rows.some((row, index) => row !== old[index])) {
      replaceKeepingFocus(body.root, [...body.heading, ...rows, body.more]);
      body.rows = rows;
    }
    body.more.hidden = order.length === shown.length;
    setText(body.more.querySelector('button'), `Show all ${order.length}`);
  }
}

function groupBody(kind, title) {
  const root = element('subjects').createTBody();
  // The market is one row: a heading above it would only repeat its name.
  const heading = [];
  if (kind !== 'market') {
    const row = document.createElement('tr');
    const cell = document.createElement('th');
    Object.assign(cell, { colSpan: 5, scope: 'rowgroup', className: 'group', textContent: title });
    row.append(cell);
    heading.push(row);
  }
  const more = document.createElement('tr');
  const button = document.createElement('button');
  button.type = 'button';
  button.addEventListener('click', () => {
    kindsShownWhole.add(kind);
    sortSubjects();
  });
  const cell = more.insertCell();
  cell.colSpan = 5;
  cell.append(button);
  const body = { root, heading, more, rows: [] };
  groupBodies.set(kind, body);
  return body;
}

function subjectRow(subject) {
  const row = fromTemplate('subject-template');
  row.slots.name.href = hashOf(subject);
  row.root.addEventListener('click', event => {
    if (!event.target.closest('a')) location.hash = hashOf(subject);
  });
  subjectRows.set(subject, row);
  return row;
}

function paintSubjectRow({ root, slots }, { name, window, points }, trend) {
  setText(slots.name, name);
  root.classList.toggle('is-empty', !window || window.count === 0);
  setScore(slots.mean, window?.mean_score);
  root.querySelector('.bar').style.setProperty('--mean', String(window?.mean_score ?? 0));
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
  return { first, span: Math.max(last - first, state.head.window_seconds * 1000) };
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

// -- the selected subject --

function paintSelected() {
  const subject = state.subjects.get(state.selected);
  const window = subject?.window;
  setText(element('subject-heading'), subject?.name ?? (state.selected === 'market' ? 'Market' : state.selected));
  const alerts = state.open.filter(({ subject: name }) => name === state.selected);
  const alert = alerts.find(({ severity }) => severity === 'critical') ?? alerts[0];
  element('subject-kind').dataset.severity = alert?.severity ?? '';
  setText(element('subject-kind'), alert ? `${alert.severity} alert` : subject && subject.kind !== 'market' ? subject.kind : '');
  setScore(element('subject-mean'), window?.mean_score);
  setText(element('subject-share'), percent(negativeShare(window)));
  setText(element('subject-count'), whole(window?.count));
  setScore(element('subject-index'), subject?.index);
  setText(element('subject-buzz'), times(subject?.buzz));
  const mix = element('subject-mix');
  const labels = ['negative', 'neutral', 'positive'];
  for (const label of labels) mix.querySelector(`.${label}`).style.flexGrow = String(window?.[label] ?? 0);
  mix.setAttribute('aria-label', window ? labels.map(label => `${window[label]} ${label}`).join(', ') : 'No items');
  const empty = element('chart-empty');
  empty.hidden = (subject?.points.length ?? 0) > 0;
  setText(empty, subject || state.selected === 'market' ? 'Nothing to draw yet: the first window has not closed.' : 'Nothing is known about this subject.');
  scoreChart?.show(subject?.points ?? [], transitionsOf(state.selected), state.head.window_seconds);
}

function transitionsOf(subject) {
  const all = new Map([...state.recent, ...state.open].map(alert => [transitionKey(alert), alert]));
  return [...all.values()].filter(alert => alert.subject === subject).sort(newestFirst).reverse();
}

// ---- start ----

const scoreChart = createScoreChart(element('chart'), element('legend'));

function select(scroll) {
  state.selected = subjectOfHash();
  schedulePaint();
  // On a narrow screen the chart may be far above the row that was chosen.
  if (scroll && NARROW.matches) element('subject-panel').scrollIntoView();
}

addEventListener('hashchange', () => select(true));
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  scoreChart?.recolour();
  schedulePaint();
});
element('subjects').addEventListener('pointermove', () => { pointerMovedAt = performance.now(); });
element('subjects').addEventListener('keydown', event => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  const links = [...element('subjects').querySelectorAll('a')];
  links[links.indexOf(document.activeElement) + step]?.focus();
  event.preventDefault();
});
setInterval(watchForSilence, 1000);
select(false);
connect();
learnWhoAsks();
