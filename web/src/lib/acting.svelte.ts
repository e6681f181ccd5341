// What a panel does on request, one thing at a time, and what it says of that.
import { ApiError } from './api';

export class Acting {
  busy = $state(false);
  /** What was done last. */
  said = $state('');
  /** Why it was not done. */
  problem = $state<unknown>(null);
  /** The same, where the server tells which field is wrong. */
  refused = $derived(this.problem instanceof ApiError ? this.problem : null);

  /** Resolves to whether it was done. */
  async act(ask: () => Promise<unknown>, done: string): Promise<boolean> {
    this.busy = true;
    this.problem = null;
    try {
      await ask();
      this.said = done;
      return true;
    } catch (error) {
      this.problem = error;
      return false;
    } finally {
      this.busy = false;
    }
  }
}
