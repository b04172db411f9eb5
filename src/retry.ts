import type { RetryConfig, RetryPolicyBuilder } from '../index.js';

/** Begins a retry policy. What is wrong with one is said by the client that gets it. */
export function retryPolicy(config: RetryConfig = {}): RetryPolicyBuilder {
  return {
    maxAttempts: (maxAttempts) => retryPolicy({ ...config, maxAttempts }),
    initialDelay: (initialDelay) => retryPolicy({ ...config, initialDelay }),
    maxDelay: (maxDelay) => retryPolicy({ ...config, maxDelay }),
    backoffMultiplier: (backoffMultiplier) => retryPolicy({ ...config, backoffMultiplier }),
    jitter: (jitter) => retryPolicy({ ...config, jitter }),
    build: () => config,
  };
}
