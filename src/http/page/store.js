// What the server says, as it came: one state, fed by server-sent events.

const POINTS_KEPT = 360;
const RATE_SECONDS_SHOWN = 300;
const TRANSITIONS_KEPT = 50;
const TAPE_KEPT = 200;

export const state = {
  head: null, // everything of the last message that is not listed below
  rate: [],
  subjects: new Map(),
  open: [],
  silent: {}, // alert id → since when its window has been empty
  waiting: {}, // what keeps alerts back → how many
  recent: [],
  tape: [], // the newest last
  acknowledgements: new Map(), // alert id → who, when, why
  silences: new Map(), // subject → who, when, until when, why
  session: { name: null, role: 'viewer' },
};

export const newestFirst = (a, b) => Date.parse(b.at) - Date.parse(a.at) || b.sequence - a.sequence;
export const transitionKey = alert => `${alert.id} ${alert.sequence}`;
export const negativeShare = window => (window && window.count > 0 ? window.negative / window.count : null);

export function applySnapshot({ rate, subjects, alerts, tape, actions, ...head }) {
  state.head = head;
  state.rate = rate.slice(-RATE_SECONDS_SHOWN);
  state.subjects = new Map(subjects.map(subject => [subject.subject, { ...subject, points: subject.points.slice(-POINTS_KEPT), moved: true }]));
  state.tape = tape;
  state.recent = [...alerts.recent].sort(newestFirst).slice(0, TRANSITIONS_KEPT);
  take(alerts, actions);
  return null;
}

/** The transitions that are new. */
export function applyUpdate({ rate_point: ratePoint, subjects, alerts, tape, actions, ...head }) {
  if (!state.head) return [];
  Object.assign(state.head, head);
  if (ratePoint && ratePoint.t !== state.rate.at(-1)?.t) {
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
  if (tape.length > 0) state.tape = [...state.tape, ...tape].slice(-TAPE_KEPT);
  take(alerts, actions);
  const known = new Set(state.recent.map(transitionKey));
  const fresh = alerts.recent.filter(alert => !known.has(transitionKey(alert)));
  if (fresh.length > 0) state.recent = [...fresh, ...state.recent].sort(newestFirst).slice(0, TRANSITIONS_KEPT);
  return fresh;
}

function take({ open, silent, waiting }, { acknowledgements, silences }) {
  Object.assign(state, { open, silent, waiting });
  state.acknowledgements = new Map(acknowledgements.map(action => [action.alert, action]));
  state.silences = new Map(silences.map(action => [action.subject, action]));
}

/** All that is known of an alert: its transitions, the oldest first. */
export function transitionsOf(belongs) {
  const all = new Map([...state.recent, ...state.open].map(alert => [transitionKey(alert), alert]));
  return [...all.values()].filter(belongs).sort(newestFirst).reverse();
}

/**
 * How far the mean of the last window is from that of the course before it, −2 to 2; drawn to 0 where there are few items
 * (n of n + 4). `null` without items in either.
 */
export function changeOf({ window, points }, windowSeconds) {
  if (!window || window.count === 0) return null;
  const until = (points.at(-1)?.t ?? 0) - windowSeconds * 1000;
  let [sum, count] = [0, 0];
  for (const { t, mean, count: items } of points) {
    if (t > until) break;
    if (mean != null) [sum, count] = [sum + mean * items, count + items];
  }
  if (count === 0) return null;
  return ((window.mean_score - sum / count) * window.count) / (window.count + 4);
}
