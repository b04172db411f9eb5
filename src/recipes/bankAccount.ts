import { CorruptionError } from '@norikv/client';
import type { CallOptions } from '@norikv/client';
import { Aggregate } from './aggregate.js';
import type { Event } from './eventLog.js';
import type { EventStore } from './eventStore.js';
import { isRecord } from './json.js';
import { describe } from './keys.js';
import { checkWhole } from './options.js';

/** How many events come between two snapshots. */
const SNAPSHOT_EVERY = 100;

/** What a {@link BankAccountAggregate} knows. */
export interface BankAccount {
  /** What is on it, in the least units of its currency: cents. */
  readonly balance: number;
  /** Whether it was opened. */
  readonly isOpen: boolean;
}

/** Why a bank account refuses. */
export type BankAccountRefusal =
  'already open' | 'not open' | 'insufficient funds' | 'balance too large';

/** A bank account refused what it was asked. Nothing was appended. */
export class BankAccountError extends Error {
  /** The account. */
  readonly accountId: string;
  /** Why. */
  readonly reason: BankAccountRefusal;

  /** The account makes it; make one of your own to test what handles it. */
  constructor(accountId: string, reason: BankAccountRefusal, message: string) {
    super(message);
    this.name = 'BankAccountError';
    this.accountId = accountId;
    this.reason = reason;
  }
}

/**
 * A bank account that is the sum of what happened to it: the example of an {@link Aggregate}.
 *
 * Of two withdrawals that the balance is enough for one of, one passes, wherever they are made. Amounts are whole numbers of the
 * least unit, since sums of fractions are not exact.
 *
 * Keys: as of an `Aggregate`; a snapshot every 100 events at `snapshots/bank-account/<account>`.
 *
 * ```ts
 * import { NoriKVClient } from '@norikv/client';
 * import { BankAccountAggregate, EventStore } from '@norikv/client/recipes';
 *
 * await using client = await NoriKVClient.open('memory:');
 * const store = new EventStore(client);
 * const account = new BankAccountAggregate(store, 'account-123');
 * await account.openAccount();
 * await account.deposit(100);
 * const other = new BankAccountAggregate(store, 'account-123');
 * const both = await Promise.allSettled([account.withdraw(100), other.withdraw(100)]);
 * console.log(both.map(({ status }) => status).sort().join(', ')); // fulfilled, rejected
 * await account.load();
 * console.log(account.getBalance()); // 0
 * ```
 */
export class BankAccountAggregate extends Aggregate<BankAccount> {
  /** @param accountId - 1 to 256 bytes of UTF-8. */
  constructor(store: EventStore, accountId: string) {
    super(store, accountId, {
      snapshots: { name: 'bank-account', every: SNAPSHOT_EVERY, restore },
    });
  }

  /** Opens the account. @throws {@link BankAccountError} if it is open. */
  async openAccount(options?: CallOptions): Promise<void> {
    await this.execute(({ isOpen }) => {
      if (isOpen) throw this.#refused('already open');
      return { type: 'AccountOpened', data: {} };
    }, options);
  }

  /**
   * Pays in.
   *
   * @param amount - In the least unit, 1 at least. @throws {@link BankAccountError}; `InvalidArgumentError`.
   */
  async deposit(amount: number, options?: CallOptions): Promise<void> {
    checkAmount(amount);
    await this.execute(({ isOpen, balance }) => {
      if (!isOpen) throw this.#refused('not open');
      if (!Number.isSafeInteger(balance + amount))
        throw this.#refused('balance too large', balance);
      return { type: 'MoneyDeposited', data: { amount } };
    }, options);
  }

  /**
   * Pays out.
   *
   * @param amount - In the least unit, 1 at least. @throws {@link BankAccountError}, if there is less; `InvalidArgumentError`.
   */
  async withdraw(amount: number, options?: CallOptions): Promise<void> {
    checkAmount(amount);
    await this.execute(({ isOpen, balance }) => {
      if (!isOpen) throw this.#refused('not open');
      if (balance < amount) throw this.#refused('insufficient funds', balance);
      return { type: 'MoneyWithdrawn', data: { amount } };
    }, options);
  }

  /** What is on the account, as far as it is loaded. */
  getBalance(): number {
    return this.state.balance;
  }

  protected initial(): BankAccount {
    return { balance: 0, isOpen: false };
  }

  protected apply(account: BankAccount, event: Event): BankAccount {
    switch (event.type) {
      case 'AccountOpened':
        return { ...account, isOpen: true };
      case 'MoneyDeposited':
        return { ...account, balance: account.balance + amountOf(event) };
      case 'MoneyWithdrawn':
        return { ...account, balance: account.balance - amountOf(event) };
      default:
        throw unknown(event);
    }
  }

  #refused(reason: BankAccountRefusal, balance?: number): BankAccountError {
    const has = balance === undefined ? '' : `; it has ${balance}`;
    return new BankAccountError(this.id, reason, `account ${describe(this.id)}: ${reason}${has}`);
  }
}

function checkAmount(amount: unknown): void {
  checkWhole(amount, 'an amount', 1, Number.MAX_SAFE_INTEGER);
}

function amountOf(event: Event): number {
  const amount = isRecord(event.data) ? event.data.amount : undefined;
  if (typeof amount === 'number' && Number.isSafeInteger(amount) && amount > 0) return amount;
  throw unknown(event);
}

function unknown({ aggregateId, version, type }: Event): CorruptionError {
  return new CorruptionError(
    `event ${version} of ${describe(aggregateId)} is no event of a bank account: ${describe(type)}; another kind of aggregate may have this id`,
  );
}

function restore(kept: unknown): BankAccount | null {
  if (!isRecord(kept)) return null;
  const { balance, isOpen } = kept;
  if (typeof balance !== 'number' || !Number.isSafeInteger(balance)) return null;
  return typeof isOpen === 'boolean' ? { balance, isOpen } : null;
}
