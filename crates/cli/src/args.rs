use std::{net::SocketAddr, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use norikv_core::{Address, Durability, NodeAddress, without_password};

use crate::tls::{PortTls, StoreAccess};

/// A key-value and coordination store.
#[derive(Debug, Parser)]
#[command(name = "norikv", version, subcommand_required = true, arg_required_else_help = false)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve a store over gRPC until SIGTERM or SIGINT
    Serve(Box<Serve>),
    /// Make a store equal to another one, while that is in use
    Copy(Copy),
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:7447")]
    pub(crate) listen: SocketAddr,

    /// What holds the data: memory:, file:<directory>, or etcd://<host:port>,… (etcds:// with TLS)
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address)]
    pub(crate) store: StoreAddress,

    /// When a write is acknowledged: on disk, or in memory and on disk within 100 ms
    #[arg(long, value_name = "WHEN", default_value = "fsync")]
    pub(crate) durability: DurabilityArg,

    /// The largest value, in bytes [default: 1048576]
    #[arg(long, value_name = "BYTES", value_parser = at_least_one)]
    pub(crate) max_value_bytes: Option<usize>,

    /// The most memory for entries of a store on disk [default: 536870912]
    #[arg(long, value_name = "BYTES")]
    pub(crate) cache_bytes: Option<u64>,

    /// How long the outcome of a write with an idempotency key is remembered [default: 24 h]
    #[arg(long, value_name = "MS", value_parser = millis)]
    pub(crate) idempotency_window_ms: Option<Duration>,

    /// How long old versions can be read [default: 1 h]
    #[arg(long, value_name = "MS", value_parser = millis)]
    pub(crate) history_ms: Option<Duration>,

    /// How many old versions can be read [default: 1000000]
    #[arg(long, value_name = "COUNT")]
    pub(crate) history_revisions: Option<u64>,

    /// The most connections at a time
    #[arg(long, value_name = "COUNT", default_value = "4096", value_parser = at_least_one)]
    pub(crate) max_connections: usize,

    /// The most watches open at a time on one connection
    #[arg(long, value_name = "COUNT", default_value = "256", value_parser = at_least_one)]
    pub(crate) max_watches_per_connection: usize,

    /// The most leases alive at a time that were granted over one connection
    #[arg(long, value_name = "COUNT", default_value = "100000", value_parser = at_least_one)]
    pub(crate) max_leases_per_connection: usize,

    /// The address that clients are told, if not the one by which they came
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_node)]
    pub(crate) advertise: Option<String>,

    /// The name of this node in the cluster view
    #[arg(long, value_name = "ID", default_value = "node-1")]
    pub(crate) node_id: String,

    /// How long a call may take that brings no deadline
    #[arg(long, value_name = "MS", default_value = "30000", value_parser = millis)]
    pub(crate) request_timeout_ms: Duration,

    /// How long calls under way may take to finish after SIGTERM or SIGINT
    #[arg(long, value_name = "MS", default_value = "10000", value_parser = millis)]
    pub(crate) grace_ms: Duration,

    /// The origin of web pages that may call over gRPC-Web, like https://app.example.com; may be said several times,
    /// and * is any [default: pages of the server's own address]
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) cors_origin: Vec<String>,

    #[command(flatten)]
    pub(crate) tls: PortTls,

    #[command(flatten)]
    pub(crate) access: StoreAccess,

    /// Serve norikv.v1 and health alone, as other servers of the protocol do
    #[arg(long)]
    pub(crate) norikv_v1_only: bool,

    /// Serve etcd's protocol, too, on the same port: for etcdctl and the etcd clients of any language
    #[arg(long)]
    pub(crate) etcd_api: bool,

    /// Log to stderr from this level on: error, warn, info, debug or trace [default: what RUST_LOG says]
    #[arg(long, value_name = "LEVEL", value_parser = crate::log::parse_level)]
    pub(crate) log: Option<crate::log::Level>,
}

#[derive(Debug, Args)]
pub(crate) struct Copy {
    /// The store to read: file:<directory>, a server's host:port or etcd://<host:port>,…
    #[arg(value_name = "FROM", value_parser = parse_address)]
    pub(crate) from: StoreAddress,

    /// The store to make equal to it; empty, or the target of the same copy that was broken off
    #[arg(value_name = "TO", value_parser = parse_address)]
    pub(crate) to: StoreAddress,

    /// Only keys that begin so
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = parse_prefix)]
    pub(crate) prefix: String,

    /// Keep the copy up to date until SIGINT or SIGTERM, then compare and end
    #[arg(long, conflicts_with = "verify_only")]
    pub(crate) follow: bool,

    /// Write nothing: compare the stores and say how they differ
    #[arg(long)]
    pub(crate) verify_only: bool,

    /// Make a target equal that has other data: what the source has not is deleted from it
    #[arg(long, conflicts_with = "verify_only")]
    pub(crate) overwrite: bool,

    /// How many writes are under way at a time
    #[arg(long, value_name = "COUNT", default_value = "64", value_parser = up_to_1024)]
    pub(crate) concurrency: usize,

    /// The most keys written in a second [default: as many as it can]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_rate: Option<u32>,

    /// The largest value that the target takes, in bytes [default: what such a store takes]
    #[arg(long, value_name = "BYTES", value_parser = at_least_one)]
    pub(crate) max_value_bytes: Option<usize>,

    /// How long to ask again while a store does not answer
    #[arg(long, value_name = "MS", default_value = "60000", value_parser = millis)]
    pub(crate) retry_ms: Duration,

    /// Say results only
    #[arg(long)]
    pub(crate) quiet: bool,

    /// Log to stderr from this level on: error, warn, info, debug or trace [default: what RUST_LOG says]
    #[arg(long, value_name = "LEVEL", value_parser = crate::log::parse_level)]
    pub(crate) log: Option<crate::log::Level>,
}

/// A store's address, and how the user wrote it.
#[derive(Clone, Debug)]
pub(crate) struct StoreAddress {
    pub(crate) address: Address,
    pub(crate) text: String,
}

impl StoreAddress {
    /// The address as it may be shown.
    pub(crate) fn shown(&self) -> String {
        without_password(&self.text).into_owned()
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum DurabilityArg {
    Fsync,
    Relaxed,
}

impl From<DurabilityArg> for Durability {
    fn from(durability: DurabilityArg) -> Self {
        match durability {
            DurabilityArg::Fsync => Self::Fsync,
            DurabilityArg::Relaxed => Self::Relaxed,
        }
    }
}

fn parse_address(text: &str) -> Result<StoreAddress, norikv_core::Error> {
    Ok(StoreAddress { address: text.parse()?, text: text.to_owned() })
}

fn parse_node(text: &str) -> Result<String, norikv_core::Error> {
    text.parse::<NodeAddress>().map(|address| address.to_string())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it is at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    }
}

/// A note in the target has the prefix in its key.
const MOST_PREFIX: usize = 512;

fn parse_prefix(text: &str) -> Result<String, String> {
    if text.len() > MOST_PREFIX {
        return Err(format!("it has {MOST_PREFIX} bytes at most; this one has {}", text.len()));
    }
    Ok(text.to_owned())
}

fn up_to_1024(text: &str) -> Result<usize, String> {
    match at_least_one(text)? {
        number @ ..=1_024 => Ok(number),
        number => Err(format!("it is 1 to 1024; got {number}")),
    }
}

fn millis(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(0) => Err("it is at least 1 ms".to_owned()),
        Ok(number) => Ok(Duration::from_millis(number)),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn only_the_store_has_to_be_said() {
        let cli = Cli::try_parse_from(["norikv", "serve", "--store", "memory:"]).unwrap();
        let Command::Serve(serve) = cli.command else { panic!("not serve") };
        assert_eq!(serve.listen, "127.0.0.1:7447".parse().unwrap());
        assert!(matches!(serve.store.address, Address::Memory));
    }

    #[test]
    fn values_that_cannot_be_are_refused() {
        for wrong in [
            ["--listen", "nowhere"],
            ["--max-connections", "0"],
            ["--max-value-bytes", "-1"],
            ["--durability", "never"],
            ["--advertise", "host"],
            ["--grace-ms", "1.5"],
            ["--log", "loud"],
            ["--tls-cert", "server.crt"],
            ["--tls-key", "server.key"],
            ["--tls-client-ca", "ca.crt"],
            ["--store-tls-cert", "client.crt"],
            ["--store-user", "root"],
        ] {
            let args = ["norikv", "serve", "--store", "memory:"].into_iter().chain(wrong);
            assert!(Cli::try_parse_from(args).is_err(), "{wrong:?}");
        }
        for wrong in [
            &["--concurrency", "0"][..],
            &["--concurrency", "1025"],
            &["--max-rate", "0"],
            &["--retry-ms", "0"],
            &["--follow", "--verify-only"],
            &["--overwrite", "--verify-only"],
        ] {
            let args = ["norikv", "copy", "file:a", "file:b"].iter().chain(wrong);
            assert!(Cli::try_parse_from(args).is_err(), "{wrong:?}");
        }
        assert!(Cli::try_parse_from(["norikv", "copy", "file:a"]).is_err());
    }
}
