use std::time::Duration;

use norikv_core::{DEFAULT_MAX_VALUE_BYTES, Result, RetryPolicy};

use crate::address;

/// How connections to a cluster are encrypted.
#[derive(Clone, Default)]
pub struct EtcdTls {
    /// The certificates of the authority that the members' are signed by, in PEM.
    pub ca: Option<Vec<u8>>,
    /// The client's own certificate and key, in PEM, where the members ask for one.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// The name that the members' certificates are for. Default: the host of each endpoint.
    pub server_name: Option<String>,
}

impl std::fmt::Debug for EtcdTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A private key does not belong into a log.
        f.debug_struct("EtcdTls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// Where a cluster is, and how it is used.
#[derive(Clone)]
pub struct EtcdSettings {
    /// The members, each `host:port`.
    pub endpoints: Vec<String>,
    /// The name and the password of a user.
    pub user: Option<(String, String)>,
    /// How connections are encrypted; `None` for not at all.
    pub tls: Option<EtcdTls>,
    /// What all keys begin with in the cluster, and none of ours does.
    pub prefix: Vec<u8>,
    /// The largest value.
    pub max_value_bytes: usize,
    /// How long a write with an idempotency key is remembered.
    pub idempotency_window: Duration,
    /// How calls that failed are made again.
    pub retry: RetryPolicy,
}

impl EtcdSettings {
    /// The settings of an address: `etcd://user:password@host:2379,host:2379/prefix`.
    ///
    /// ```
    /// use norikv_etcd::EtcdSettings;
    /// let settings = EtcdSettings::parse("etcd://10.0.0.1:2379,10.0.0.2:2379/app/")?;
    /// assert_eq!(settings.endpoints.len(), 2);
    /// assert_eq!(settings.prefix, b"app/");
    /// # Ok::<(), norikv_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for what is no such address.
    pub fn parse(address: &str) -> Result<Self> {
        address::parse(address).map(Self::of)
    }

    /// The settings of each cluster of an address: `etcd://host:2379,host:2379;etcd://host:2379/prefix`, for [`open`](crate::open).
    /// The prefix is that of all of them.
    ///
    /// ```
    /// use norikv_etcd::EtcdSettings;
    /// let clusters = EtcdSettings::parse_all("etcd://a:2379;etcd://b:2379/app/")?;
    /// assert_eq!(clusters.len(), 2);
    /// assert_eq!(clusters[0].prefix, b"app/");
    /// assert_eq!(EtcdSettings::parse_all("etcd://a:2379")?.len(), 1);
    /// # Ok::<(), norikv_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for what is no such address.
    pub fn parse_all(address: &str) -> Result<Vec<Self>> {
        Ok(address::parse_all(address)?.into_iter().map(Self::of).collect())
    }

    fn of(parts: address::Parts) -> Self {
        let address::Parts { endpoints, user, tls, prefix } = parts;
        Self {
            endpoints,
            user,
            tls: tls.then(EtcdTls::default),
            prefix,
            max_value_bytes: DEFAULT_MAX_VALUE_BYTES,
            idempotency_window: Duration::from_secs(24 * 60 * 60),
            retry: RetryPolicy::default(),
        }
    }
}

impl std::fmt::Debug for EtcdSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let user = self.user.as_ref().map(|(name, _)| name);
        f.debug_struct("EtcdSettings")
            .field("endpoints", &self.endpoints)
            .field("user", &user)
            .field("tls", &self.tls)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
