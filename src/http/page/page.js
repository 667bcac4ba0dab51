// The desk's page: the connection, what the address names, and painting at most once a frame.

import { paintAlertView, paintAlerts, paintRecent, showAlert } from './alerts.js';
import { createScoreChart } from './chart.js';
import { NARROW, element, setText } from './dom.js';
import { clock, counted, day, nameOf } from './format.js';
import { applySnapshot, applyUpdate, state } from './store.js';
import { listenToSubjects, paintSelected, paintSubjects } from './subjects.js';
import { listenToViews, paintHealth, paintReading, paintTape } from './views.js';
import { dress, kept, preferred, say, speak } from './words.js';

// The server sends an update about once a second: a silence this long means a dead connection that TCP has not noticed yet.
const SILENCE_BEFORE_RECONNECT_MS = 15_000;
const SILENCE_BEFORE_WARNING_MS = 5_000;
const PAUSE_BEFORE_RECONNECT_MS = 3_000;

// ---- what the address names ----

const VIEWS = ['tape', 'try', 'health'];
let place = { view: 'desk', subject: 'market', alert: null };

function placeOfHash() {
  let hash;
  try {
    hash = decodeURIComponent(location.hash.slice(1));
  } catch {
    hash = '';
  }
  if (VIEWS.includes(hash)) return { ...place, view: hash, alert: null };
  if (hash.startsWith('alert/')) return { view: 'desk', subject: place.subject, alert: hash.slice('alert/'.length) };
  return { view: 'desk', subject: hash || 'market', alert: null };
}

function go(scroll) {
  place = placeOfHash();
  for (const view of document.querySelectorAll('main > [data-view]')) view.hidden = view.dataset.view !== place.view;
  for (const link of document.querySelectorAll('#views a')) {
    if (link.dataset.view === place.view) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  schedulePaint();
  if (!scroll) return;
  if (place.view !== 'desk') return scrollTo(0, 0);
  // Once it is painted. On a narrow screen the course may be far above the row that was chosen.
  requestAnimationFrame(() => {
    if (place.alert !== null) showAlert();
    else if (NARROW.matches) element('subject-panel').scrollIntoView();
  });
}

// ---- connection ----

let source = null;
let reconnectTimer = 0;
let lastMessageAt = 0;

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
  lastMessageAt = Date.now();
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
  state.session = await answer.json();
  const { name, role, logged_in: loggedIn } = state.session;
  element('holder').hidden = !loggedIn;
  setText(element('holder-name'), name ? `${name}, ${role}` : '');
  schedulePaint();
}

// What is on the screen stays there, with the time at which it was true; a page that has shown nothing yet goes to the form.
function endSession() {
  clearTimeout(reconnectTimer);
  source?.close();
  if (state.head) setConnection('ended');
  else location.replace('login');
}

function receive(apply, event) {
  const fresh = apply(JSON.parse(event.data));
  lastMessageAt = Date.now();
  setConnection('live');
  announce(fresh);
  // A hidden tab paints nothing, but its title still counts.
  document.title = state.open.length > 0 ? `(${state.open.length}) Bellwether` : 'Bellwether';
  schedulePaint();
}

/** For those who hear the page: what is open when it opens, and then each transition. */
function announce(fresh) {
  const tell = alert => say('announce', { severity: say(alert.severity), transition: say(alert.transition).toLowerCase(), name: nameOf(alert) });
  if (fresh === null) setText(element('announcements'), state.open.length > 0 ? counted('announce_open', state.open.length) : say('no_open_alerts'));
  else if (fresh.length > 0) setText(element('announcements'), fresh.map(tell).join(' '));
}

function watchForSilence() {
  if (document.body.dataset.connection === 'ended') return;
  const silence = Date.now() - lastMessageAt;
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
  tellConnection();
}

function tellConnection() {
  const { connection } = document.body.dataset;
  const texts = { lost: () => say('lost'), silent: () => say('silent_connection', { seconds: SILENCE_BEFORE_WARNING_MS / 1000 }), ended: () => say('session_ended') };
  const parts = [texts[connection]?.() ?? ''];
  if (connection === 'ended') {
    const link = document.createElement('a');
    link.href = 'login';
    link.textContent = say('log_in_again');
    parts.push(' ', link);
  }
  if (parts[0] && state.head) parts.push(` ${say('stands_as_of', { time: clock(state.head.now) })}`);
  element('connection').replaceChildren(...parts);
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
    if (place.view === 'tape') return paintTape();
    if (place.view === 'health') return paintHealth();
    if (place.view !== 'desk') return;
    paintAlerts();
    paintRecent();
    place.subject = paintAlertView(place.alert) ?? place.subject;
    paintSubjects(place.subject);
    paintSelected(place.subject, scoreChart);
  });
}

function paintHead() {
  const { health, event_time: eventTime } = state.head;
  element('health').dataset.state = health.state;
  setText(element('health-state'), say(health.state));
  setText(element('trouble'), health.state === 'degraded' ? health.reasons.join('; ') : '');
  setText(element('event-time'), eventTime ? clock(eventTime) : '––:––:––');
  if (eventTime) element('event-time').dateTime = eventTime;
  setText(element('event-date'), eventTime ? `UTC ${day(eventTime)}` : 'UTC');
}

// ---- settings, kept in this browser ----

function keep(name, value) {
  try {
    localStorage.setItem(`bellwether.${name}`, value);
  } catch {
    // A browser that keeps nothing asks again next time.
  }
}

function setLanguage(name) {
  speak(name);
  dress(document);
  tellConnection();
  scoreChart?.recolour();
  if (!state.head) setText(element('health-state'), say('connecting'));
  paintReading();
  schedulePaint();
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  scoreChart?.recolour();
  schedulePaint();
}

// ---- start ----

const scoreChart = createScoreChart(element('chart'), element('legend'));

const spoken = preferred();
element('language').value = spoken;
element('language').addEventListener('change', ({ target }) => {
  keep('language', target.value);
  setLanguage(target.value);
});
element('theme').value = kept('theme') ?? 'auto';
element('theme').addEventListener('change', ({ target }) => {
  keep('theme', target.value);
  setTheme(target.value);
});
element('skip').addEventListener('click', event => {
  event.preventDefault();
  element('main').focus();
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => setTheme(element('theme').value));
addEventListener('hashchange', () => go(true));
listenToSubjects(schedulePaint);
listenToViews(schedulePaint);
setTheme(element('theme').value);
setLanguage(spoken);
setInterval(watchForSilence, 1000);
go(false);
connect();
learnWhoAsks();
