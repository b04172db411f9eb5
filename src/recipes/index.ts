/**
 * Recipes: what people build on a key-value store and otherwise get wrong, each in a file of its own and on the public API of
 * the client only, so that it runs on every store, in Node and in browsers.
 *
 * @packageDocumentation
 */

export { Aggregate } from './aggregate.js';
export type { AggregateOptions, Decide, Snapshots } from './aggregate.js';
export { BankAccountAggregate, BankAccountError } from './bankAccount.js';
export type { BankAccount, BankAccountRefusal } from './bankAccount.js';
export { CachedClient } from './cachedClient.js';
export type { CacheStats, CachedClientOptions, CachedPutOptions } from './cachedClient.js';
export type { Unsubscribe } from './callbacks.js';
export { ConfigManager, ConfigTypeError } from './configManager.js';
export type {
  ConfigGetOptions,
  ConfigListener,
  ConfigRange,
  ConfigWatchOptions,
} from './configManager.js';
export { DistributedCounter } from './distributedCounter.js';
export { DistributedLock } from './distributedLock.js';
export type { DistributedLockOptions } from './distributedLock.js';
export { DocumentDeduplicator } from './documentDeduplicator.js';
export type { DeduplicationResult, DeduplicatorOptions } from './documentDeduplicator.js';
export { EventConflictError, EventStore, MAX_EVENTS } from './eventStore.js';
export type { AppendOptions, Event, NewEvent, SubscribeOptions } from './eventStore.js';
export { FeatureFlags } from './featureFlags.js';
export type { Flag, IsEnabledOptions, Rollout } from './featureFlags.js';
export type { HealthCheck } from './health.js';
export { HighAvailabilityCoordinator } from './highAvailability.js';
export type { HighAvailabilityOptions, Role } from './highAvailability.js';
export { InventoryManager } from './inventoryManager.js';
export type { ReserveOptions } from './inventoryManager.js';
export { InsufficientStockError } from './inventoryStock.js';
export { LeaderElection } from './leaderElection.js';
export { LeaderTask } from './leaderTask.js';
export type { LeaderTaskOptions } from './leaderTask.js';
export { LoadBalancer, Strategy } from './loadBalancer.js';
export type { LoadBalancerOptions, Selected } from './loadBalancer.js';
export { LockManager } from './lockManager.js';
export type { HeldLocks, LockManagerOptions } from './lockManager.js';
export { RateLimiter } from './rateLimiter.js';
export type { RateLimitConfig, RateLimitResult, RateLimiterOptions } from './rateLimiter.js';
export { ReadWriteLock } from './readWriteLock.js';
export { RecommendationEngine } from './recommendationEngine.js';
export type {
  ProductRecommendation,
  RecommendationEngineOptions,
  RecommendationOptions,
} from './recommendationEngine.js';
export { SemanticSearchEngine } from './semanticSearchEngine.js';
export type {
  EmbeddingModel,
  SearchResult,
  SemanticSearchOptions,
} from './semanticSearchEngine.js';
export type { Service } from './service.js';
export { ServiceRegistry } from './serviceRegistry.js';
export type { RegisterOptions, Registration, ServiceRegistryOptions } from './serviceRegistry.js';
export type { ServiceEvent } from './serviceWatch.js';
export type { SessionData } from './sessionData.js';
export { SessionManager } from './sessionManager.js';
export type { CreateSessionOptions, SessionManagerOptions } from './sessionManager.js';
export { ShardedCounter } from './shardedCounter.js';
export { SnapshotManager } from './snapshotManager.js';
export type { Snapshot } from './snapshotManager.js';
export { TenantClient } from './tenantClient.js';
export type { TenantChange } from './tenantClient.js';
export { TenantLimitError, TenantManager } from './tenantManager.js';
export type {
  TenantLimits,
  TenantManagerOptions,
  TenantMetadata,
  TenantUsage,
} from './tenantManager.js';
