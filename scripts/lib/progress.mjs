// Says what a long step is doing: one line that rewrites itself on a terminal, plain lines in CI.
const live = process.stdout.isTTY === true && !process.env.CI;
const everyMs = live ? 250 : 30_000;

export function elapsed(sinceMs) {
  const seconds = Math.round((Date.now() - sinceMs) / 1000);
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

export function startProgress(label) {
  const started = Date.now();
  let latest = '';
  if (!live) console.log(label);

  const show = () => {
    const text = `${label} · ${elapsed(started)}${latest === '' ? '' : ` · ${latest}`}`;
    if (live) process.stdout.write(`\r\x1b[K${text.slice(0, (process.stdout.columns ?? 80) - 1)}`);
    else console.log(`  … ${elapsed(started)} · ${latest}`);
  };
  const timer = setInterval(show, everyMs);

  return {
    line(text) {
      // Without colours and cursor movements, which belong to the program's own screen.
      // eslint-disable-next-line no-control-regex
      latest = text.replace(/\x1b\[[0-9;]*[A-Za-z]/g, '').trim();
    },
    end(outcome) {
      clearInterval(timer);
      const text = `${outcome} (${elapsed(started)})`;
      if (live) process.stdout.write(`\r\x1b[K${label} · ${text}\n`);
      else console.log(`  ${text}`);
    },
  };
}
