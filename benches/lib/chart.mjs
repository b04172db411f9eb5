// The picture: a bar for each row, its ratio as a part of its budget, on a log axis where 1 is the budget.
import { keyOf, times } from './report.mjs';

export async function draw(report) {
  const { parse, View } = await import('vega');
  const { compile } = await import('vega-lite');
  const values = report.rows
    .filter((row) => row.ratio !== undefined)
    .map((row, at) => ({
      at,
      row: keyOf(row),
      part: row.ratio / row.budget,
      met: row.met ? 'met' : 'not met',
      text: times(row.ratio),
    }));
  // Room for the figures beyond the longest bars.
  const parts = values.map(({ part }) => part);
  const domain = [Math.min(0.5, ...parts) / 2, Math.max(2, ...parts) * 1.8];
  const y = { field: 'row', type: 'nominal', sort: { field: 'at' }, title: null };
  const x = {
    field: 'part',
    type: 'quantitative',
    title: 'ratio ÷ budget (log); a bar to the right of 1 keeps its budget',
  };
  const scale = { type: 'log', domain, nice: false };
  const label = (test, align, dx) => ({
    transform: [{ filter: `datum.part ${test} 1` }],
    mark: { type: 'text', align, dx },
    encoding: { y, x: { ...x, scale }, text: { field: 'text' } },
  });
  const spec = {
    data: { values },
    title: { text: 'NoriKV against its budgets', subtitle: `${report.date} · ${report.commit}` },
    background: 'white',
    width: 420,
    height: { step: 17 },
    layer: [
      {
        mark: { type: 'bar', height: 11 },
        encoding: {
          y,
          x: { ...x, scale, axis: { grid: true, format: '~g', tickCount: 8 } },
          x2: { datum: 1 },
          color: {
            field: 'met',
            type: 'nominal',
            scale: { domain: ['met', 'not met'], range: ['#2e7d5b', '#c2553d'] },
            legend: { title: null, orient: 'top' },
          },
        },
      },
      { mark: { type: 'rule', color: '#333' }, encoding: { x: { datum: 1, scale } } },
      label('>=', 'left', 4),
      label('<', 'right', -4),
    ],
    config: { font: 'sans-serif', axisY: { labelLimit: 0 } },
  };
  return new View(parse(compile(spec).spec), { renderer: 'none' }).toSVG();
}
