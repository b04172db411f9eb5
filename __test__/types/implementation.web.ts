// The build for browsers is what the hand-written declarations say it is.
import type * as declared from '@norikv/client';
import * as implementation from '../../src/entry.inline.js';

const check: typeof declared = implementation;
void check;

// And it exports nothing that they leave out.
type Undeclared = Exclude<keyof typeof implementation, keyof typeof declared>;
const none: [Undeclared] extends [never] ? true : Undeclared = true;
void none;
