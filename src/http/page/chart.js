// The large chart of one subject, in three panes: mean score around zero with the index as a dashed line; new negative items
// over a band of what is usual; all items.

import { clock, counted, few, minute, signed, whole } from './format.js';
import { say } from './words.js';

// Bounds the slots that a long silence adds to the time axis.
const LONGEST_GAP_SLOTS = 60;
const LEAST_SLOTS_SHOWN = 60;

// The chart draws on a canvas, which knows no variables and no light-dark().
const probe = document.createElement('i');
probe.hidden = true;
document.body.append(probe);
function colour(name) {
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}

const INVISIBLE = Object.fromEntries(
  ['topLineColor', 'topFillColor1', 'topFillColor2', 'bottomLineColor', 'bottomFillColor1', 'bottomFillColor2'].map(name => [name, 'transparent']),
);

/** `null` where the chart library did not load: the page works without. */
export function createScoreChart(container, legend) {
  const library = window.LightweightCharts;
  if (!library) {
    legend.textContent = say('no_chart');
    return null;
  }
  // Always the whole kept span: without zoom, the wheel and the finger scroll the page.
  const chart = library.createChart(container, {
    autoSize: true,
    handleScroll: false,
    handleScale: false,
    // The library's logo adds a style element, which the content security policy refuses, and names this host in its
    // link: the page carries notice and link itself.
    layout: { attributionLogo: false, panes: { enableResize: false }, fontFamily: getComputedStyle(document.body).fontFamily, fontSize: 11 },
    localization: { locale: 'en-GB', timeFormatter: time => `${clock(time * 1000)} UTC` },
    timeScale: { timeVisible: true, secondsVisible: false, borderVisible: false, minBarSpacing: 0.1 },
    rightPriceScale: { borderVisible: false, minimumWidth: 52, entireTextOnly: true },
    crosshair: { mode: library.CrosshairMode.Magnet },
  });
  // Added first, so that it lies behind: while an alert is open, a wash with a bar on top.
  const alertBand = chart.addSeries(library.AreaSeries, {
    priceScaleId: 'alerts',
    lineType: library.LineType.WithSteps,
    lineWidth: 4,
    crosshairMarkerVisible: false,
    priceLineVisible: false,
    lastValueVisible: false,
    autoscaleInfoProvider: () => ({ priceRange: { minValue: 0, maxValue: 1 } }),
  });
  alertBand.priceScale().applyOptions({ scaleMargins: { top: 0, bottom: 0 } });
  const score = chart.addSeries(library.BaselineSeries, {
    baseValue: { type: 'price', price: 0 },
    lineWidth: 2,
    priceLineVisible: false,
    priceFormat: { type: 'custom', minMove: 0.01, formatter: signed },
    // Zero always in sight, and no drama out of a flat line.
    autoscaleInfoProvider: original => {
      const range = original()?.priceRange;
      return { priceRange: { minValue: Math.min(-0.25, range?.minValue ?? 0), maxValue: Math.max(0.25, range?.maxValue ?? 0) } };
    },
  });
  score.priceScale().applyOptions({ scaleMargins: { top: 0.06, bottom: 0.06 } });
  const index = chart.addSeries(library.LineSeries, {
    lineWidth: 1,
    lineStyle: library.LineStyle.Dashed,
    crosshairMarkerVisible: false,
    priceLineVisible: false,
    lastValueVisible: false,
    priceFormat: { type: 'custom', minMove: 0.01, formatter: signed },
  });
  const zero = score.createPriceLine({ price: 0, lineWidth: 1, lineStyle: library.LineStyle.Solid, axisLabelVisible: false });
  // Bars a pixel or two wide make stripes; a filled step is the same histogram without them.
  const steps = (pane, least) => chart.addSeries(library.AreaSeries, {
    lineType: library.LineType.WithSteps,
    lineVisible: false,
    crosshairMarkerVisible: false,
    priceLineVisible: false,
    lastValueVisible: false,
    priceFormat: { type: 'custom', minMove: 1, formatter: value => whole(Math.round(value)) },
    autoscaleInfoProvider: original => ({ priceRange: { minValue: 0, maxValue: Math.max(least, original()?.priceRange.maxValue ?? 0) } }),
  }, pane);
  // What is usual lies over the bars, so that what stands out of it stands out.
  const novel = steps(1, 3);
  const usual = steps(1, 3);
  const items = steps(2, 4);
  for (const series of [novel, items]) series.priceScale().applyOptions({ scaleMargins: { top: 0.12, bottom: 0 } });
  chart.panes().forEach((pane, place) => pane.setStretchFactor([6, 3, 2][place]));

  let shown = '';
  let slots = [];

  function show(points, transitions, windowSeconds) {
    const content = JSON.stringify([points[0], points.at(-1), points.length, transitions.map(alert => [alert.id, alert.sequence])]);
    if (content === shown) return;
    shown = content;
    slots = timeSlots(points, windowSeconds).map(slot => ({ ...slot, severity: severityAt(slot.time * 1000, transitions) }));
    alertBand.setData(slots.map(({ time, severity }) => {
      const wash = severity ? colour(`${severity}-wash`) : 'transparent';
      return { time, value: 1, lineColor: severity ? colour(severity) : 'transparent', topColor: wash, bottomColor: wash };
    }));
    score.setData(slots.map(({ time, mean }, index) => {
      if (mean == null) return { time };
      // A segment takes the colours of its left end: no line across "no data".
      return index + 1 < slots.length && slots[index + 1].mean == null ? { time, value: mean, ...INVISIBLE } : { time, value: mean };
    }));
    score.applyOptions({ lastValueVisible: slots.at(-1)?.mean != null });
    index.setData(slots.map(({ time, index: value }) => (value == null ? { time } : { time, value })));
    items.setData(slots.map(({ time, count }) => ({ time, value: count })));
    novel.setData(slots.map(({ time, novel: value }) => ({ time, value })));
    usual.setData(slots.map(({ time, most }) => (most == null ? { time } : { time, value: most })));
    // A young series starts at the right edge.
    if (slots.length > 0) chart.timeScale().setVisibleLogicalRange({ from: Math.min(-0.5, slots.length - LEAST_SLOTS_SHOWN), to: slots.length - 0.5 });
    const span = slots.length > 0 ? say('chart_span', { from: minute(slots[0].time * 1000), to: minute(slots.at(-1).time * 1000) }) : '';
    container.setAttribute('aria-label', `${say('chart_label')}${span}`);
    paintLegend();
  }

  function paintLegend(time) {
    const slot = slots.find(candidate => candidate.time === time) ?? slots.at(-1);
    let text = '';
    if (slot) {
      const figures = { mean: signed(slot.mean), index: signed(slot.index), items: counted('n_items', slot.count), novel: whole(slot.novel) };
      text = say('legend', { time: clock(slot.time * 1000), ...figures });
      if (slot.most != null) text += say('legend_usual', { expected: few(slot.expected), most: whole(slot.most) });
      if (slot.severity) text += `  ${say('legend_alert', { severity: say(slot.severity) })}`;
    }
    if (legend.textContent !== text) legend.textContent = text;
  }

  function recolour() {
    const muted = colour('muted');
    const crosshairLine = { color: muted, labelBackgroundColor: colour('chip') };
    chart.applyOptions({
      layout: { background: { type: 'solid', color: 'transparent' }, textColor: muted, panes: { separatorColor: colour('line') } },
      grid: { vertLines: { visible: false }, horzLines: { color: colour('line-faint') } },
      crosshair: { vertLine: crosshairLine, horzLine: crosshairLine },
    });
    score.applyOptions({
      topLineColor: colour('positive'), topFillColor1: colour('positive-fill'), topFillColor2: colour('positive-fill-faint'),
      bottomLineColor: colour('negative'), bottomFillColor1: colour('negative-fill-faint'), bottomFillColor2: colour('negative-fill'),
    });
    zero.applyOptions({ color: muted });
    index.applyOptions({ color: colour('accent') });
    items.applyOptions({ topColor: colour('volume'), bottomColor: colour('volume') });
    novel.applyOptions({ topColor: colour('negative-volume'), bottomColor: colour('negative-volume') });
    usual.applyOptions({ topColor: colour('usual'), bottomColor: colour('usual') });
    shown = '';
  }

  chart.subscribeCrosshairMove(({ time }) => paintLegend(time));
  recolour();
  return { show, recolour };
}

/** The severity of the gravest alert open at `time`; `null` without one. Transitions are oldest first. */
function severityAt(time, transitions) {
  const latest = new Map();
  for (const alert of transitions) if (Date.parse(alert.at) <= time) latest.set(alert.id, alert);
  const open = [...latest.values()].filter(alert => alert.transition !== 'resolved').map(alert => alert.severity);
  return open.includes('critical') ? 'critical' : open[0] ?? null;
}

// The chart's axis counts slots, not seconds: slots between the points keep it true to time. A point is sent only when its
// window moved, so within one window length the last point still holds; after a longer silence there is no data.
function timeSlots(points, windowSeconds) {
  const known = points.map(({ t, ...point }) => ({ time: Math.floor(t / 1000), ...point }));
  const bySecond = [...new Map(known.map(slot => [slot.time, slot])).values()];
  const step = Math.min(...bySecond.slice(1).map((slot, index) => slot.time - bySecond[index].time));
  return bySecond.flatMap((slot, index) => {
    const gap = (bySecond[index + 1]?.time ?? slot.time) - slot.time;
    const held = gap <= windowSeconds ? slot : { mean: null, index: null, count: 0, novel: 0, expected: null, most: null };
    const missing = Math.min(Math.ceil(gap / step) - 1, LONGEST_GAP_SLOTS);
    return [slot, ...Array.from({ length: Math.max(0, missing) }, (_, number) => ({ ...held, time: slot.time + (number + 1) * step }))];
  });
}
