use std::time::Duration;

use norikv_core::{DEFAULT_MAX_VALUE_BYTES, Error, Result, RetryPolicy};
use norikv_tls::ClientTls;

use crate::address;

/// Where a cluster is, and how it is used.
#[derive(Clone)]
pub struct EtcdSettings {
    /// The members, each `host:port`.
    pub endpoints: Vec<String>,
    /// The name and the password of a user.
    pub user: Option<(String, String)>,
    /// How connections are encrypted; `None` for not at all.
    pub tls: Option<ClientTls>,
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
            tls: tls.then(ClientTls::default),
            prefix,
            max_value_bytes: DEFAULT_MAX_VALUE_BYTES,
            idempotency_window: Duration::from_secs(24 * 60 * 60),
            retry: RetryPolicy::default(),
        }
    }

    /// The settings with what is said beside the address. What both say has to be the same.
    ///
    /// ```
    /// use norikv_etcd::{EtcdOptions, EtcdSettings};
    /// let options = EtcdOptions { prefix: Some(b"app/".to_vec()), ..EtcdOptions::default() };
    /// let settings = EtcdSettings::parse("etcd://10.0.0.1:2379")?.with(options)?;
    /// assert_eq!(settings.prefix, b"app/");
    /// # Ok::<(), norikv_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for what is said twice in two ways, and for a user without a password, or a password without one.
    pub fn with(self, options: EtcdOptions) -> Result<Self> {
        let EtcdOptions { user, password, prefix, tls } = options;
        let twice = |what: &str| {
            Error::invalid_argument(format!(
                "the address of the cluster names one {what}, and the options another; say it once"
            ))
        };
        let user = match (self.user, user, password) {
            (known, None, None) => known,
            (None, Some(name), Some(password)) => Some((name, password)),
            (None, _, _) => {
                return Err(Error::invalid_argument(
                    "a user of etcd has a name and a password; one of them is given without the other",
                ));
            }
            (Some((known, secret)), name, password) => {
                if name.is_some_and(|name| name != known) {
                    return Err(twice("user"));
                }
                if password.is_some_and(|password| password != secret) {
                    return Err(twice("password"));
                }
                Some((known, secret))
            }
        };
        let prefix = match prefix {
            Some(prefix) if self.prefix.is_empty() || prefix == self.prefix => prefix,
            Some(_) => return Err(twice("prefix")),
            None => self.prefix,
        };
        Ok(Self { user, prefix, tls: tls.or(self.tls), ..self })
    }
}

/// What can be said of a cluster beside its address.
#[derive(Clone, Default)]
pub struct EtcdOptions {
    /// The name of a user.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// What all keys begin with in the cluster, and none of ours does.
    pub prefix: Option<Vec<u8>>,
    /// How connections are encrypted; they are, if it is given.
    pub tls: Option<ClientTls>,
}

impl std::fmt::Debug for EtcdOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdOptions")
            .field("user", &self.user)
            .field("prefix", &self.prefix)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn options(user: Option<&str>, password: Option<&str>, prefix: Option<&str>) -> EtcdOptions {
        EtcdOptions {
            user: user.map(str::to_owned),
            password: password.map(str::to_owned),
            prefix: prefix.map(|prefix| prefix.as_bytes().to_vec()),
            tls: None,
        }
    }

    #[test]
    fn options_and_address_may_say_the_same_and_not_two_things() {
        let with = |address: &str, options| EtcdSettings::parse(address).unwrap().with(options);
        let one = with("etcd://a:1", options(Some("root"), Some("secret"), Some("app/"))).unwrap();
        assert_eq!(one.user, Some(("root".to_owned(), "secret".to_owned())));
        assert_eq!(one.prefix, b"app/");
        let full = "etcd://root:secret@a:1/app/";
        let same = with(full, options(Some("root"), Some("secret"), Some("app/"))).unwrap();
        assert_eq!(same.user, one.user);
        assert_eq!(with(full, EtcdOptions::default()).unwrap().prefix, b"app/");
        for (address, wrong, what) in [
            (full, options(Some("me"), None, None), "user"),
            (full, options(None, Some("hidden"), None), "password"),
            (full, options(None, None, Some("other/")), "prefix"),
            ("etcd://a:1", options(Some("root"), None, None), "password"),
            ("etcd://a:1", options(None, Some("hidden"), None), "name"),
        ] {
            let error = with(address, wrong).err().unwrap();
            assert!(error.message().contains(what), "{what}: {error}");
            assert!(!error.message().contains("secret") && !error.message().contains("hidden"), "{error}");
        }
    }
}
