// One panel in Grafana's frame, drawn by Grafana's component for its kind.
import {
  applyFieldOverrides,
  cacheFieldDisplayNames,
  dateTime,
  FieldType,
  getFieldDisplayValues,
  getDisplayValueAlignmentFactors,
  transformDataFrame,
  type DataFrame,
  type FieldConfigSource,
  type FieldDisplay,
  type TimeRange,
  VizOrientation,
} from '@grafana/data';
import { BarGauge, BigValue, PanelChrome, TimeSeries, UPlotConfigBuilder, VizRepeater } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { useEffect, useState } from 'react';
import type uPlot from 'uplot';
import type { Panel as PanelModel } from './board';
import { fieldOptions, theme } from './grafana';
import { fill, frames, type Mark, type View } from './query';

interface Props {
  panel: PanelModel;
  view: View;
  marks: Mark[];
  width: number;
  height: number;
}

/** Its state is for whoever waits for the picture, and checks it. */
export function Panel({ panel, view, marks, width, height }: Props) {
  const [data, setData] = useState<DataFrame[]>();
  const [error, setError] = useState<string>();
  useEffect(() => {
    prepared(panel, view).then(setData, (cause) => setError(String(cause)));
  }, [panel, view]);
  const values = data?.some((frame) =>
    frame.fields.some((field) => field.type !== FieldType.time && field.values.some((value) => value !== null)),
  );
  const state = error ? 'error' : data === undefined ? 'waits' : values ? 'drawn' : 'empty';
  return (
    <div data-panel={panel.title} data-kind={panel.type} data-state={state} data-error={error}>
      <PanelChrome title={fill(panel.title, view.variables)} description={panel.description} width={width} height={height}>
        {(innerWidth, innerHeight) => (data && !error ? drawn(panel, data, view, marks, innerWidth, innerHeight) : null)}
      </PanelChrome>
    </div>
  );
}

async function prepared(panel: PanelModel, view: View): Promise<DataFrame[]> {
  const asked = await frames(panel, view);
  const transformed = await new Promise<DataFrame[]>((resolve, reject) => {
    transformDataFrame((panel.transformations ?? []) as never, asked).subscribe({ next: resolve, error: reject });
  });
  const overridden = applyFieldOverrides(
    {
      data: transformed,
      fieldConfig: panel.fieldConfig as FieldConfigSource,
      fieldConfigRegistry: fieldOptions,
      replaceVariables: (text) => fill(text, view.variables),
      theme,
      timeZone: 'utc',
    },
    transformed,
  );
  cacheFieldDisplayNames(overridden);
  return overridden;
}

function drawn(panel: PanelModel, data: DataFrame[], view: View, marks: Mark[], width: number, height: number) {
  switch (panel.type) {
    case 'timeseries':
      return data.length === 0 ? (
        <Nothing>No data</Nothing>
      ) : (
        <TimeSeries
          frames={data}
          width={width}
          height={height}
          timeRange={timeRange(view)}
          timeZone="utc"
          legend={panel.options.legend as never}
          options={panel.options}
        >
          {(builder: UPlotConfigBuilder) => {
            mark(builder, marks);
            return null;
          }}
        </TimeSeries>
      );
    case 'stat':
    case 'bargauge':
      return <Values panel={panel} data={data} view={view} width={width} height={height} />;
    case 'table':
      return data[0]?.length ? (
        <TableNG data={data[0]} width={width} height={height} fieldConfig={panel.fieldConfig as never} sortBy={panel.options.sortBy} />
      ) : (
        <Nothing>{panel.fieldConfig.defaults.noValue ?? 'No data'}</Nothing>
      );
  }
}

function Values({ panel, data, view, width, height }: { panel: PanelModel; data: DataFrame[]; view: View; width: number; height: number }) {
  if (panel.type !== 'stat' && panel.type !== 'bargauge') return null;
  const get = () =>
    getFieldDisplayValues({
      fieldConfig: panel.fieldConfig as FieldConfigSource,
      reduceOptions: panel.options.reduceOptions as never,
      replaceVariables: (text) => fill(text, view.variables),
      data,
      theme,
      timeZone: 'utc',
      sparkline: panel.type === 'stat' && panel.options.graphMode !== 'none',
    });
  const several = get().length > 1;
  return (
    <VizRepeater<FieldDisplay, ReturnType<typeof getDisplayValueAlignmentFactors>>
      source={data}
      getValues={get}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      width={width}
      height={height}
      renderCounter={0}
      orientation={panel.options.orientation as VizOrientation}
      autoGrid={panel.type === 'stat'}
      minVizHeight={panel.type === 'bargauge' ? panel.options.minVizHeight : undefined}
      maxVizHeight={panel.type === 'bargauge' ? panel.options.maxVizHeight : undefined}
      itemSpacing={panel.type === 'bargauge' ? 6 : 3}
      renderValue={({ value, width, height, alignmentFactors, count, orientation }) =>
        panel.type === 'stat' ? (
          <BigValue
            theme={theme}
            width={width}
            height={height}
            value={value.display}
            sparkline={value.sparkline}
            count={count}
            alignmentFactors={several ? alignmentFactors : undefined}
            colorMode={panel.options.colorMode as never}
            graphMode={panel.options.graphMode as never}
            justifyMode={panel.options.justifyMode as never}
            textMode={panel.options.textMode as never}
            text={panel.options.text}
          />
        ) : (
          <BarGauge
            theme={theme}
            width={width}
            height={height}
            field={value.field}
            display={value.view?.getFieldDisplayProcessor(value.colIndex ?? 0)}
            value={value.display}
            orientation={orientation}
            displayMode={panel.options.displayMode as never}
            valueDisplayMode={panel.options.valueMode as never}
            namePlacement={panel.options.namePlacement as never}
            showUnfilled={panel.options.showUnfilled}
            alignmentFactors={alignmentFactors}
          />
        )
      }
    />
  );
}

const Nothing = ({ children }: { children: string }) => (
  <div style={{ alignItems: 'center', color: theme.colors.text.secondary, display: 'flex', height: '100%', justifyContent: 'center' }}>
    {children}
  </div>
);

function timeRange({ from, to }: View): TimeRange {
  const [start, end] = [dateTime(from * 1000), dateTime(to * 1000)];
  return { from: start, to: end, raw: { from: start, to: end } };
}

/** Grafana's application draws annotations; its components do not. */
function mark(builder: UPlotConfigBuilder, marks: Mark[]) {
  // Room for half of the last time below the axis.
  builder.setPadding([null, 26, null, null]);
  builder.addHook('drawClear', (plot) => {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    for (const { from, to, colour } of marks) {
      const [left, right] = [plot.valToPos(from * 1000, 'x', true), plot.valToPos(to * 1000, 'x', true)];
      ctx.fillStyle = ctx.strokeStyle = theme.visualization.getColorByName(colour);
      ctx.globalAlpha = 0.06;
      ctx.fillRect(left, bbox.top, right - left, bbox.height);
      ctx.globalAlpha = 0.7;
      ctx.setLineDash([4, 4]);
      ctx.beginPath();
      ctx.moveTo(left, bbox.top);
      ctx.lineTo(left, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  });
  // Whether a series leaves a trace, beyond axes and annotations.
  const pixels = (plot: uPlot) => new Uint32Array(plot.ctx.getImageData(0, 0, plot.ctx.canvas.width, plot.ctx.canvas.height).data.buffer);
  let bare: Uint32Array;
  builder.addHook('drawAxes', (plot) => (bare = pixels(plot)));
  builder.addHook('drawSeries', (plot) => {
    if (pixels(plot).some((pixel, index) => pixel !== bare[index])) plot.root.dataset.painted = 'yes';
  });
}
