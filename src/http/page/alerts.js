// Open alerts, one alert with all that is known of it and what operators do about it, and the last transitions.

import { NARROW, element, fromTemplate, hashOf, hashOfAlert, note, putHeadline, setChildren, setScore, setText } from './dom.js';
import { NONE, clock, counted, day, duration, few, minute, nameOf, percent, scientific, shortDay, signed, whole } from './format.js';
import { meaningOf, whyOf } from './why.js';
import { newestFirst, state, transitionKey, transitionsOf } from './store.js';
import { current, say } from './words.js';

const SEVERITIES = ['critical', 'warning'];
const HOURS = [1, 4, 12, 24, 72];
const MEMBERS_ON_CARD = 4;

// ---- the list ----

const cards = new Map(); // alert id → { key, root, slots }

export function paintAlerts() {
  // What nobody has looked at yet comes first, and of that the gravest.
  const rank = alert => [state.acknowledgements.has(alert.id) ? 1 : 0, SEVERITIES.indexOf(alert.severity)];
  const order = (a, b) => rank(a)[0] - rank(b)[0] || rank(a)[1] - rank(b)[1] || newestFirst(a, b);
  const open = [...state.open].sort(order);
  const ids = new Set(open.map(alert => alert.id));
  for (const id of cards.keys()) if (!ids.has(id)) cards.delete(id);
  for (const alert of open) {
    const card = cards.get(alert.id) ?? {};
    const key = `${transitionKey(alert)} ${current()}`;
    if (card.key !== key) {
      Object.assign(card, alertCard(alert), { key });
      cards.set(alert.id, card);
    }
    setText(card.slots.since, sinceOf(alert));
    note(card.slots.standing, standingOf(alert).join(' · '));
    note(card.slots.silent, silenceOf(alert));
    card.root.dataset.acknowledged = state.acknowledgements.has(alert.id);
  }
  setText(element('alerts-count'), open.length > 0 ? String(open.length) : '');
  document.body.dataset.alerts = open.some(alert => alert.severity === 'critical') ? 'critical' : open.length > 0 ? 'warning' : 'none';
  setChildren(element('alert-list'), open.map(alert => cards.get(alert.id).root));
  const waiting = Object.entries(state.waiting).filter(([, count]) => count > 0);
  note(element('alerts-waiting'), waiting.map(([reason, count]) => counted(`wait_${reason}`, count)).join(' '));
  const watching = state.subjects.size > 0 ? ` ${counted('watching', state.subjects.size)}` : '';
  note(element('alerts-quiet'), open.length > 0 ? '' : `${say('no_open_alerts')}${watching}`);
}

function alertCard(alert) {
  const { root, slots } = fromTemplate('alert-template');
  root.dataset.severity = alert.severity;
  setText(slots.severity, say(alert.severity));
  slots.subject.href = hashOfAlert(alert.id);
  setText(slots.subject, nameOf(alert));
  setText(slots.why, whyOf(alert));
  // Most negative first.
  slots.worst.append(...alert.evidence.slice(0, 1).map(item => evidenceItem(item, alert)));
  root.addEventListener('click', event => {
    if (!event.target.closest('a')) slots.subject.click();
  });
  return { root, slots };
}

function sinceOf(alert) {
  // The alert's partition may be ahead of the slowest one, whose event time the head shows.
  const now = Math.max(Date.parse(state.head.event_time ?? alert.at), Date.parse(alert.at));
  const seconds = (now - Date.parse(alert.started_at)) / 1000;
  return seconds > 0 ? say('since_for', { time: minute(alert.started_at), duration: duration(seconds) }) : say('since', { time: minute(alert.started_at) });
}

function standingOf(alert) {
  const silence = state.silences.get(alert.subject);
  return [
    alert.single_source && say('single_source'),
    state.acknowledgements.has(alert.id) && acknowledged(state.acknowledgements.get(alert.id)),
    silence && silenced(silence),
    alert.members.length > 0 && alert.members.slice(0, MEMBERS_ON_CARD).map(memberText).join(', '),
  ].filter(Boolean);
}

const silenceOf = alert => (state.silent[alert.id] ? say('no_items_since', { time: minute(state.silent[alert.id]) }) : '');
const withNote = (text, { note: words }) => (words ? `${text}: ${words}` : text);
const acknowledged = action => withNote(say('acknowledged_by', { by: action.by, time: minute(action.at) }), action);
export const silenced = action => withNote(say('silenced_until', { by: action.by, time: `${shortDay(action.until)} ${minute(action.until)}` }), action);
const memberText = member => `${nameOf(member)} (${whole(member.novel_negative)})`;

// ---- evidence ----

function evidenceItem(item, alert) {
  const { root, slots } = fromTemplate('evidence-template');
  setScore(slots.score, item.score);
  putHeadline(slots.title, item);
  const copies = item.copies > 0
    ? say('copies', { times: whole(item.copies + 1), sources: counted('n_sources', item.sources), time: minute(item.first_seen) })
    : say('told_once');
  const origin = `${item.source ?? say('unknown_source')}, ${minute(item.published_at)}`;
  setText(slots.origin, item.copies > 0 ? `${origin}, ${copies}` : origin);
  // From the first time it was told to the alert, on the span of the whole evidence.
  const firsts = alert.evidence.map(other => Date.parse(other.first_seen));
  const [from, to] = [Math.min(...firsts, Date.parse(alert.window.start)), Date.parse(alert.at)];
  const at = time => Math.max(0, Math.min(100, (100 * (Date.parse(time) - from)) / Math.max(to - from, 1)));
  slots.spread.hidden = item.copies === 0;
  slots.spread.title = say('spread_label', { first: `${clock(item.first_seen)} UTC`, copies });
  slots.spread.style.setProperty('--from', `${at(item.first_seen)}%`);
  slots.spread.style.setProperty('--to', `${at(item.published_at)}%`);
  return root;
}

// ---- one alert ----

let viewed = { key: '', slots: null, act: null };

/** `id` of the alert that the address names, if it names one. Its subject, as far as it is known. */
export function paintAlertView(id) {
  const view = element('alert-view');
  view.hidden = id === null;
  if (id === null) {
    viewed = { key: '' };
    view.replaceChildren();
    return null;
  }
  const known = transitionsOf(alert => alert.id === id);
  const alert = known.at(-1);
  const key = `${id} ${alert?.sequence} ${known.length} ${current()} ${state.session.role} ${state.session.name}`;
  if (viewed.key !== key) {
    // What is being typed stays.
    const typed = viewed.id === id ? viewed.act?.slots.form?.elements.note.value : '';
    viewed = { key, id, ...(alert ? alertView(alert, known) : { act: null, slots: null }) };
    if (alert) view.replaceChildren(viewed.root);
    else view.replaceChildren(...gone());
    if (typed && viewed.act) viewed.act.slots.form.elements.note.value = typed;
  }
  if (!alert) return null;
  setText(viewed.slots.since, alert.transition === 'resolved' ? `${say('resolved')} ${minute(alert.at)}` : sinceOf(alert));
  note(viewed.slots.silent, silenceOf(alert));
  paintAct(viewed.act.slots, alert);
  return alert.subject;
}

function gone() {
  const text = document.createElement('p');
  text.className = 'quiet';
  text.textContent = say('alert_gone');
  const heading = document.createElement('h2');
  heading.id = 'alert-heading';
  heading.className = 'visually-hidden';
  heading.textContent = say('open_alerts');
  return [heading, text];
}

function alertView(alert, known) {
  const { root, slots } = fromTemplate('alert-view-template');
  const { window, baseline, threshold } = alert;
  root.dataset.severity = alert.severity;
  slots.back.href = hashOf(alert.subject);
  setText(slots.back, say('back', { name: nameOf(alert) }));
  setText(slots.severity, say(alert.severity));
  setText(slots.subject, nameOf(alert));
  setText(slots.why, whyOf(alert));
  setText(slots.meaning, meaningOf(alert));
  slots.evidence.append(...alert.evidence.map(item => evidenceItem(item, alert)));
  slots['members-heading'].hidden = slots.members.hidden = alert.members.length === 0;
  slots.members.replaceChildren(...alert.members.flatMap((member, place) => [place > 0 ? ', ' : '', memberLink(member)]));
  setText(slots.negative, say('n_of_m', { negative: whole(window.negative), count: whole(window.count) }));
  setText(slots.novel, whole(window.novel_negative));
  setScore(slots.mean, window.mean_score);
  setText(slots.sources, whole(window.sources));
  setText(slots.expected, baseline ? few(baseline.expected_negative) : NONE);
  const limit = limitOf(threshold);
  setText(slots['threshold-name'], say(alert.p_value == null ? 'threshold' : 'p_value'));
  setText(slots.threshold, alert.p_value == null ? limit : scientific(alert.p_value));
  slots.transitions.append(...[...known].reverse().map(transition => transitionItem(transition, false)));
  const models = alert.models.map(model => `${model.name} ${model.version}`).join(', ') || NONE;
  const threshold_ = `${threshold.name.replaceAll('_', ' ')} ${limit}`;
  setText(slots.rule, say('rule_line', { rule: alert.rule, condition: alert.condition, threshold: threshold_, model: models, version: alert.config_version }));
  const act = actForm(alert);
  slots.act.append(act.root);
  return { root, slots, act };
}

function limitOf({ name, value }) {
  if (name.includes('share')) return percent(value);
  return name.endsWith('score') ? signed(value) : scientific(value);
}

function memberLink(member) {
  const link = document.createElement('a');
  link.href = hashOf(member.subject);
  link.textContent = memberText(member);
  return link;
}

// ---- what operators do ----

function actForm(alert) {
  const act = fromTemplate('act-template');
  const { root, slots } = act;
  slots.form = root.querySelector('form');
  for (const hours of HOURS) {
    const option = document.createElement('option');
    option.value = `${hours}h`;
    option.textContent = counted('hour', hours);
    slots.for.append(option);
  }
  setText(slots.meaning, say('silence_meaning', { name: nameOf(alert) }));
  slots.form.addEventListener('submit', async event => {
    event.preventDefault();
    const words = slots.form.elements.note.value.trim();
    const optional = words ? { note: words } : {};
    const [method, path, body] = {
      acknowledge: ['POST', 'acknowledgements', { alert: alert.id, ...optional }],
      withdraw: ['DELETE', 'acknowledgements', { alert: alert.id }],
      silence: ['POST', 'silences', { subject: alert.subject, for: slots.for.value, ...optional }],
      lift: ['DELETE', 'silences', { subject: alert.subject }],
    }[event.submitter?.name ?? 'acknowledge'];
    const buttons = slots.form.querySelectorAll('button');
    buttons.forEach(button => { button.disabled = true; });
    note(slots.refused, await send(method, path, body));
    buttons.forEach(button => { button.disabled = false; });
    if (slots.refused.hidden) slots.form.elements.note.value = '';
  });
  return act;
}

/** Why it was refused; empty where it was done. The next update brings what came of it. */
async function send(method, path, body) {
  try {
    const answer = await fetch(`api/v1/${path}`, { method, headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
    if (answer.ok) return '';
    return say('failed', { error: (await answer.json()).error });
  } catch {
    return say('failed', { error: say('no_answer') });
  }
}

function paintAct(slots, alert) {
  const acknowledgement = state.acknowledgements.get(alert.id);
  const silence = state.silences.get(alert.subject);
  note(slots.acknowledged, acknowledgement && acknowledged(acknowledgement));
  note(slots.silenced, silence && silenced(silence));
  slots.acknowledge.hidden = Boolean(acknowledgement);
  slots.withdraw.hidden = !acknowledgement;
  slots.silence.hidden = Boolean(silence);
  slots.lift.hidden = !silence;
  slots.for.parentElement.hidden = Boolean(silence);
  const may = state.session.role === 'operator';
  slots.form.hidden = !may;
  note(slots['may-not'], may ? '' : say(state.session.name ? 'operators_only' : 'no_operators'));
}

// ---- transitions ----

export function transitionItem(alert, withSubject = true) {
  const { root, slots } = fromTemplate('transition-template');
  root.dataset.transition = alert.transition;
  root.dataset.severity = alert.severity;
  slots.at.dateTime = alert.at;
  setText(slots.at, minute(alert.at));
  slots.at.title = `${day(alert.at)} ${clock(alert.at)} UTC`;
  setText(slots.transition, say(alert.transition));
  slots.subject.href = hashOfAlert(alert.id);
  setText(slots.subject, withSubject ? nameOf(alert) : alert.rule);
  root.title = whyOf(alert);
  const { negative, count } = alert.window;
  const figures = count > 0 ? say('n_of_m', { negative: whole(negative), count: whole(count) }) : say('no_items');
  const today = state.head.event_time ? day(state.head.event_time) : '';
  setText(slots.figures, `${say(alert.severity)}, ${day(alert.at) === today ? figures : shortDay(alert.at)}`);
  return root;
}

let recentPainted = null;

export function paintRecent() {
  const key = [state.recent, current()]; // the list is replaced, never edited
  if (recentPainted?.every((part, place) => part === key[place])) return;
  recentPainted = key;
  element('recent-list').replaceChildren(...state.recent.map(alert => transitionItem(alert)));
  element('recent-empty').hidden = state.recent.length > 0;
}

/** On a narrow screen an alert that was chosen may be far below. */
export function showAlert() {
  if (NARROW.matches) element('alert-view').scrollIntoView();
  else element('middle').scrollTop = 0;
}
