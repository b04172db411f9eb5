/** Bytes as `scripts/lib/text.mjs` writes them. */
export interface Text {
  readonly characters: string;
  /** How many of the characters stand for a byte by themselves; the others begin a pair. */
  readonly alone: number;
  /** The bytes, by the rank that their characters say. */
  readonly order: readonly number[];
  readonly length: number;
  readonly text: string;
}

/** Reads the bytes back. */
export function bytesOf({ characters, alone, order, length, text }: Text): Uint8Array<ArrayBuffer> {
  const ranks = new Uint8Array(128);
  for (let at = 0; at < characters.length; at += 1) ranks[characters.charCodeAt(at)] = at;
  const byRank = Uint8Array.from(order);
  const bytes = new Uint8Array(length);
  let next = 0;
  for (let at = 0; at < length; at += 1) {
    let rank = ranks[text.charCodeAt(next++)] ?? 0;
    if (rank >= alone) {
      const second = ranks[text.charCodeAt(next++)] ?? 0;
      rank = alone + (rank - alone) * characters.length + second;
    }
    bytes[at] = byRank[rank] ?? 0;
  }
  return bytes;
}
