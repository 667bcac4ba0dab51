// What a board may hold, by @grafana/schema: the panels that ours use, each with the options of its kind.
import type {
  AnnotationQuery,
  BarGaugePanelCfg,
  Dashboard,
  DataQuery,
  FieldConfigSource,
  GraphFieldConfig,
  Panel as AnyPanel,
  RowPanel,
  StatPanelCfg,
  TableFieldOptions,
  TimeSeriesPanelCfg,
  VariableModel,
} from './schema';

// JSON has the values of an enumeration, not its names.
type Json<T> = T extends string
  ? `${T}`
  : T extends number | boolean | null | undefined
    ? T
    : T extends (infer Item)[]
      ? Json<Item>[]
      : T extends object
        ? { [Key in keyof T]: Json<T[Key]> }
        : unknown;

export interface PromQuery extends DataQuery {
  expr: string;
  editorMode?: 'code' | 'builder';
  format?: 'time_series' | 'table' | 'heatmap';
  instant?: boolean;
  interval?: string;
  legendFormat?: string;
  range?: boolean;
}

// Not in the schema: how Grafana fills an annotation's text from a series.
type Annotation = AnnotationQuery<PromQuery> & { tagKeys?: string; textFormat?: string; titleFormat?: string };

type Variable = VariableModel & { query?: string | { qryType: number; query: string; refId: string } };

type PanelOf<Kind extends string, Options, Custom = Record<never, never>> = Omit<
  AnyPanel,
  'type' | 'options' | 'fieldConfig' | 'targets' | 'title' | 'description' | 'gridPos' | 'id'
> &
  Required<Pick<AnyPanel, 'title' | 'description' | 'gridPos' | 'id'>> & {
    type: Kind;
    options: Options;
    fieldConfig: Omit<FieldConfigSource, 'defaults'> & {
      defaults: Omit<FieldConfigSource['defaults'], 'custom'> & { custom?: Partial<Custom> };
    };
    targets: PromQuery[];
  };

export type TimeSeriesPanel = Json<PanelOf<'timeseries', TimeSeriesPanelCfg, GraphFieldConfig>>;
export type StatPanel = Json<PanelOf<'stat', StatPanelCfg>>;
export type BarGaugePanel = Json<PanelOf<'bargauge', BarGaugePanelCfg>>;
export type TablePanel = Json<
  PanelOf<'table', { cellHeight: string; showHeader: boolean; sortBy: { displayName: string; desc: boolean }[] }, TableFieldOptions>
>;
export type Panel = TimeSeriesPanel | StatPanel | BarGaugePanel | TablePanel;
export type Row = Json<RowPanel>;

export type Board = Json<Omit<Dashboard, 'panels' | 'annotations' | 'templating'>> & {
  panels: (Panel | Row)[];
  annotations: { list: Json<Annotation>[] };
  templating: { list: Json<Variable>[] };
};
