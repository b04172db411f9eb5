import type { CallOptions } from '@norikv/client';
import { Aggregate } from '@norikv/client/recipes';
import type { Event } from '@norikv/client/recipes';

/** What somebody buys, and the reservation that keeps it for them. */
export interface Purchase {
  readonly user: string;
  readonly sku: string;
  readonly quantity: number;
  readonly cents: number;
  readonly reservation: string;
}

/** Where an order is: it ends as `completed`, `declined`, `refunded` or `abandoned`. */
export type Step = 'none' | 'placed' | 'paid' | 'completed' | 'declined' | 'refunded' | 'abandoned';

export interface OrderState {
  readonly step: Step;
  readonly purchase: Purchase | null;
}

/** Which event comes after which. */
const NEXT: Readonly<Record<Step, Readonly<Record<string, Step>>>> = {
  none: { Placed: 'placed', Abandoned: 'abandoned' },
  placed: { Paid: 'paid', Declined: 'declined' },
  paid: { Completed: 'completed', Refunded: 'refunded' },
  completed: {},
  declined: {},
  refunded: {},
  abandoned: {},
};

/** An order: what happened to it, and nothing else. */
export class Order extends Aggregate<OrderState> {
  protected initial(): OrderState {
    return { step: 'none', purchase: null };
  }

  protected apply(state: OrderState, { type, data }: Event): OrderState {
    const step = NEXT[state.step][type];
    if (step === undefined) throw new Error(`an order is not ${type} once it is ${state.step}`);
    return { step, purchase: type === 'Placed' ? (data as Purchase) : state.purchase };
  }

  /** Has something happen, unless something else did before: the state says what. */
  async record(type: string, data: object, options: CallOptions): Promise<OrderState> {
    await this.execute(
      ({ step }) => (NEXT[step][type] === undefined ? [] : { type, data }),
      options,
    );
    return this.state;
  }
}
