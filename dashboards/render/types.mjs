// Writes each board as a literal of the type that it must have, for tsc to look at. A JSON module would lose its literal types.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';

const boards = new URL('../grafana/', import.meta.url);
const generated = new URL('generated/', import.meta.url);
mkdirSync(generated, { recursive: true });
const names = readdirSync(boards).filter((name) => name.endsWith('.json'));
if (names.length === 0) throw new Error(`${boards.pathname} holds no board`);
const literals = names.map((name) => `// ${name}\n(${readFileSync(new URL(name, boards), 'utf8').trimEnd()}) satisfies Board;\n`);
writeFileSync(new URL('boards.ts', generated), `import type { Board } from '../src/board';\n\n${literals.join('\n')}`);
