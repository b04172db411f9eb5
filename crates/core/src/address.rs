use std::{borrow::Cow, fmt, str::FromStr};

use crate::{Error, Result};

/// Where a store is, as the user wrote it.
///
/// ```
/// use norikv_core::Address;
/// assert_eq!("memory:".parse::<Address>()?, Address::Memory);
/// assert_eq!("file:./data".parse::<Address>()?, Address::File("./data".into()));
/// assert!("127.0.0.1:7447".parse::<Address>().is_ok());
/// assert!("ftp://host".parse::<Address>().is_err());
/// # Ok::<(), norikv_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// In this process, gone at close: `memory:`.
    Memory,
    /// In this process, on disk: `file:<directory>`.
    File(String),
    /// A NoriKV server: `host:port` or `http://host:port`.
    Node(NodeAddress),
    /// An etcd cluster, by its whole address: `etcd://host:2379,…`.
    Etcd(String),
}

/// The forms of an address, for error messages.
const FORMS: &str = "\"memory:\", \"file:<directory>\", \"host:port\", \"http://host:port\", \"https://host:port\" or \"etcd://host:port,…\"";

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "memory:" {
            return Ok(Self::Memory);
        }
        if let Some(path) = text.strip_prefix("file:") {
            // `file:///x` and `file:/x` are the same path; `file://x` would be a host.
            let path = match path.strip_prefix("//") {
                Some(absolute) if absolute.starts_with('/') => absolute,
                Some(_) => {
                    return Err(Error::invalid_argument(format!(
                        "{text:?} names a host; write file:./directory or file:///directory"
                    )));
                }
                None => path,
            };
            if path.is_empty() || path.contains('\0') {
                return Err(Error::invalid_argument(format!(
                    "{text:?} names no directory; write file:./directory"
                )));
            }
            return Ok(Self::File(path.to_owned()));
        }
        if let Some(rest) = text.strip_prefix("etcd://").or_else(|| text.strip_prefix("etcds://")) {
            if rest.is_empty() {
                return Err(Error::invalid_argument(format!(
                    "{text:?} names no endpoint; write etcd://host:2379,host:2379"
                )));
            }
            return Ok(Self::Etcd(text.to_owned()));
        }
        text.parse().map(Self::Node).map_err(|error: Error| {
            let shown = without_password(text);
            let why = if shown == text { format!(" ({error})") } else { String::new() };
            Error::invalid_argument(format!("{shown:?} is no address of a store{why}; it is one of {FORMS}"))
        })
    }
}

/// The text of an address as it may be shown: without the password of a user before the hosts.
///
/// ```
/// assert_eq!(norikv_core::without_password("etcd://me:secret@a:1"), "etcd://me:***@a:1");
/// assert_eq!(norikv_core::without_password("file:./data"), "file:./data");
/// ```
#[must_use]
pub fn without_password(text: &str) -> Cow<'_, str> {
    let from = text.find("://").map_or(0, |at| at + 3);
    let Some(to) = text.rfind('@').filter(|to| *to > from) else { return text.into() };
    match text[from..to].find(':') {
        Some(name) => format!("{}:***{}", &text[..from + name], &text[to..]).into(),
        None => text.into(),
    }
}

/// The address of one NoriKV server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeAddress {
    host: String,
    port: u16,
    tls: bool,
}

impl NodeAddress {
    /// The host: a name, an IPv4 address, or an IPv6 address in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Whether the connection is encrypted (`https://`).
    #[must_use]
    pub const fn tls(&self) -> bool {
        self.tls
    }

    /// The same address, reached with TLS or without.
    #[must_use]
    pub fn with_tls(self, tls: bool) -> Self {
        Self { tls, ..self }
    }

    /// The address as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{self}")
    }
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for NodeAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            Error::invalid_argument(format!(
                "{text:?} is no node address: {why}; write host:port, like 127.0.0.1:7447"
            ))
        };
        let (tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(_) => return Err(wrong("unknown scheme")),
            None => (false, text),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = rest.rsplit_once(':').ok_or_else(|| wrong("no port"))?;
        let port = match port.parse::<u16>() {
            Ok(port) if port != 0 && !port_has_sign(rest) => port,
            _ => return Err(wrong("the port is not a number from 1 to 65535")),
        };
        let is_ipv6 = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
        let is_name = !host.is_empty()
            && host.len() <= 253
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
        if !is_ipv6 && !is_name {
            return Err(wrong("the host is not a name or an IP address"));
        }
        Ok(Self { host: host.to_owned(), port, tls })
    }
}

/// `"+80".parse::<u16>()` is 80; an address has no sign.
fn port_has_sign(rest: &str) -> bool {
    rest.rsplit_once(":+").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_understood() {
        for (text, url) in [
            ("localhost:7447", "http://localhost:7447"),
            ("http://10.0.0.1:1/", "http://10.0.0.1:1"),
            ("https://a-b.example:65535", "https://a-b.example:65535"),
            ("[::1]:7447", "http://[::1]:7447"),
        ] {
            assert_eq!(text.parse::<NodeAddress>().unwrap().url(), url);
        }
        assert_eq!("file:///tmp/x".parse::<Address>().unwrap(), Address::File("/tmp/x".into()));
        assert!(matches!("etcd://a:1,b:2".parse().unwrap(), Address::Etcd(_)));
    }

    #[test]
    fn unparsable_addresses_are_refused_with_the_forms_there_are() {
        for text in [
            "",
            "memory",
            "memory:x",
            "file:",
            "file://host/x",
            "host",
            "host:",
            ":7447",
            "host:0",
            "host:65536",
            "host:+80",
            "ho st:80",
            "::1:80",
            "[::1:80",
            "ftp://h:1",
            "etcd://",
            "user@host:80",
            "host:80/path",
            "file:a\0b",
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::InvalidArgument, "{text:?}");
            assert!(error.message().contains("write") || error.message().contains("one of"));
        }
    }
}
