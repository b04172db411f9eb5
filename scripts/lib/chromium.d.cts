import type { Browser } from 'playwright-core';

/** Where a Chromium is, if there is one. */
export function chromiumPath(): string | undefined;

/** Starts it; the caller closes it. */
export function launchChromium(options?: { readonly args?: readonly string[] }): Promise<Browser>;
