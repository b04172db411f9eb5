// What is measured of vectors beside the rows, as tables: `{ title, head, lines }`.
const whole = (number) =>
  Number.isFinite(number) ? Math.round(number).toLocaleString('en-US') : '–';
const part = (number) => number.toFixed(3);
const seconds = (number) =>
  number < 1 ? `${(number * 1000).toFixed(0)} ms` : `${number.toFixed(1)} s`;
const range = (numbers) => {
  const [least, most] = [Math.min(...numbers), Math.max(...numbers)];
  return least === most ? `${least}` : `${least}–${most}`;
};
const processors = { one: 'one processor', all: 'all' };

/** Queries per second of everyone, in each shape. */
export function contestantsTable(results, count) {
  const lines = Object.entries(results).flatMap(([name, { searched }]) =>
    searched.flatMap(({ target, ef, recall, rates }) => {
      const shapes = Object.keys(Object.values(rates)[0]);
      return shapes.map((shape) => [
        name,
        `≥ ${target}`,
        part(recall),
        range(ef),
        shape,
        ...Object.keys(processors).map((each) => whole(rates[each]?.[shape])),
      ]);
    }),
  );
  return {
    title: `Searches per second, ${whole(count)} vectors`,
    head: ['who', 'recall@10', 'measured', 'candidates', 'shape', ...Object.values(processors)],
    lines,
  };
}

/** What each quantization costs and saves. */
export function quantizationTable(results, count) {
  const ours = Object.entries(results).filter(([name]) => name.startsWith('NoriKV'));
  const fastest = ({ rates }) => Math.max(...Object.values(rates.all));
  return {
    title: `Quantization, ${whole(count)} vectors of 128 numbers`,
    head: [
      '`quantization`',
      'bytes of memory for each vector',
      ...ours[0][1].searched.map(({ target }) => `searches/s at recall ≥ ${target} (\`efSearch\`)`),
      'inserts/s',
    ],
    lines: ours.map(([name, { memoryBytes, searched, indexed }]) => [
      `\`'${name.slice('NoriKV, '.length)}'\``,
      whole(memoryBytes / count),
      ...searched.map((each) => `${whole(fastest(each))} (${range(each.ef)})`),
      whole(count / indexed),
    ]),
  };
}

/** The same work with few vectors and with many. */
export function growthTable(sizes) {
  return {
    title: 'Growth, quantization none',
    head: [
      'vectors',
      'inserts/s, acknowledged',
      'inserts/s, indexed',
      'searches/s at recall ≥ 0.95',
      'candidates',
      'open',
      'bytes of memory for each vector, its own included: the index',
      'the process',
    ],
    lines: sizes.map(
      ({ count, acknowledged, indexed, searched, opened, memoryOpened, beyondOpened }) => [
        whole(count),
        whole(count / acknowledged),
        whole(count / indexed),
        searched.length > 0 ? whole(Math.max(...Object.values(searched[0].rates.all))) : '–',
        searched.length > 0 ? range(searched[0].ef) : '–',
        seconds(opened),
        whole(memoryOpened / count),
        whole(beyondOpened + 512),
      ],
    ),
  };
}
