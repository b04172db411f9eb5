//! Settings of who a client is and whom it trusts, which only sockets have: TLS, and the users of etcd.

use bytes::Bytes;
use norikv_core::{Address, Error, Result};

use super::config::{Given, Target};

/// How servers are reached beside their addresses.
#[derive(Clone, Default)]
pub struct Access {
    /// What TLS is spoken with, where it was said that it is.
    pub tls: Option<Tls>,
    /// The name of a user of etcd.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// What all keys begin with in etcd.
    pub prefix: Option<Bytes>,
}

/// What TLS is spoken with, in PEM.
#[derive(Clone, Default)]
pub struct Tls {
    /// The authorities that servers' certificates are of.
    pub ca: Option<Bytes>,
    /// The client's own certificate, and its key.
    pub identity: Option<(Bytes, Bytes)>,
    /// The name that servers' certificates are for.
    pub server_name: Option<String>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither keys nor passwords belong into a log.
        f.debug_struct("Access")
            .field("tls", &self.tls.is_some())
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

impl Access {
    /// Reads what concerns it.
    pub(crate) fn read(given: &mut Given, target: &mut Target) -> Result<Self> {
        let tls = Tls::read(given)?;
        let etcd = given.object("etcd", "{ user: \"app\", password: \"…\" }")?;
        let access = Self {
            tls,
            user: given.text("etcd.user")?,
            password: given.secret("etcd.password")?,
            prefix: given.bytes("etcd.prefix")?,
        };
        match target {
            Target::Address(Address::Etcd(_)) => {}
            _ if etcd => {
                return Err(wrong("etcd is for addresses that begin with etcd:// or etcds://"));
            }
            Target::Nodes(nodes) if access.tls.is_some() => {
                for node in nodes {
                    *node = node.clone().with_tls(true);
                }
            }
            Target::Address(_) if access.tls.is_some() => {
                return Err(wrong("tls is for servers; a store in this process is reached without"));
            }
            _ => {}
        }
        Ok(access)
    }
}

impl Tls {
    fn read(given: &mut Given) -> Result<Option<Self>> {
        if !given.object("tls", "{ ca: \"-----BEGIN CERTIFICATE-----…\" }")? {
            return Ok(None);
        }
        let identity = match (given.bytes("tls.cert")?, given.bytes("tls.key")?) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => return Err(wrong("tls has a cert and no key; give both")),
            (None, Some(_)) => return Err(wrong("tls has a key and no cert; give both")),
        };
        let server_name = given.text("tls.serverName")?;
        Ok(Some(Self { ca: given.bytes("tls.ca")?, identity, server_name }))
    }
}

fn wrong(why: &str) -> Error {
    Error::invalid_argument(format!("the client's configuration is wrong: {why}"))
}

#[cfg(test)]
mod tests {
    use norikv_core::ErrorKind;

    use crate::config::tests::{config, text, texts, yes};

    #[test]
    fn tls_is_for_servers_and_their_addresses_say_so_then() {
        let nodes = ("nodes", texts(&["a:1", "https://b:1"]));
        let read = config(&[nodes, ("tls.", yes()), ("tls.ca", text("pem")), ("tls.serverName", text("db"))])
            .unwrap();
        assert!(
            matches!(read.target, crate::Target::Nodes(nodes) if nodes.iter().all(norikv_core::NodeAddress::tls))
        );
        let tls = read.access.tls.unwrap();
        assert_eq!((tls.ca.unwrap().as_ref(), tls.server_name.unwrap().as_str()), (&b"pem"[..], "db"));
    }

    #[test]
    fn what_contradicts_itself_is_refused_and_secrets_are_not_shown() {
        let etcd = ("address", text("etcd://a:1"));
        let wrong = [
            (vec![("address", text("memory:")), ("tls.", yes())], "tls"),
            (vec![("address", text("http://a:1")), ("tls.", yes())], "http://a:1"),
            (vec![("nodes", texts(&["a:1", "http://b:1"])), ("tls.", yes())], "http://b:1"),
            (vec![("address", text("a:1")), ("etcd.", yes()), ("etcd.user", text("me"))], "etcd://"),
            (vec![("address", text("a:1")), ("tls.", yes()), ("tls.cert", text("-secret-"))], "no key"),
            (vec![("address", text("a:1")), ("tls.", yes()), ("tls.key", text("-secret-"))], "no cert"),
            (vec![("address", text("a:1")), ("tls.", yes()), ("tls.crt", text("x"))], "tls.crt"),
            (vec![("address", text("a:1")), ("tls", text("-secret-"))], "an object"),
            (
                vec![
                    etcd,
                    ("etcd.", yes()),
                    ("etcd.password", super::super::config::Value::Number(12_345.0)),
                ],
                "password",
            ),
        ];
        for (settings, what) in wrong {
            let error = config(&settings).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
            assert!(error.message().contains(what), "{what}: {error}");
            assert!(!error.message().contains("secret") && !error.message().contains("12345"), "{error}");
        }
    }
}
