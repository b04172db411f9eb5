//! The text of an address: `etcd://user:password@host:port,host:port/prefix`, `etcds://…` with TLS.

use norikv_core::{Error, NodeAddress, Result};

/// What an address says.
pub(crate) struct Parts {
    pub(crate) endpoints: Vec<String>,
    pub(crate) user: Option<(String, String)>,
    pub(crate) tls: bool,
    pub(crate) prefix: Vec<u8>,
}

/// The addresses of several clusters: each is written like that of one, and they are separated by semicolons. The prefix stands
/// once, behind the last.
///
/// A semicolon in a password or a prefix does not separate: what follows one that does begins with `etcd://` or `etcds://`.
pub(crate) fn parse_all(address: &str) -> Result<Vec<Parts>> {
    let mut starts: Vec<usize> = [";etcd://", ";etcds://"]
        .iter()
        .flat_map(|separator| address.match_indices(separator))
        .map(|(at, _)| at + 1)
        .collect();
    starts.sort_unstable();
    let mut parts = Vec::with_capacity(starts.len() + 1);
    let mut from = 0;
    for start in starts {
        parts.push(parse(&address[from..start - 1])?);
        from = start;
    }
    parts.push(parse(&address[from..])?);
    let prefix = parts.last().map(|last| last.prefix.clone()).unwrap_or_default();
    for part in &mut parts {
        if !part.prefix.is_empty() && part.prefix != prefix {
            return Err(Error::invalid_argument(
                "an address of several clusters has one prefix for all of them: write it once, behind the last one, like etcd://a:2379;etcd://b:2379/app/",
            ));
        }
        part.prefix.clone_from(&prefix);
    }
    Ok(parts)
}

pub(crate) fn parse(address: &str) -> Result<Parts> {
    let wrong = |why: &str| {
        // The password must not get into an error.
        let shown = address.rsplit_once('@').map_or(address, |(_, rest)| rest);
        Error::invalid_argument(format!(
            "{shown:?} is no address of an etcd cluster: {why}; write etcd://host:2379,host:2379, with user:password@ before the hosts and /prefix behind them where there are any"
        ))
    };
    let (tls, rest) = match address.split_once("://") {
        Some(("etcd", rest)) => (false, rest),
        Some(("etcds", rest)) => (true, rest),
        _ => return Err(wrong("it begins with neither etcd:// nor etcds://")),
    };
    // A password may have an @, a host has none.
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => {
            let (name, password) = user.split_once(':').ok_or_else(|| wrong("the user has no password"))?;
            let name = decode(name).ok_or_else(|| wrong("the user's name is not percent-encoded UTF-8"))?;
            let password =
                decode(password).ok_or_else(|| wrong("the password is not percent-encoded UTF-8"))?;
            (Some((name, password)), rest)
        }
        None => (None, rest),
    };
    let (hosts, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = decode(prefix).ok_or_else(|| wrong("the prefix is not percent-encoded UTF-8"))?;
    if hosts.contains(';') {
        return Err(wrong(
            "several clusters are written each with its etcd://, like etcd://a:2379;etcd://b:2379",
        ));
    }
    let mut endpoints = Vec::new();
    for host in hosts.split(',') {
        let node: NodeAddress = host.parse().map_err(|error: Error| wrong(error.message()))?;
        let endpoint = node.to_string();
        if node.tls() || endpoints.contains(&endpoint) {
            return Err(wrong("each endpoint is host:port, and named once"));
        }
        endpoints.push(endpoint);
    }
    Ok(Parts { endpoints, user, tls, prefix: prefix.into_bytes() })
}

/// The text of a part of a URL.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        let digits = std::str::from_utf8(&digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_address_has_endpoints_a_user_and_a_prefix() {
        let parts = parse("etcds://root:p%40ss@a:2379,[::1]:2380/app/").unwrap();
        assert_eq!(parts.endpoints, ["a:2379", "[::1]:2380"]);
        assert_eq!(parts.user, Some(("root".to_owned(), "p@ss".to_owned())));
        assert!(parts.tls);
        assert_eq!(parts.prefix, b"app/");
        assert!(parse("etcd://a:1").unwrap().prefix.is_empty());
    }

    #[test]
    fn several_clusters_have_users_of_their_own_and_one_prefix() {
        let parts = parse_all("etcd://a:1,b:2;etcds://u:x;y@c:3/app/;z").unwrap();
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0].endpoints, ["a:1", "b:2"]);
        assert_eq!(parts[1].endpoints, ["c:3"]);
        assert!(!parts[0].tls && parts[1].tls && parts[0].user.is_none());
        assert_eq!(parts[1].user, Some(("u".to_owned(), "x;y".to_owned())));
        assert!(parts.iter().all(|part| part.prefix == b"app/;z"));
        assert_eq!(parse_all("etcd://a:1/p;q").unwrap().len(), 1);
        assert_eq!(parse_all("etcd://a:1/p;etcd://b:1/p").unwrap()[0].prefix, b"p");
        for wrong in ["etcd://a:1/p;etcd://b:1/q", "etcd://a:1/p;etcd://b:1", "etcd://a:1;b:1", "etcd://a:1;"]
        {
            assert!(parse_all(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_the_password() {
        for address in
            ["etcd://", "etcd://a", "etcd://a:1,a:1", "http://a:1", "etcd://u@a:1", "etcd://a:1/%zz"]
        {
            assert!(parse(address).is_err(), "{address}");
        }
        let error = parse("etcd://root:secret@a").err().unwrap();
        assert!(!error.message().contains("secret"));
    }
}
