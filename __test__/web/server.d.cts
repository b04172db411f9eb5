/** Bundles test files for a browser. Answers the text of each file by its path. */
export function bundle(files: readonly string[], client?: string): Promise<Map<string, Uint8Array>>;

/** Serves `pages` (texts by path) and the built client. `headers` go with every answer. */
export function serve(
  pages: ReadonlyMap<string, string | Uint8Array>,
  headers?: Readonly<Record<string, string>>,
): Promise<{ readonly origin: string; close(): Promise<void> }>;
