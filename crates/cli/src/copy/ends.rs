use std::{path::Path, sync::Arc, time::Duration};

use norikv_client::RemoteStore;
use norikv_core::{Address, Call, Durability, Error, ErrorKind, Feature, Result, StoreRef};
use norikv_embedded::{EmbeddedStore, Settings};
use norikv_etcd::EtcdSettings;

use super::same::{self, overlap};
use crate::args::{Copy, StoreAddress};

/// How long a store may take to answer at first.
const BEGIN: Duration = Duration::from_secs(10);
/// More than anybody keeps of a store's history: to be read is no reason to forget.
const ALL_HISTORY: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// The largest value that any store on disk takes.
const LARGEST_VALUE: usize = 1024 * 1024 * 1024;
/// What says that a directory is a store.
const FORMAT_FILE: &str = "norikv.format";

/// Both stores of a copy.
pub(crate) struct Ends {
    pub(crate) from: StoreRef,
    pub(crate) to: StoreRef,
    /// Where they are, as people may read it, without a password.
    pub(crate) from_name: String,
    pub(crate) to_name: String,
    /// Whether the source's watch knows why something is deleted.
    pub(crate) knows_reasons: bool,
    /// Whether each write takes a round through a cluster, so that many at once are better off in one transaction.
    pub(crate) to_cluster: bool,
}

impl Ends {
    /// Opens both.
    ///
    /// # Errors
    /// `InvalidArgument` and `Unsupported` for what is not copied, and whatever the stores answer.
    pub(crate) async fn open(args: &Copy) -> Result<Self> {
        refuse_itself(&args.from, &args.to)?;
        let from = open_source(&args.from).await?;
        let opened = async {
            from.connect(Call::with_timeout(BEGIN)).await?;
            let to = open_target(&args.to, args.max_value_bytes).await?;
            if let Err(error) = to.connect(Call::with_timeout(BEGIN)).await {
                let _ = to.close().await;
                return Err(error);
            }
            Ok(to)
        };
        let to = match opened.await {
            Ok(to) => to,
            Err(error) => {
                let _ = from.close().await;
                return Err(error);
            }
        };
        let (from_name, to_name) = (name(&args.from), name(&args.to));
        let mut ends = Self { from, to, from_name, to_name, knows_reasons: true, to_cluster: false };
        match ends.check(args).await {
            Ok(()) => Ok(ends),
            Err(error) => {
                let _ = ends.close().await;
                Err(error)
            }
        }
    }

    /// Whether both can do what a copy needs.
    async fn check(&mut self, args: &Copy) -> Result<()> {
        // What is only compared takes no harm.
        if let (Address::Etcd(from), Address::Etcd(to), false) =
            (&args.from.address, &args.to.address, args.verify_only)
        {
            let (from, to) = (EtcdSettings::parse_all(from)?, EtcdSettings::parse_all(to)?);
            if same::share_keys(&from, &to, Call::with_timeout(BEGIN)).await? {
                return Err(itself(&self.from_name, &self.to_name));
            }
        }
        let status = self.from.status(Call::with_timeout(BEGIN)).await?;
        self.knows_reasons = status.store != "etcd";
        // What is only compared is read as it is now.
        let needed: &[Feature] = if args.verify_only {
            &[Feature::Range]
        } else {
            &[Feature::Range, Feature::History, Feature::Watch]
        };
        let lacks = |status: &norikv_core::Status, needed: &[Feature], name: &str| match needed
            .iter()
            .find(|feature| !status.has(**feature))
        {
            None => Ok(()),
            Some(feature) => Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "{name} has no {:?}, which copying needs; it says of itself that it is {:?}, {}",
                    feature.as_str(),
                    status.store,
                    status.software
                ),
            )),
        };
        lacks(&status, needed, &self.from_name)?;
        let status = self.to.status(Call::with_timeout(BEGIN)).await?;
        self.to_cluster = status.store == "etcd" && status.has(Feature::Txn);
        lacks(&status, &[Feature::Range], &self.to_name)
    }

    /// Closes both: what is in the target is on disk.
    pub(crate) async fn close(&self) -> Result<()> {
        let to = self.to.close().await;
        let from = self.from.close().await;
        to.and(from)
    }
}

/// An address without a password.
fn name(address: &StoreAddress) -> String {
    match &address.address {
        Address::Etcd(etcd) => match EtcdSettings::parse_all(etcd) {
            Ok(clusters) => cluster_names(&clusters),
            Err(_) => address.shown(),
        },
        // The same directory is the same store, whereever the command is run.
        Address::File(directory) => match std::path::absolute(directory) {
            Ok(path) => format!("file:{}", path.display()),
            Err(_) => address.text.clone(),
        },
        _ => address.text.clone(),
    }
}

/// The address of clusters, made of what is no secret.
fn cluster_names(clusters: &[EtcdSettings]) -> String {
    let each = clusters.iter().map(|cluster| {
        let scheme = if cluster.tls.is_some() { "etcds" } else { "etcd" };
        format!("{scheme}://{}", cluster.endpoints.join(","))
    });
    let mut text = each.collect::<Vec<_>>().join(";");
    if let Some(prefix) = clusters.last().map(|last| &last.prefix).filter(|prefix| !prefix.is_empty()) {
        text.push('/');
        for byte in prefix {
            match byte {
                // A note is made of lines.
                b'%' | ..=b' ' | 0x7f.. => text.push_str(&format!("%{byte:02X}")),
                _ => text.push(char::from(*byte)),
            }
        }
    }
    text
}

/// Refuses what would copy a store into itself, as far as the addresses say it.
fn refuse_itself(from: &StoreAddress, to: &StoreAddress) -> Result<()> {
    let same = match (&from.address, &to.address) {
        (Address::Etcd(from), Address::Etcd(to)) => {
            let (from, to) = (EtcdSettings::parse_all(from)?, EtcdSettings::parse_all(to)?);
            from.iter().any(|from| to.iter().any(|to| one_by_name(from, to)))
        }
        _ => name(from) == name(to),
    };
    if same { Err(itself(&name(from), &name(to))) } else { Ok(()) }
}

/// Whether two clusters are one by the names of their members, and the keys of one are among those of the other.
fn one_by_name(from: &EtcdSettings, to: &EtcdSettings) -> bool {
    from.endpoints.iter().any(|endpoint| to.endpoints.contains(endpoint)) && overlap(from, to)
}

/// That the source and the target are one store, or overlap.
pub(crate) fn itself(from: &str, to: &str) -> Error {
    Error::invalid_argument(format!(
        "{from} and {to} are the same store, or one within the other; name two stores"
    ))
}

async fn open_source(from: &StoreAddress) -> Result<StoreRef> {
    let settings = Settings {
        history: ALL_HISTORY,
        history_revisions: u64::MAX,
        max_value_bytes: LARGEST_VALUE,
        ..Settings::default()
    };
    match &from.address {
        Address::File(directory) => {
            if !Path::new(directory).join(FORMAT_FILE).exists() {
                return Err(Error::invalid_argument(format!(
                    "there is no store in {directory}, from which to copy; name the directory that was served or opened as file:<directory>"
                )));
            }
            let opened = open_directory(directory, settings).await;
            opened.map_err(|error| {
                if error.kind() != ErrorKind::ResourceExhausted {
                    return error;
                }
                let message = format!(
                    "{}; to copy a store that a server has open, name the server: norikv copy <host:port> <to>",
                    error.message()
                );
                Error::new(ErrorKind::ResourceExhausted, message).caused_by(error)
            })
        }
        _ => open(from, None).await,
    }
}

async fn open_target(to: &StoreAddress, max_value_bytes: Option<usize>) -> Result<StoreRef> {
    match &to.address {
        Address::File(directory) => {
            // What a crash takes is copied again; the end waits for the disk.
            let settings = Settings {
                durability: Durability::Relaxed,
                max_value_bytes: max_value_bytes.unwrap_or(LARGEST_VALUE),
                ..Settings::default()
            };
            open_directory(directory, settings).await
        }
        _ => open(to, max_value_bytes).await,
    }
}

async fn open(address: &StoreAddress, max_value_bytes: Option<usize>) -> Result<StoreRef> {
    match &address.address {
        Address::Etcd(etcd) => {
            let mut clusters = EtcdSettings::parse_all(etcd)?;
            for settings in &mut clusters {
                settings.max_value_bytes = max_value_bytes.unwrap_or(settings.max_value_bytes);
            }
            norikv_etcd::open(clusters, Call::with_timeout(BEGIN)).await
        }
        Address::Node(node) => {
            Ok(Arc::new(RemoteStore::http2(norikv_client::Settings::for_nodes(vec![node.clone()]))?))
        }
        Address::File(directory) => open_directory(directory, Settings::default()).await,
        Address::Memory => Err(Error::invalid_argument(
            "memory: is a store of this command alone, empty now and gone when it ends; name file:<directory>, a server's host:port or etcd://host:port,…",
        )),
    }
}

async fn open_directory(directory: &str, settings: Settings) -> Result<StoreRef> {
    let directory = directory.to_owned();
    let opened =
        tokio::task::spawn_blocking(move || EmbeddedStore::open(Path::new(&directory), settings)).await;
    let store =
        opened.map_err(|error| Error::internal("opening the store was interrupted").caused_by(error))??;
    Ok(Arc::new(store))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn address(text: &str) -> StoreAddress {
        StoreAddress { address: text.parse().unwrap(), text: text.to_owned() }
    }

    #[test]
    fn a_store_is_named_without_its_password() {
        assert_eq!(name(&address("etcd://root:secret@a:1,b:2/p")), "etcd://a:1,b:2/p");
        assert_eq!(name(&address("etcd://root:sec;ret@a:1")), "etcd://a:1");
        let several = "etcd://root:sec;r@t@a:1;etcds://u:secret;@b:2,c:3/a%20b/;";
        assert_eq!(name(&address(several)), "etcd://a:1;etcds://b:2,c:3/a%20b/;");
        assert_eq!(name(&address("h:1")), "h:1");
    }

    #[test]
    fn a_store_is_not_copied_into_itself() {
        for (from, to, same) in [
            ("file:./a", "file:a", true),
            ("file:./a", "file:b", false),
            ("h:1", "h:1", true),
            ("etcd://a:1,b:2", "etcd://b:2/app/", true),
            ("etcd://a:1/x/", "etcd://a:1/y/", false),
            ("etcd://a:1", "etcd://b:1", false),
            ("etcd://a:1", "etcd://b:1;etcd://a:1", true),
        ] {
            assert_eq!(refuse_itself(&address(from), &address(to)).is_err(), same, "{from} {to}");
        }
    }
}
