// Numbers and times as text. Times are epoch milliseconds or RFC 3339, and shown in UTC.

import { current, say } from './words.js';

export const NONE = '–';
const TAGS = { en: 'en-GB', zh: 'zh-CN' };
const made = new Map();

function formatter(kind, options) {
  const key = `${current()} ${kind}`;
  if (!made.has(key)) made.set(key, kind === 'number' ? new Intl.NumberFormat(TAGS[current()], options) : new Intl.DateTimeFormat(TAGS[current()], options));
  return made.get(key);
}

export const whole = value => (value == null ? NONE : formatter('number', { maximumFractionDigits: 0 }).format(value));
export const clock = time => new Date(time).toISOString().slice(11, 19);
export const minute = time => new Date(time).toISOString().slice(11, 16);
export const day = time => formatter('date', { timeZone: 'UTC', day: 'numeric', month: 'short', year: 'numeric' }).format(new Date(time));
export const shortDay = time => formatter('short date', { timeZone: 'UTC', day: 'numeric', month: 'short' }).format(new Date(time));
export const percent = share => (share == null ? NONE : `${Math.round(share * 100)}%`);
/** A subject in words. */
export const nameOf = ({ subject, subject_name: name }) => (subject === 'market' ? say('market') : name);
export const counted = (key, n) => say(key, { n: whole(n) });

export function signed(value) {
  if (value == null) return NONE;
  const text = Math.abs(value).toFixed(2);
  if (Number(text) === 0) return text;
  return (value < 0 ? '−' : '+') + text;
}

export const times = ratio => (ratio == null ? NONE : `${ratio < 10 ? ratio.toFixed(1) : whole(ratio)}×`);
/** An expected number, with two digits that tell something. */
export const few = value => (value == null ? NONE : value < 0.1 ? value.toFixed(3) : value < 1 ? value.toFixed(2) : value.toFixed(1));

export function rate(value) {
  if (value == null) return NONE;
  return value < 100 ? value.toFixed(1) : whole(value);
}

export function duration(seconds) {
  if (seconds == null) return NONE;
  const rounded = Math.max(0, Math.round(seconds));
  if (rounded < 120) return say('s', { n: rounded });
  const minutes = Math.floor(rounded / 60);
  if (minutes < 120) return say('min', { n: minutes });
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? say('h_min', { h: hours, min: minutes % 60 }) : say('days_long', { n: Math.floor(hours / 24) });
}

/** From a frequency per month of 30 days. */
export function howOften(perMonth) {
  const days = 30 / perMonth;
  if (days < 1) return say('often_daily');
  if (days >= 365_000) return say('often_never');
  return say('chance_of', inDays(days));
}

/** The same, as the length between two of them. */
export function between(perMonth) {
  const { n, unit } = inDays(30 / perMonth);
  return `${n} ${unit}`;
}

function inDays(days) {
  const [value, unit] = days < 60 ? [days, 'days'] : days < 730 ? [days / 30, 'months'] : [days / 365, 'years'];
  const n = value < 1 ? String(Number(value.toPrecision(2))) : whole(Math.round(value));
  return { n, unit: say(unit, { n }) };
}

export function scientific(value) {
  if (value == null) return NONE;
  if (value === 0 || Math.abs(value) >= 0.001) return String(Number(value.toPrecision(2)));
  const [mantissa, exponent] = value.toExponential(1).split('e');
  const raised = exponent.replace('-', '⁻').replace(/\d/g, digit => '⁰¹²³⁴⁵⁶⁷⁸⁹'[digit]);
  return mantissa === '1.0' ? `10${raised}` : `${mantissa} × 10${raised}`;
}
