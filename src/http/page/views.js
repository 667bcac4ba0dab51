// The other views: the tape, a text that is tried, and how the process is.

import { element, fromTemplate, hashOf, marked, note, putHeadline, setChildren, setScore, setText } from './dom.js';
import { NONE, clock, duration, percent, rate, signed, whole } from './format.js';
import { state } from './store.js';
import { current, say } from './words.js';

const LEAST_RATE_SECONDS_SHOWN = 60;
const STATUS_EVERY_MS = 2_000;
const SENTIMENTS = ['negative', 'neutral', 'positive'];

// ---- the tape ----

const items = new WeakMap(); // item → { root, language }
let paused = null; // the tape as it was then

export function paintTape() {
  const tape = paused ?? state.tape;
  const wanted = element('tape-filter').value.trim().toLocaleLowerCase();
  const sentiment = element('tape-sentiment').value;
  const has = item => `${item.title ?? ''} ${item.source ?? ''} ${item.topic}`.toLocaleLowerCase().includes(wanted);
  const shown = tape.filter(item => (!sentiment || item.sentiment === sentiment) && has(item));
  setChildren(element('tape-list'), shown.map(tapeRow).reverse());
  setText(element('tape-count'), tape.length > 0 ? say('tape_count', { shown: whole(shown.length), n: whole(tape.length) }) : '');
  note(element('tape-empty'), shown.length > 0 ? '' : say(tape.length > 0 ? 'tape_none' : 'tape_empty'));
}

function tapeRow(item) {
  const kept = items.get(item);
  if (kept?.language === current()) return kept.root;
  const { root, slots } = fromTemplate('tape-template');
  root.dataset.sentiment = item.sentiment;
  slots.at.dateTime = item.at;
  setText(slots.at, clock(item.at));
  setScore(slots.score, item.score);
  putHeadline(slots.title, item);
  setText(slots.origin, item.source ?? say('unknown_source'));
  slots.topic.href = hashOf(`topic:${item.topic}`);
  setText(slots.topic, item.topic);
  items.set(item, { root, language: current() });
  return root;
}

function pauseOrGoOn() {
  paused = paused ? null : state.tape;
  const button = element('tape-pause');
  button.setAttribute('aria-pressed', String(paused !== null));
  button.dataset.word = paused ? 'go_on' : 'pause';
  setText(button, say(button.dataset.word));
}

// ---- a text that is tried ----

let reading = null;

export function paintReading() {
  if (!reading) return;
  const { root, slots } = fromTemplate('reading-template');
  const { sentiment, topic, words, subjects, masked, model, text } = reading;
  const label = say(`${sentiment.label}_word`);
  slots.sentiment.dataset.sentiment = sentiment.label;
  setText(slots.sentiment, `${label} ${percent(sentiment.probabilities[sentiment.label])} (${signed(sentiment.score)})`);
  slots.topic.href = hashOf(`topic:${topic.label}`);
  setText(slots.topic, `${topic.label} ${percent(topic.probability)}`);
  slots.words.replaceChildren(...marked(text, words, sentiment.label, true));
  setText(slots['for-it'], say('for_it', { label }));
  setText(slots['against-it'], say('against_it'));
  const topics = Object.entries(topic.probabilities).sort(([, a], [, b]) => b - a).slice(0, 3);
  const bars = [...SENTIMENTS.map(name => [say(`${name}_word`), sentiment.probabilities[name], name]), ...topics.map(([name, share]) => [name, share, 'topic'])];
  slots.bars.append(...bars.map(bar));
  slots.subjects.replaceChildren(...subjects.flatMap(({ subject, name }, place) => [place > 0 ? ', ' : '', subjectLink(subject, subject === 'market' ? say('market') : name)]));
  const kinds = Object.entries(masked).map(([kind, count]) => `${kind} ${whole(count)}`).join(', ');
  setText(slots.masked, kinds || say('masked_none'));
  setText(slots.model, `${model.name} ${model.version}`);
  element('try-answer').replaceChildren(root);
}

function bar([name, share, kind]) {
  const row = document.createElement('div');
  const [term, value, fill] = ['dt', 'dd', 'i'].map(tag => document.createElement(tag));
  term.textContent = name;
  fill.style.setProperty('--share', String(share));
  fill.dataset.sentiment = kind;
  value.append(fill, percent(share));
  row.append(term, value);
  return row;
}

function subjectLink(subject, text) {
  const made = document.createElement('a');
  made.href = hashOf(subject);
  made.textContent = text;
  return made;
}

async function tryText(event) {
  event.preventDefault();
  const button = element('try-form').querySelector('button');
  button.disabled = true;
  note(element('try-refused'), '');
  setText(button, say('reading'));
  try {
    const body = JSON.stringify({ text: element('try-text').value });
    const answer = await fetch('api/v1/classify', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
    const told = await answer.json();
    if (answer.ok) {
      reading = told;
      paintReading();
    } else {
      note(element('try-refused'), say('failed', { error: told.error }));
    }
  } catch {
    note(element('try-refused'), say('failed', { error: say('no_answer') }));
  }
  button.disabled = false;
  setText(button, say('read'));
}

// ---- health ----

let status = null;
let askedAt = -Infinity;

export function paintHealth() {
  const { health, model, version, role } = state.head;
  element('state-line').dataset.state = health.state;
  setText(element('state-line'), say(health.state));
  const reasons = health.reasons.length > 0 ? health.reasons : [say('nothing_wrong')];
  element('health-reasons').replaceChildren(...reasons.map(text => Object.assign(document.createElement('li'), { textContent: text })));
  setText(element('items-per-second'), rate(health.items_per_second));
  setText(element('items-total'), whole(health.items_total));
  setText(element('dead-total'), whole(health.dead_total));
  setText(element('late-total'), whole(health.late_total));
  setText(element('consumer-lag'), whole(health.consumer_lag));
  setText(element('watermark-lag'), duration(health.watermark_lag_seconds));
  setText(element('model'), model ? say('on_device', model) : say('none_loaded'));
  setText(element('version'), `${version}, ${role}`);
  setText(element('config-version'), status?.config_version ?? NONE);
  paintRate();
  if (performance.now() - askedAt > STATUS_EVERY_MS) askStatus();
}

async function askStatus() {
  askedAt = performance.now();
  try {
    const answer = await fetch('status');
    if (!answer.ok) return;
    status = await answer.json();
  } catch {
    return; // the stream tells that the server is gone
  }
  const figures = role => [role.partitions, role.records_total, role.consumer_lag, role.commits_total, role.failed_commits_total];
  element('roles').replaceChildren(...Object.entries(status.roles).map(([name, role]) => tableRow(name, figures(role))));
  element('dead-letters').replaceChildren(...Object.entries(status.dead_letters).map(([reason, count]) => tableRow(reason.replaceAll('_', ' '), [count])));
}

function tableRow(name, numbers) {
  const row = document.createElement('tr');
  const head = document.createElement('th');
  head.scope = 'row';
  head.textContent = name;
  row.append(head);
  for (const number of numbers) Object.assign(row.insertCell(), { className: 'number', textContent: whole(number) });
  return row;
}

function paintRate() {
  const points = state.rate;
  const svg = element('rate-chart');
  const peak = points.reduce((most, point) => Math.max(most, point.v), 0);
  setText(element('rate-peak'), peak > 0 ? say('peak', { rate: rate(peak) }) : '');
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

/** `changed` is called where another part of the tape is wanted. */
export function listenToViews(changed) {
  for (const field of [element('tape-filter'), element('tape-sentiment')]) field.addEventListener('input', changed);
  element('tape-pause').addEventListener('click', () => {
    pauseOrGoOn();
    changed();
  });
  element('try-form').addEventListener('submit', tryText);
}
