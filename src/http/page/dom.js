// Small help with the document. Every text is set as textContent, every address is checked to be http(s): news is untrusted input.

import { dress, say } from './words.js';
import { signed } from './format.js';

export const element = id => document.getElementById(id);

// As in page.css.
export const NARROW = matchMedia('(max-width: 760px)');

// Writing only what changed keeps selections, screen readers and the layout quiet.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** With a text it is shown, without one it is not. */
export function note(node, text) {
  node.hidden = !text;
  setText(node, text || '');
}

export function setScore(node, value) {
  const text = signed(value);
  setText(node, text);
  node.classList.toggle('is-negative', text.startsWith('−'));
  node.classList.toggle('is-positive', text.startsWith('+'));
}

/** Puts the children there, in that order; moving a node drops the focus inside it, so that is given back. */
export function setChildren(parent, children) {
  const old = parent.children;
  if (old.length === children.length && children.every((child, place) => child === old[place])) return;
  const focused = document.activeElement;
  parent.replaceChildren(...children);
  if (focused !== document.activeElement && parent.contains(focused)) focused.focus({ preventScroll: true });
}

export function fromTemplate(id) {
  const root = element(id).content.firstElementChild.cloneNode(true);
  dress(root);
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

// ---- places on the page ----

const escaped = text => encodeURIComponent(text).replaceAll('%3A', ':').replaceAll('%2F', '/');
export const hashOf = subject => `#${escaped(subject)}`;
export const hashOfAlert = id => `#alert/${escaped(id)}`;

// ---- headlines ----

/** A headline where `node` stands, as a link where it has an address. */
export function putHeadline(node, item) {
  const url = item.url ? safeUrl(item.url) : null;
  const title = !item.title ? say('no_title') : item.title.startsWith('enc:') ? say('encrypted') : item.title;
  const parts = item.explanation ? marked(title, item.explanation.words, item.explanation.sentiment) : [title];
  if (!url) return node.replaceChildren(...parts);
  const link = document.createElement('a');
  link.href = url;
  link.target = '_blank';
  link.rel = 'noopener noreferrer';
  link.append(...parts);
  node.replaceChildren(link);
}

/** The text, with the words that speak most for its sentiment marked in three strengths; `both`: and those that speak against it. */
export function marked(text, words, sentiment, both = false) {
  const most = Math.max(...words.map(word => Math.abs(word.sentiment)), 0.1);
  const parts = [];
  let from = 0;
  for (const { word, sentiment: weight } of words) {
    const at = text.indexOf(word, from);
    const strength = [0.15, 0.4, 0.7].filter(least => Math.abs(weight) / most >= least).length;
    if (at < 0 || strength === 0 || (weight < 0 && !both)) continue;
    const mark = document.createElement('mark');
    mark.textContent = word;
    mark.dataset.strength = strength;
    mark.dataset.sentiment = sentiment;
    if (weight < 0) mark.dataset.against = '';
    mark.title = say('log_odds', { weight: signed(weight), label: say(`${sentiment}_word`) });
    parts.push(text.slice(from, at), mark);
    from = at + word.length;
  }
  return [...parts, text.slice(from)];
}
