// The log-in in the language and the colours of whoever stands before it.

import { dress, kept, preferred, speak } from './words.js';

document.documentElement.dataset.theme = kept('theme') ?? 'auto';
speak(preferred());
dress(document);
