// A board as Grafana lays it out: 24 columns, on a phone one below the other.
import '@fontsource/inter/400.css';
import '@fontsource/inter/500.css';
import { ThemeContext } from '@grafana/data';
import { GlobalStyles } from '@grafana/ui';
import { useEffect, useState } from 'react';
import { createRoot } from 'react-dom/client';
import type { Board, Panel as PanelModel, Row } from './board';
import { register, theme } from './grafana';
import { Panel } from './panel';
import { fill, marks, type Mark, type View } from './query';

const CELL = 30;
const GAP = 8;
const PHONE = 769;

const boards = import.meta.glob<{ default: Board }>('../../grafana/*.json', { eager: true });

function Shown({ board, view }: { board: Board; view: View }) {
  const [marked, setMarked] = useState<Mark[]>();
  useEffect(() => void marks(board, view).then(setMarked), [board, view]);
  const width = window.innerWidth - 2 * GAP;
  const column = (width + GAP) / 24;
  const phone = window.innerWidth < PHONE;
  if (!marked) return null;
  const tall = (h: number) => h * (CELL + GAP) - GAP;
  const isRow = (panel: PanelModel | Row): panel is Row => panel.type === 'row';
  const place = ({ x, y, w, h }: { x: number; y: number; w: number; h: number }): React.CSSProperties =>
    phone
      ? { marginBottom: GAP }
      : { height: tall(h), left: x * column, position: 'absolute', top: y * (CELL + GAP), width: w * column - GAP };
  const end = Math.max(...board.panels.map(({ gridPos }) => gridPos!.y + gridPos!.h));
  return (
    <main style={{ padding: GAP }}>
      <h1 style={{ fontSize: 18, margin: '4px 4px 10px' }}>{board.title}</h1>
      <div style={{ height: phone ? undefined : end * (CELL + GAP), position: 'relative' }}>
        {board.panels.map((panel) => (
          <div key={panel.id} style={place(panel.gridPos!)}>
            {isRow(panel) ? (
              <h2 data-row style={{ fontSize: 16, fontWeight: 500, lineHeight: `${CELL}px`, margin: '0 4px' }}>
                ⌄ {fill(panel.title ?? '', view.variables)}
              </h2>
            ) : (
              <Panel
                panel={panel}
                view={view}
                marks={marked}
                width={phone ? width : panel.gridPos.w * column - GAP}
                height={tall(panel.gridPos.h)}
              />
            )}
          </div>
        ))}
      </div>
    </main>
  );
}

/** JSON has no −∞, where Grafana's first threshold begins: its application puts it back. */
function withFirstThreshold(board: Board) {
  for (const panel of board.panels) {
    const steps = 'fieldConfig' in panel ? panel.fieldConfig?.defaults.thresholds?.steps : undefined;
    if (steps?.length) steps[0].value = -Infinity;
  }
  return board;
}

register();
const wanted = new URLSearchParams(location.search);
const board = boards[`../../grafana/${wanted.get('board')}.json`]?.default;
if (!board) throw new Error(`there is no board ${wanted.get('board')}`);
const view: View = {
  from: Number(wanted.get('from')),
  to: Number(wanted.get('to')),
  step: Number(wanted.get('step')),
  variables: JSON.parse(wanted.get('variables') ?? '{}'),
};
createRoot(document.getElementById('root')!).render(
  <ThemeContext.Provider value={theme}>
    <GlobalStyles />
    <Shown board={withFirstThreshold(board)} view={view} />
  </ThemeContext.Provider>,
);
