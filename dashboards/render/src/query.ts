// A panel's questions to Prometheus, and the answers as Grafana's frames, as its own data source makes them.
import { createDataFrame, FieldType, type DataFrame, type Labels } from '@grafana/data';
import type { Board, Panel } from './board';

export interface View {
  from: number;
  to: number;
  step: number;
  variables: Record<string, string>;
}

type Sample = [number, string];
interface Series {
  metric: Labels;
  values?: Sample[];
  value?: Sample;
}

export const fill = (text: string, variables: Record<string, string>) =>
  text.replace(/\$\{?(\w+)\}?/g, (whole, name: string) => variables[name] ?? whole);

const legend = (format: string | undefined, labels: Labels, expr: string) =>
  format
    ? format.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, name: string) => labels[name] ?? '')
    : Object.entries(labels)
        .map(([name, value]) => `${name}="${value}"`)
        .join(', ') || expr;

export async function ask(path: string, parameters: Record<string, string | number>): Promise<Series[]> {
  const asked = Object.fromEntries(Object.entries(parameters).map(([name, value]) => [name, String(value)]));
  const answer = await (await fetch(`/api/v1/${path}?${new URLSearchParams(asked)}`)).json();
  if (answer.status !== 'success') throw new Error(`${parameters.query}: ${answer.error}`);
  return answer.data.result;
}

const range = (query: string, { from, to, step }: View) => ask('query_range', { query, start: from, end: to, step });

/** Series with a null where a step has no sample: a line stops there. */
function aligned(series: Series[], { from, to, step }: View) {
  const times: number[] = [];
  for (let time = from; time <= to + 1e-6; time += step) times.push(time);
  return {
    times: times.map((time) => time * 1000),
    values: series.map(({ values }) => {
      const known = new Map(values?.map(([time, value]) => [Math.round((time - from) / step), Number(value)]));
      return times.map((_, index) => known.get(index) ?? null);
    }),
  };
}

export async function frames(panel: Panel, view: View): Promise<DataFrame[]> {
  const answers = await Promise.all(
    panel.targets.map(async ({ expr, instant, format, legendFormat, refId }) => {
      const query = fill(expr, view.variables);
      const series = instant ? await ask('query', { query, time: view.to }) : await range(query, view);
      if (format === 'table') return [table(series, refId)];
      const { times, values } = instant
        ? { times: [view.to * 1000], values: series.map(({ value }) => [Number(value![1])]) }
        : aligned(series, view);
      return series.map(({ metric }, index) =>
        createDataFrame({
          refId,
          fields: [
            { name: 'Time', type: FieldType.time, values: times },
            {
              name: 'Value',
              type: FieldType.number,
              labels: metric,
              config: { displayNameFromDS: fill(legend(legendFormat, metric, query), view.variables) },
              values: values[index].map((value) => (value === null || Number.isFinite(value) ? value : null)),
            },
          ],
        }),
      );
    }),
  );
  return answers.flat();
}

function table(series: Series[], refId: string): DataFrame {
  const labels = [...new Set(series.flatMap(({ metric }) => Object.keys(metric)))].sort();
  return createDataFrame({
    refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: series.map(({ value }) => value![0] * 1000) },
      ...labels.map((label) => ({ name: label, type: FieldType.string, values: series.map(({ metric }) => metric[label]) })),
      { name: 'Value', type: FieldType.number, values: series.map(({ value }) => Number(value![1])) },
    ],
  });
}

export interface Mark {
  from: number;
  to: number;
  colour: string;
}

/** Points of an annotation's series that follow each other are one mark, as in Grafana. */
export async function marks(board: Board, view: View): Promise<Mark[]> {
  const found = board.annotations.list.map(async ({ target, iconColor }) => {
    if (!target) return [];
    const step = target.interval ? parseInt(target.interval) : view.step;
    const series = await range(fill(target.expr, view.variables), { ...view, step });
    return series.flatMap(({ values }) => {
      const spans: Mark[] = [];
      for (const [time, value] of values ?? []) {
        if (Number(value) <= 0) continue;
        const last = spans.at(-1);
        if (last && time - last.to <= step * 1.5) last.to = time;
        else spans.push({ from: time, to: time, colour: iconColor ?? 'blue' });
      }
      return spans;
    });
  });
  return (await Promise.all(found)).flat();
}
