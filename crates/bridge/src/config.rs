use std::time::Duration;

use bytes::Bytes;
use norikv_core::{
    Address, Backoff, DEFAULT_TIMEOUT, DEFAULT_TOTAL_SHARDS, Durability, Error, NodeAddress, Result,
    RetryPolicy, number_text,
};

#[cfg(not(target_family = "wasm"))]
use crate::access::Access;
use crate::frame::Reader;

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
    /// How servers are reached beside their addresses.
    #[cfg(not(target_family = "wasm"))]
    pub access: Access,
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

const MAX_NODES: usize = 1_024;
/// Embedded stores hold a value in memory several times while it is written.
const MAX_VALUE_BYTES: f64 = 1024.0 * 1024.0 * 1024.0;
/// 2^53 − 1, the largest whole number that JavaScript is sure of.
const MAX_SAFE: f64 = 9_007_199_254_740_991.0;
/// The longest time that is taken: about 31 years.
const MAX_MILLIS: f64 = 1e12;

/// What the value of a setting is, in a frame of settings. `src/config.ts` has the same table.
#[derive(Debug)]
pub(crate) enum Value {
    Text(String),
    // Only sockets have settings that are bytes.
    #[cfg_attr(target_family = "wasm", allow(dead_code))]
    Bytes(Bytes),
    Number(f64),
    Boolean(bool),
    Texts(Vec<String>),
    /// Anything else, described.
    Other(String),
}

/// The settings that were given and not read yet.
pub(crate) struct Given(Vec<(String, Value)>);

impl Given {
    fn read(frame: &mut Reader) -> Result<Self> {
        let mut settings = Vec::new();
        while !frame.is_empty() {
            let name = frame.text()?;
            let value = match frame.u8()? {
                0 => Value::Text(frame.text()?),
                1 => Value::Number(frame.f64()?),
                2 => Value::Boolean(frame.u8()? != 0),
                3 => Value::Texts((0..frame.u32()?).map(|_| frame.text()).collect::<Result<_>>()?),
                4 => Value::Other(frame.text()?),
                _ => Value::Bytes(frame.bytes()?),
            };
            settings.push((name, value));
        }
        Ok(Self(settings))
    }

    #[cfg(not(target_family = "wasm"))]
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(given, _)| given == name)
    }

    /// # Errors
    /// `Unsupported` for what a page has no say in.
    #[cfg(target_family = "wasm")]
    fn leave_to_the_browser(&self) -> Result<()> {
        match self.0.iter().any(|(given, _)| given.starts_with("tls")) {
            false => Ok(()),
            true => Err(Error::new(
                norikv_core::ErrorKind::Unsupported,
                "tls is not a page's to set: the browser decides which certificates it trusts and shows; use an https:// address",
            )),
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(given, _)| given == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Whether an object was given under a name. Its members are there under names of their own.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn object(&mut self, name: &str, example: &str) -> Result<bool> {
        match self.take(name) {
            None => Ok(self.take(&format!("{name}.")).is_some()),
            // What it was may be a secret.
            Some(_) => Err(not(
                name,
                &format!("an object, like {example}"),
                &Value::Other("something else".to_owned()),
            )),
        }
    }

    /// Text or bytes.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn bytes(&mut self, name: &str) -> Result<Option<Bytes>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.into())),
            Some(Value::Bytes(bytes)) => Ok(Some(bytes)),
            Some(other) => Err(not(name, "a string or a Uint8Array", &other)),
        }
    }

    /// Text that no error shows.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn secret(&mut self, name: &str) -> Result<Option<String>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(not(name, "a string", &Value::Other("something else".to_owned()))),
        }
    }

    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(not(name, "a string", &other)),
        }
    }

    fn texts(&mut self, name: &str) -> Result<Option<Vec<String>>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Texts(texts)) => Ok(Some(texts)),
            Some(other) => Err(not(name, "an array of strings", &other)),
        }
    }

    fn boolean(&mut self, name: &str, default: bool) -> Result<bool> {
        match self.take(name) {
            None => Ok(default),
            Some(Value::Boolean(boolean)) => Ok(boolean),
            Some(other) => Err(not(name, "true or false", &other)),
        }
    }

    fn number(&mut self, name: &str, min: f64, max: f64, what: &str) -> Result<Option<f64>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Number(number)) if (min..=max).contains(&number) => Ok(Some(number)),
            Some(other) => {
                let what = format!("{what} from {} to {}", number_text(min), number_text(max));
                Err(not(name, &what, &other))
            }
        }
    }

    fn whole(&mut self, name: &str, min: f64, max: f64) -> Result<Option<u64>> {
        const WHAT: &str = "a whole number";
        let Some(number) = self.number(name, min, max, WHAT)? else { return Ok(None) };
        if number.fract() != 0.0 {
            return Err(not(name, WHAT, &Value::Number(number)));
        }
        // Whole, not negative and below 2^53, checked above.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Ok(Some(number as u64))
    }

    fn size(&mut self, name: &str, max: f64) -> Result<Option<usize>> {
        Ok(self.whole(name, 1.0, max)?.and_then(|size| usize::try_from(size).ok()))
    }

    fn millis(&mut self, name: &str, min: f64) -> Result<Option<Duration>> {
        let millis = self.number(name, min, MAX_MILLIS, "a number of milliseconds")?;
        Ok(millis.map(|millis| Duration::from_secs_f64(millis / 1e3)))
    }
}

fn not(name: &str, what: &str, found: &Value) -> Error {
    let found = match found {
        Value::Text(text) => format!("the string {text:?}"),
        Value::Number(number) => number_text(*number),
        Value::Boolean(boolean) => boolean.to_string(),
        Value::Texts(_) => "an array".to_owned(),
        Value::Bytes(_) => "a Uint8Array".to_owned(),
        Value::Other(other) => other.clone(),
    };
    Error::invalid_argument(format!("the client's configuration is wrong: {name} is {what}; got {found}"))
}

impl ClientConfig {
    /// Reads a configuration from a frame of settings.
    ///
    /// # Errors
    /// `InvalidArgument` naming the setting that is wrong, what was found and what it takes.
    pub fn read(frame: Bytes) -> Result<Self> {
        let mut given = Given::read(&mut Reader::new(frame))?;
        #[cfg(not(target_family = "wasm"))]
        let mut target = target(given.text("address")?, given.texts("nodes")?, given.has("tls."))?;
        #[cfg(not(target_family = "wasm"))]
        let access = Access::read(&mut given, &mut target)?;
        #[cfg(target_family = "wasm")]
        let target = target(given.text("address")?, given.texts("nodes")?, false)?;
        #[cfg(target_family = "wasm")]
        given.leave_to_the_browser()?;
        if let Some(other) = given.take("retry") {
            return Err(not("retry", "an object, like { maxAttempts: 3 }", &other));
        }
        let retry = RetryPolicy::default();
        let backoff = retry.backoff;
        let config = Self {
            target,
            timeout: given.millis("timeout", 1.0)?.unwrap_or(DEFAULT_TIMEOUT),
            retry: RetryPolicy {
                max_attempts: given
                    .whole("retry.maxAttempts", 1.0, 1_000.0)?
                    .map_or(retry.max_attempts, |n| u32::try_from(n).unwrap_or(u32::MAX)),
                backoff: Backoff {
                    initial: given.millis("retry.initialDelay", 0.0)?.unwrap_or(backoff.initial),
                    max: given.millis("retry.maxDelay", 0.0)?.unwrap_or(backoff.max),
                    multiplier: given
                        .number("retry.backoffMultiplier", 1.0, 100.0, "a number")?
                        .unwrap_or(backoff.multiplier),
                    jitter: given.boolean("retry.jitter", backoff.jitter)?,
                },
            },
            total_shards: given
                .whole("totalShards", 1.0, 1_048_576.0)?
                .and_then(|n| u32::try_from(n).ok())
                .unwrap_or(DEFAULT_TOTAL_SHARDS),
            watch_cluster: given.boolean("watchCluster", true)?,
            max_connections_per_node: given.size("maxConnectionsPerNode", 256.0)?.unwrap_or(1),
            token: given.text("token")?,
            #[cfg(not(target_family = "wasm"))]
            access,
            durability: given
                .text("durability")?
                .map_or(Ok(Durability::Fsync), |word| Durability::for_disk(&word))?,
            max_value_bytes: given.size("maxValueBytes", MAX_VALUE_BYTES)?,
            history: given.millis("historyMs", 0.0)?,
            history_revisions: given.whole("historyRevisions", 1.0, MAX_SAFE)?,
            idempotency_window: given.millis("idempotencyWindowMs", 1.0)?,
        };
        match given.0.first() {
            None => Ok(config),
            Some((name, _)) => Err(Error::invalid_argument(format!(
                "the client's configuration is wrong: {name:?} is no setting; those are {SETTINGS}"
            ))),
        }
    }
}

const SETTINGS: &str = "address, nodes, totalShards, timeout, retry ({ maxAttempts, initialDelay, maxDelay, backoffMultiplier, jitter }), watchCluster, maxConnectionsPerNode, token, durability, maxValueBytes, historyMs, historyRevisions, idempotencyWindowMs, tls ({ ca, cert, key, serverName }), etcd ({ user, password, prefix })";

/// What is said to be reached with TLS is not to be reached without.
fn with_tls(address: &str, tls: bool) -> Result<()> {
    if tls && address.starts_with("http://") {
        return Err(Error::invalid_argument(format!(
            "the client's configuration is wrong: tls is given, and {address:?} says plain text; write https:// or the host alone"
        )));
    }
    Ok(())
}

fn target(address: Option<String>, nodes: Option<Vec<String>>, tls: bool) -> Result<Target> {
    match (address, nodes) {
        (Some(address), None) => {
            with_tls(&address, tls)?;
            Ok(match address.parse()? {
                Address::Node(node) => Target::Nodes(vec![node]),
                address => Target::Address(address),
            })
        }
        (None, Some(nodes)) if (1..=MAX_NODES).contains(&nodes.len()) => {
            nodes.iter().try_for_each(|node| with_tls(node, tls))?;
            Ok(Target::Nodes(nodes.iter().map(|node| node.parse()).collect::<Result<_>>()?))
        }
        (None, Some(nodes)) => Err(Error::invalid_argument(format!(
            "nodes lists 1 to {MAX_NODES} addresses; got {}",
            nodes.len()
        ))),
        _ => Err(Error::invalid_argument(
            "a client takes an address, like \"file:./data\", or { nodes: [\"host:7447\"] }",
        )),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use norikv_core::ErrorKind;

    use crate::frame::Writer;

    pub(crate) fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    pub(crate) fn yes() -> Value {
        Value::Boolean(true)
    }

    pub(crate) fn config(settings: &[(&str, Value)]) -> Result<ClientConfig> {
        let mut out = Writer::<bytes::BytesMut>::default();
        for (name, value) in settings {
            out.bytes(name.as_bytes());
            match value {
                Value::Text(text) => {
                    out.u8(0);
                    out.bytes(text.as_bytes());
                }
                Value::Number(number) => {
                    out.u8(1);
                    out.f64(*number);
                }
                Value::Boolean(boolean) => {
                    out.u8(2);
                    out.u8((*boolean).into());
                }
                Value::Texts(texts) => {
                    out.u8(3);
                    out.u32(u32::try_from(texts.len()).unwrap());
                    texts.iter().for_each(|text| out.bytes(text.as_bytes()));
                }
                Value::Other(other) => {
                    out.u8(4);
                    out.bytes(other.as_bytes());
                }
                Value::Bytes(bytes) => {
                    out.u8(5);
                    out.bytes(bytes);
                }
            }
        }
        ClientConfig::read(out.0.freeze())
    }

    pub(crate) fn texts(texts: &[&str]) -> Value {
        Value::Texts(texts.iter().map(|text| (*text).to_owned()).collect())
    }

    #[test]
    fn what_is_left_out_is_the_default() {
        let config = config(&[("nodes", texts(&["a:1", "b:2"]))]).unwrap();
        assert_eq!(config.timeout, DEFAULT_TIMEOUT);
        assert_eq!(config.retry, RetryPolicy::default());
        assert!(config.watch_cluster);
        assert!(matches!(config.target, Target::Nodes(nodes) if nodes.len() == 2));
    }

    #[test]
    fn what_is_given_is_taken() {
        let config = config(&[
            ("retry.maxAttempts", Value::Number(7.0)),
            ("retry.jitter", Value::Boolean(false)),
            ("address", Value::Text("memory:".into())),
            ("timeout", Value::Number(1.5)),
        ])
        .unwrap();
        assert_eq!(config.timeout, Duration::from_micros(1_500));
        assert_eq!(config.retry.max_attempts, 7);
        assert!(!config.retry.backoff.jitter);
    }

    #[test]
    fn every_wrong_setting_is_named_with_what_was_found() {
        let number = Value::Number;
        for (name, value, found) in [
            ("nodes", texts(&[]), "0"),
            ("nodes", Value::Other("null".into()), "null"),
            ("address", number(1.0), "1"),
            ("timeout", number(0.0), "0"),
            ("timeout", number(f64::NAN), "NaN"),
            ("timeout", Value::Text("5".into()), "\"5\""),
            ("retry.maxAttempts", number(0.0), "0"),
            ("retry.maxAttempts", number(1.5), "1.5"),
            ("retry.backoffMultiplier", number(0.5), "0.5"),
            ("retry.jitter", number(1.0), "1"),
            ("retry", number(5.0), "an object"),
            ("retry.retry", Value::Other("an object".into()), "retry.retry"),
            ("totalShards", number(-1.0), "-1"),
            ("durability", Value::Text("none".into()), "none"),
            ("durabilty", Value::Text("fsync".into()), "durability"),
        ] {
            let known = ("address", Value::Text("memory:".into()));
            let settings = if matches!(name, "nodes" | "address") {
                vec![(name, value)]
            } else {
                vec![known, (name, value)]
            };
            let error = config(&settings).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            let named = name.split('.').next_back().unwrap();
            assert!(error.message().contains(named) && error.message().contains(found), "{name}: {error}");
        }
        let both = [("address", Value::Text("memory:".into())), ("nodes", texts(&["a:1"]))];
        assert!(config(&both).unwrap_err().message().contains("nodes"));
    }
}
