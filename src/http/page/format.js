// Numbers, times and names as text. Times are epoch milliseconds or RFC 3339, and shown in UTC.

export const NONE = '–';
const grouped = new Intl.NumberFormat('en-GB', { maximumFractionDigits: 0 });
const date = new Intl.DateTimeFormat('en-GB', { timeZone: 'UTC', day: 'numeric', month: 'short', year: 'numeric' });
const dayAndMonth = new Intl.DateTimeFormat('en-GB', { timeZone: 'UTC', day: 'numeric', month: 'short' });

export const whole = value => (value == null ? NONE : grouped.format(value));
export const clock = time => new Date(time).toISOString().slice(11, 19);
export const minute = time => new Date(time).toISOString().slice(11, 16);
export const day = time => date.format(new Date(time));
export const shortDay = time => dayAndMonth.format(new Date(time));
export const percent = share => (share == null ? NONE : `${Math.round(share * 100)}%`);
export const plural = (count, noun) => `${whole(count)} ${noun}${count === 1 ? '' : 's'}`;
export const capital = text => text.charAt(0).toUpperCase() + text.slice(1);

export function signed(value) {
  if (value == null) return NONE;
  const text = Math.abs(value).toFixed(2);
  if (Number(text) === 0) return text;
  return (value < 0 ? '−' : '+') + text;
}

export const times = ratio => (ratio == null ? NONE : `${ratio < 10 ? ratio.toFixed(1) : whole(ratio)}×`);

export function rate(value) {
  if (value == null) return NONE;
  return value < 100 ? value.toFixed(1) : whole(value);
}

export function duration(seconds) {
  if (seconds == null) return NONE;
  const rounded = Math.max(0, Math.round(seconds));
  if (rounded < 120) return `${rounded} s`;
  const minutes = Math.floor(rounded / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}

export function scientific(value) {
  if (value == null) return NONE;
  if (value === 0 || Math.abs(value) >= 0.001) return String(Number(value.toPrecision(2)));
  const [mantissa, exponent] = value.toExponential(1).split('e');
  const raised = exponent.replace('-', '⁻').replace(/\d/g, digit => '⁰¹²³⁴⁵⁶⁷⁸⁹'[digit]);
  return mantissa === '1.0' ? `10${raised}` : `${mantissa} × 10${raised}`;
}
