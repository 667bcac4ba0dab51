// What Grafana's application registers before it shows a panel, for as much as our boards use.
import {
  createTheme,
  FieldConfigOptionsRegistry,
  FieldType,
  identityOverrideProcessor,
  standardTransformers,
  standardTransformersRegistry,
  TransformerCategory,
  type FieldConfigPropertyItem,
} from '@grafana/data';

export const theme = createTheme({ colors: { mode: 'dark' } });

const standard = ['color', 'decimals', 'displayName', 'links', 'mappings', 'max', 'min', 'noValue', 'thresholds', 'unit'];
const custom = [
  'align',
  'axisLabel',
  'axisPlacement',
  'axisSoftMax',
  'axisSoftMin',
  'cellOptions',
  'drawStyle',
  'fillOpacity',
  'filterable',
  'inspect',
  'lineInterpolation',
  'lineStyle',
  'lineWidth',
  'pointSize',
  'scaleDistribution',
  'showPoints',
  'spanNulls',
  'stacking',
  'thresholdsStyle',
  'width',
];

const option = (path: string, isCustom: boolean): FieldConfigPropertyItem => ({
  id: isCustom ? `custom.${path}` : path,
  path,
  isCustom,
  name: path,
  editor: () => null,
  override: () => null,
  process: identityOverrideProcessor,
  // A colour or a link is a string's as well; a unit is not a time's.
  shouldApply: (field) => field.type !== FieldType.time,
  settings: {},
});

export const fieldOptions = new FieldConfigOptionsRegistry(() => [
  ...standard.map((path) => option(path, false)),
  ...custom.map((path) => option(path, true)),
]);

export function register() {
  standardTransformersRegistry.setInit(() =>
    [standardTransformers.organizeFieldsTransformer, standardTransformers.renameByRegexTransformer].map((transformation) => ({
      id: transformation.id,
      name: transformation.name,
      transformation: async () => transformation,
      editor: () => null,
      imageDark: '',
      imageLight: '',
      categories: new Set([TransformerCategory.ReorderAndRename]),
    })),
  );
}
