// The same for the subpath that runs a server in the process.
import type * as declared from '@norikv/client/server';
import * as implementation from '../../src/server.js';

const check: typeof declared = implementation;
void check;

type Undeclared = Exclude<keyof typeof implementation, keyof typeof declared>;
const none: [Undeclared] extends [never] ? true : Undeclared = true;
void none;
