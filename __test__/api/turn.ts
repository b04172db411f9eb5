/** Waits until the event loop has turned: what was sent in this turn is on its way. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, 0);
  });
}
