use std::time::Duration;

use norikv_core::{
    Address, Backoff, DEFAULT_TIMEOUT, DEFAULT_TOTAL_SHARDS, Durability, Error, NodeAddress, Result,
    RetryPolicy,
};
use serde::Deserialize;

/// How a client is set up: what JavaScript passes to `new NoriKVClient(…)`, read and judged.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Where the store is.
    pub target: Target,
    /// How long a call may take unless it says otherwise.
    pub timeout: Duration,
    /// How often a call is tried.
    pub retry: RetryPolicy,
    /// How many shards the cluster places keys on.
    pub total_shards: u32,
    /// Whether to follow the cluster's view.
    pub watch_cluster: bool,
    /// The most connections to one node.
    pub max_connections_per_node: usize,
    /// What calls say who they are with.
    pub token: Option<String>,
    /// When an embedded store acknowledges a write.
    pub durability: Durability,
    /// The largest value an embedded store takes, in bytes.
    pub max_value_bytes: Option<usize>,
    /// How long an embedded store keeps old revisions.
    pub history: Option<Duration>,
    /// How many old revisions an embedded store keeps.
    pub history_revisions: Option<u64>,
    /// How long an embedded store remembers idempotency keys.
    pub idempotency_window: Option<Duration>,
}

/// The places a client can be pointed at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One address.
    Address(Address),
    /// NoriKV servers.
    Nodes(Vec<NodeAddress>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Raw {
    address: Option<String>,
    nodes: Option<Vec<String>>,
    total_shards: Option<f64>,
    timeout: Option<f64>,
    retry: Option<RawRetry>,
    watch_cluster: Option<bool>,
    max_connections_per_node: Option<f64>,
    token: Option<String>,
    durability: Option<String>,
    max_value_bytes: Option<f64>,
    history_ms: Option<f64>,
    history_revisions: Option<f64>,
    idempotency_window_ms: Option<f64>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawRetry {
    max_attempts: Option<f64>,
    initial_delay: Option<f64>,
    max_delay: Option<f64>,
    backoff_multiplier: Option<f64>,
    jitter: Option<bool>,
}

const MAX_NODES: usize = 1_024;
/// Embedded stores hold a value in memory several times while it is written.
const MAX_VALUE_BYTES: f64 = 1024.0 * 1024.0 * 1024.0;
/// 2^53 − 1, the largest whole number that JavaScript is sure of.
const MAX_SAFE: f64 = 9_007_199_254_740_991.0;
/// The longest time that is taken: about 31 years.
const MAX_MILLIS: f64 = 1e12;

impl ClientConfig {
    /// Reads a configuration from its JSON.
    ///
    /// # Errors
    /// `InvalidArgument` naming the setting that is wrong, what was found and what it takes.
    pub fn from_json(json: &str) -> Result<Self> {
        let mut json = serde_json::Deserializer::from_str(json);
        let raw: Raw = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let (setting, why) = (error.path().to_string(), error.into_inner());
            Error::invalid_argument(format!("the client's configuration is wrong at {setting}: {why}"))
        })?;
        let target = match (raw.address, raw.nodes) {
            (Some(address), None) => match address.parse()? {
                Address::Node(node) => Target::Nodes(vec![node]),
                address => Target::Address(address),
            },
            (None, Some(nodes)) if (1..=MAX_NODES).contains(&nodes.len()) => {
                Target::Nodes(nodes.iter().map(|node| node.parse()).collect::<Result<_>>()?)
            }
            (None, Some(nodes)) => {
                return Err(Error::invalid_argument(format!(
                    "nodes lists 1 to {MAX_NODES} addresses; got {}",
                    nodes.len()
                )));
            }
            _ => {
                return Err(Error::invalid_argument(
                    "a client takes an address, like \"file:./data\", or { nodes: [\"host:7447\"] }",
                ));
            }
        };
        let defaults = RetryPolicy::default();
        let retry = raw.retry.unwrap_or_default();
        let durability = raw.durability.as_deref().map_or(Ok(Durability::Fsync), Durability::for_disk)?;
        Ok(Self {
            target,
            timeout: millis("timeout", raw.timeout, 1.0)?.unwrap_or(DEFAULT_TIMEOUT),
            retry: RetryPolicy {
                max_attempts: whole("retry.maxAttempts", retry.max_attempts, 1.0, 1_000.0)?
                    .map_or(defaults.max_attempts, |n| u32::try_from(n).unwrap_or(u32::MAX)),
                backoff: Backoff {
                    initial: millis("retry.initialDelay", retry.initial_delay, 0.0)?
                        .unwrap_or(defaults.backoff.initial),
                    max: millis("retry.maxDelay", retry.max_delay, 0.0)?.unwrap_or(defaults.backoff.max),
                    multiplier: multiplier(retry.backoff_multiplier)?.unwrap_or(defaults.backoff.multiplier),
                    jitter: retry.jitter.unwrap_or(defaults.backoff.jitter),
                },
            },
            total_shards: whole("totalShards", raw.total_shards, 1.0, 1_048_576.0)?
                .and_then(|n| u32::try_from(n).ok())
                .unwrap_or(DEFAULT_TOTAL_SHARDS),
            watch_cluster: raw.watch_cluster.unwrap_or(true),
            max_connections_per_node: whole(
                "maxConnectionsPerNode",
                raw.max_connections_per_node,
                1.0,
                256.0,
            )?
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(1),
            token: raw.token,
            durability,
            max_value_bytes: whole("maxValueBytes", raw.max_value_bytes, 1.0, MAX_VALUE_BYTES)?
                .and_then(|n| usize::try_from(n).ok()),
            history: millis("historyMs", raw.history_ms, 0.0)?,
            history_revisions: whole("historyRevisions", raw.history_revisions, 1.0, MAX_SAFE)?,
            idempotency_window: millis("idempotencyWindowMs", raw.idempotency_window_ms, 1.0)?,
        })
    }
}

fn in_range(name: &str, value: f64, min: f64, max: f64, what: &str) -> Result<()> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid_argument(format!("{name} is {what} from {min} to {max}; got {value}")))
}

fn whole(name: &str, value: Option<f64>, min: f64, max: f64) -> Result<Option<u64>> {
    let Some(value) = value else { return Ok(None) };
    // A fraction is out of every range of whole numbers.
    let checked = if value.fract() == 0.0 { value } else { f64::NAN };
    in_range(name, checked, min, max, "a whole number").map_err(|error| {
        if checked.is_nan() {
            Error::invalid_argument(format!("{name} is a whole number from {min} to {max}; got {value}"))
        } else {
            error
        }
    })?;
    // Whole, not negative and below 2^53, checked above.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Ok(Some(value as u64))
}

fn millis(name: &str, value: Option<f64>, min: f64) -> Result<Option<Duration>> {
    let Some(value) = value else { return Ok(None) };
    in_range(name, value, min, MAX_MILLIS, "a number of milliseconds")?;
    Ok(Some(Duration::from_secs_f64(value / 1e3)))
}

fn multiplier(value: Option<f64>) -> Result<Option<f64>> {
    if let Some(value) = value {
        in_range("retry.backoffMultiplier", value, 1.0, 100.0, "a number")?;
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use norikv_core::ErrorKind;

    #[test]
    fn what_is_left_out_is_the_default() {
        let config = ClientConfig::from_json(r#"{"nodes":["a:1","b:2"]}"#).unwrap();
        assert_eq!(config.timeout, DEFAULT_TIMEOUT);
        assert_eq!(config.retry, RetryPolicy::default());
        assert!(config.watch_cluster);
        assert!(matches!(config.target, Target::Nodes(nodes) if nodes.len() == 2));
    }

    #[test]
    fn every_wrong_setting_is_named() {
        for (json, named) in [
            (r#"{"nodes":[]}"#, "nodes"),
            (r#"{"address":"memory:","nodes":["a:1"]}"#, "address"),
            (r#"{"address":"memory:","timeout":0}"#, "timeout"),
            (r#"{"address":"memory:","timeout":"NaN"}"#, "timeout"),
            (r#"{"address":"memory:","retry":{"maxAttempts":0}}"#, "maxAttempts"),
            (r#"{"address":"memory:","retry":{"maxAttempts":1.5}}"#, "maxAttempts"),
            (r#"{"address":"memory:","totalShards":-1}"#, "totalShards"),
            (r#"{"address":"memory:","durability":"none"}"#, "durability"),
            (r#"{"address":"memory:","durabilty":"fsync"}"#, "durabilty"),
            (r#"{"address":"memory:","retry":{"backoffMultiplier":0.5}}"#, "backoffMultiplier"),
        ] {
            let error = ClientConfig::from_json(json).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().contains(named), "{json}: {error}");
        }
    }
}
