use std::{error::Error as StdError, io};

use rustls::{AlertDescription, CertificateError, Error as RustlsError, InvalidMessage, pki_types::UnixTime};

use crate::verifier::SelfSigned;

/// Why two sides do not come to speak TLS with each other. It lasts: trying again changes nothing until somebody changes
/// a certificate, a setting or an address.
///
/// It is found by the types of errors and by what a connection begins with, never by a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The server's certificate is too old.
    #[error("its certificate has expired{}; renew it, or see whether this machine's clock is right", since(.0))]
    Expired(Option<UnixTime>),
    /// The server's certificate is too young.
    #[error("its certificate is not valid yet{}; see whether the clocks of both machines are right", from(.0))]
    NotYetValid(Option<UnixTime>),
    /// Nobody but the server vouches for its certificate, which is not among those that are trusted.
    #[error(
        "its certificate is self-signed, and not among those that are trusted; give that certificate as the ca of tls, or have one made by an authority"
    )]
    SelfSigned,
    /// The authority that made the server's certificate is not among those that are trusted.
    #[error("its certificate is of an unknown authority; give that authority's certificate as the ca of tls")]
    UnknownAuthority,
    /// The server's certificate is for other names.
    #[error(
        "its certificate is for another host{}; use a name that it is for, in the address or as the serverName of tls",
        named(.expected, .presented)
    )]
    WrongHost {
        /// The name that was asked for.
        expected: Option<String>,
        /// The names that it is for.
        presented: Vec<String>,
    },
    /// The authority took the server's certificate back.
    #[error("its certificate was revoked; have a new one made")]
    Revoked,
    /// The server's certificate is not one for a server.
    #[error("its certificate is not one for servers ({0}); have one made that is")]
    Purpose(String),
    /// The server's certificate cannot be used for another reason.
    #[error("its certificate cannot be trusted: {0}")]
    Certificate(String),
    /// The server asks for a certificate, and the client has none.
    #[error("it asks for a client certificate; give the cert and the key of tls")]
    ClientCertificateMissing,
    /// The server does not take the client's certificate.
    #[error(
        "it refused the client certificate: {0}; give one that an authority made which the server trusts"
    )]
    ClientCertificateRefused(String),
    /// The client began TLS, and the server does not speak it.
    #[error(
        "the server speaks plain text, not TLS; leave tls away (http:// or etcd://), or start the server with a certificate"
    )]
    PlainText,
    /// The client did not begin TLS, and the server speaks it.
    #[error("this port speaks TLS; use tls, or an address with https:// (etcds:// for etcd)")]
    SpeaksTls,
    /// Nothing that both sides have: a version, a cipher, a protocol within.
    #[error("the two sides agree on no kind of TLS: {0}")]
    NoAgreement(String),
}

impl Fault {
    /// The fault within an error of a connection, if it has one.
    #[must_use]
    pub fn of(error: &(dyn StdError + 'static), has_identity: bool) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(fault) = error.downcast_ref::<Self>() {
                return Some(fault.clone());
            }
            if let Some(error) = error.downcast_ref::<RustlsError>() {
                return Self::of_rustls(error, has_identity);
            }
            // What an I/O error was made of is not its source, but itself.
            next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
                Some(inner) => Some(inner),
                None => error.source(),
            };
        }
        None
    }

    fn of_rustls(error: &RustlsError, has_identity: bool) -> Option<Self> {
        match error {
            RustlsError::InvalidCertificate(error) => Some(Self::of_certificate(error)),
            RustlsError::AlertReceived(alert) => Self::of_alert(*alert, has_identity),
            RustlsError::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => Some(Self::PlainText),
            RustlsError::PeerIncompatible(why) => Some(Self::NoAgreement(format!("{why:?}"))),
            RustlsError::NoApplicationProtocol => Some(Self::NoAgreement(error.to_string())),
            _ => None,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired => Self::Expired(None),
            CertificateError::ExpiredContext { not_after, .. } => Self::Expired(Some(*not_after)),
            CertificateError::NotValidYet => Self::NotYetValid(None),
            CertificateError::NotValidYetContext { not_before, .. } => Self::NotYetValid(Some(*not_before)),
            CertificateError::Revoked => Self::Revoked,
            CertificateError::UnknownIssuer => Self::UnknownAuthority,
            CertificateError::NotValidForName => Self::WrongHost { expected: None, presented: Vec::new() },
            CertificateError::NotValidForNameContext { expected, presented } => Self::WrongHost {
                expected: Some(expected.to_str().into_owned()),
                presented: presented.clone(),
            },
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Self::Purpose("its key usage".to_owned())
            }
            // An authority with the name of one that is known, and another key.
            CertificateError::BadSignature => Self::UnknownAuthority,
            CertificateError::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
                Some(webpki::Error::CaUsedAsEndEntity) => {
                    Self::Purpose("it is an authority's own, CA:TRUE".to_owned())
                }
                _ if other.0.is::<SelfSigned>() => Self::SelfSigned,
                _ => Self::Certificate(other.0.to_string()),
            },
            other => Self::Certificate(other.to_string()),
        }
    }

    /// What the other side says when it ends a handshake.
    fn of_alert(alert: AlertDescription, has_identity: bool) -> Option<Self> {
        use AlertDescription as Alert;
        let refused = |why: &str| {
            Some(match has_identity {
                true => Self::ClientCertificateRefused(why.to_owned()),
                false => Self::ClientCertificateMissing,
            })
        };
        match alert {
            Alert::CertificateRequired | Alert::NoCertificate => Some(Self::ClientCertificateMissing),
            Alert::CertificateExpired => refused("it has expired"),
            Alert::CertificateRevoked => refused("it was revoked"),
            Alert::UnknownCA => refused("it is of an authority that the server does not know"),
            Alert::UnsupportedCertificate => {
                refused("it is not one for clients, or of a kind that the server does not know")
            }
            Alert::BadCertificate | Alert::CertificateUnknown | Alert::AccessDenied | Alert::DecryptError => {
                refused("the server does not accept it, and says no more")
            }
            Alert::UnrecognisedName => Some(Self::WrongHost { expected: None, presented: Vec::new() }),
            Alert::HandshakeFailure
            | Alert::ProtocolVersion
            | Alert::InsufficientSecurity
            | Alert::NoApplicationProtocol => Some(Self::NoAgreement(format!("the server says {alert:?}"))),
            _ => None,
        }
    }
}

fn since(not_after: &Option<UnixTime>) -> String {
    not_after.map(|time| format!(" on {}", day(time))).unwrap_or_default()
}

fn from(not_before: &Option<UnixTime>) -> String {
    not_before.map(|time| format!(", but from {} on", day(time))).unwrap_or_default()
}

fn named(expected: &Option<String>, presented: &[String]) -> String {
    match expected {
        None => String::new(),
        Some(expected) if presented.is_empty() => format!(" than {expected}, for none even"),
        Some(expected) => format!(" than {expected}: for {}", presented.join(", ")),
    }
}

/// The day of a time, in UTC, as `2026-01-31`.
fn day(time: UnixTime) -> String {
    // Days are counted from the first of March of the year 0, so that a leap day is the last of its year.
    let days = time.as_secs() / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_798_761_599, "2026-12-31"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(day(UnixTime::since_unix_epoch(Duration::from_secs(seconds))), text);
        }
    }

    #[test]
    fn a_fault_is_found_within_what_carries_it() {
        let rustls = RustlsError::InvalidCertificate(CertificateError::UnknownIssuer);
        let error = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, rustls));
        assert_eq!(Fault::of(&error, false), Some(Fault::UnknownAuthority));
        assert_eq!(Fault::of(&io::Error::from(io::ErrorKind::UnexpectedEof), false), None);
    }

    #[test]
    fn a_refused_certificate_is_a_missing_one_where_none_was_shown() {
        let refused = RustlsError::AlertReceived(AlertDescription::BadCertificate);
        assert_eq!(Fault::of(&refused, false), Some(Fault::ClientCertificateMissing));
        assert!(matches!(Fault::of(&refused, true), Some(Fault::ClientCertificateRefused(_))));
    }
}
