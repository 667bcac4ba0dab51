// Draws every panel of every board with what a real Prometheus scraped from `bellwether demo`, and fails where a panel shows nothing.
//
//   node draw.mjs --bellwether ../../target/release/bellwether --out ../../docs
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdtempSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import sharp from 'sharp';
import { build, preview } from 'vite';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = join(here, '../..');
const { values: options } = parseArgs({
  options: {
    bellwether: { type: 'string', default: join(root, 'target/release/bellwether') },
    chromium: { type: 'string', default: '/usr/bin/chromium' },
    out: { type: 'string', default: join(root, 'docs') },
    speed: { type: 'string', default: '240x' },
    // A server that has scraped already, and the time to draw, in seconds since the epoch.
    prometheus: { type: 'string' },
    from: { type: 'string' },
    to: { type: 'string' },
  },
});

// The documents show the first rows of each board; the whole of it, and what a phone shows, are for whoever works on them.
const whole = join(here, 'dist/pictures');
const widths = { desk: 1440, phone: 390 };
const beginning = 1000;
const patience = 10 * 60_000;
const folder = mkdtempSync(join(tmpdir(), 'boards-'));
const children = [];

/** A program. Gives what waits for the first line of what it says in which something is found. */
function start(command, args) {
  const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
  children.push(child);
  const said = [];
  const waiting = [];
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      said.push(line);
      waiting.forEach((look) => look(line));
    });
  }
  const ended = new Promise((_, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`${command} ended with ${code}. It said:\n${said.join('\n')}`)));
  });
  ended.catch(() => {});
  return (find) => {
    const found = new Promise((resolve, reject) => {
      const look = (line) => find(line) && resolve(find(line));
      waiting.push(look);
      said.forEach(look);
      setTimeout(() => reject(new Error(`${command} did not say it in time. It said:\n${said.join('\n')}`)), patience).unref();
    });
    return Promise.race([found, ended]);
  };
}

/** Its end is the last moment at which most alerts were open: a board of quiet news shows little. */
async function scrapedDemo() {
  const demo = start(options.bellwether, ['demo', '--listen', '127.0.0.1:0', '--speed', options.speed]);
  const [, target] = await demo((line) => line.match(/^ {2}page +http:\/\/(\S+)/));
  const rules = join(root, 'dashboards/prometheus');
  const configuration = readFileSync(join(rules, 'prometheus.yml'), 'utf8')
    .replaceAll('_interval: 10s', '_interval: 1s')
    .replace('bellwether:9464', target);
  writeFileSync(join(folder, 'prometheus.yml'), configuration);
  cpSync(join(rules, 'alerts.yml'), join(folder, 'alerts.yml'));
  const prometheus = start('prometheus', [
    `--config.file=${join(folder, 'prometheus.yml')}`,
    `--storage.tsdb.path=${join(folder, 'data')}`,
    '--web.listen-address=127.0.0.1:0',
  ]);
  const [, server] = await prometheus((line) => line.match(/Listening on.*address=(\S+)/));
  const from = Math.ceil(Date.now() / 1000);
  console.log(`the demo runs at ${options.speed}, scraped from ${target}`);
  await demo((line) => line === 'Summary');
  const query = `query_range?query=sum(bellwether_subject_open_alerts)&step=1&start=${from}&end=${Math.floor(Date.now() / 1000)}`;
  const open = (await (await fetch(`http://${server}/api/v1/${query}`)).json()).data.result[0]?.values ?? [];
  if (open.length === 0) throw new Error('no alert was open: there is nothing to show');
  const most = Math.max(...open.map(([, count]) => Number(count)));
  return { server, from, to: open.findLast(([, count]) => Number(count) === most)[0] };
}

/** What is wrong with the picture of a board. */
async function draw(browser, site, board, { from, to }, screen) {
  const width = widths[screen];
  const model = JSON.parse(readFileSync(join(root, 'dashboards/grafana', `${board}.json`), 'utf8'));
  const page = await browser.newPage({ viewport: { width, height: 900 }, deviceScaleFactor: 1, colorScheme: 'dark', timezoneId: 'UTC' });
  const problems = [];
  page.on('pageerror', (error) => problems.push(`${board}: ${error}`));
  page.on(
    'console',
    (message) =>
      message.type() === 'error' && !message.text().includes('Failed to load resource') && problems.push(`${board}: ${message.text()}`),
  );
  const variables = {
    ...Object.fromEntries(model.templating.list.map(({ name, allValue, current }) => [name, allValue ?? current.value])),
    // Who the demo is about.
    subject: 'group:regional-banks',
    __rate_interval: '15s',
    __interval: '1s',
    __range: `${to - from}s`,
  };
  const query = new URLSearchParams({ board, from, to, step: 1, variables: JSON.stringify(variables) });
  await page.goto(`${site}index.html?${query}`);
  const complete = () => document.querySelector('[data-panel]') && !document.querySelector('[data-state=waits]');
  await page.waitForFunction(complete, null, { timeout: 60_000 }).catch((error) => problems.push(`${board}: ${error.message}`));
  await page.evaluate(() => document.fonts.ready);
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  await page.setViewportSize({ width, height });
  // Two frames: uPlot paints in the one that follows.
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  const panels = await page.$$eval('[data-panel]', (elements) =>
    elements.map((element) => ({ ...element.dataset, painted: element.querySelector('[data-painted]') !== null, text: element.innerText })),
  );
  const wanted = model.panels.filter(({ type }) => type !== 'row').length;
  if (panels.length !== wanted) problems.push(`${board}: ${panels.length} panels of ${wanted}`);
  for (const { panel, kind, state, error, painted, text } of panels) {
    if (state !== 'drawn') problems.push(`${board}, "${panel}" is ${state}${error ? `: ${error}` : ''}`);
    else if (kind === 'timeseries' && !painted) problems.push(`${board}, "${panel}" has painted nothing`);
    else if (text.trim().split('\n').length < 2) problems.push(`${board}, "${panel}" says nothing`);
  }
  [options.out, whole].forEach((folder) => mkdirSync(folder, { recursive: true }));
  const picture = await page.screenshot({ path: join(whole, `${board}-${screen}.png`) });
  if (screen === 'desk') {
    const rows = await page.$$eval('[data-row]', (titles) => titles.map((title) => Math.floor(title.getBoundingClientRect().top)));
    const shown = { left: 0, top: 0, width, height: rows.findLast((top) => top < beginning) ?? height };
    await sharp(picture)
      .extract(shown)
      .png({ palette: true, colours: 64, effort: 10 })
      .toFile(join(options.out, `board-${board}.png`));
  }
  await page.close();
  console.log(`${board}, ${screen}: ${panels.length} panels`);
  return problems;
}

let site;
let browser;
try {
  if (!existsSync(options.chromium))
    throw new Error(`${options.chromium} is missing: install Debian's package chromium, or name another with --chromium`);
  const given = options.prometheus && { server: options.prometheus, from: Number(options.from), to: Number(options.to) };
  const [scraped] = await Promise.all([given ?? scrapedDemo(), build({ root: here, logLevel: 'error' })]);
  site = await preview({
    root: here,
    logLevel: 'warn',
    preview: { port: 0, host: '127.0.0.1', proxy: { '/api': `http://${scraped.server}` } },
  });
  browser = await chromium.launch({
    executablePath: options.chromium,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
  const boards = readdirSync(join(root, 'dashboards/grafana'))
    .filter((name) => name.endsWith('.json'))
    .map((name) => basename(name, '.json'));
  const problems = [];
  for (const board of boards) {
    for (const screen of Object.keys(widths)) problems.push(...(await draw(browser, site.resolvedUrls.local[0], board, scraped, screen)));
  }
  if (problems.length > 0) throw new Error(`\n${[...new Set(problems)].join('\n')}`);
} finally {
  await browser?.close();
  await site?.close();
  await Promise.all(
    children
      .filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null)
      .map((child) => {
        child.kill();
        return once(child, 'exit');
      }),
  );
  rmSync(folder, { recursive: true, force: true });
}
