//! The name and port by which a request reached us.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use axum::http::header;
use axum::http::{HeaderMap, Uri, Version};

/// The longest name there is (RFC 1035, 2.3.4).
const MAX_NAME: usize = 253;

/// A host and its port: `chat.example.org:8443`, `127.0.0.1`, `[::1]:3000`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    pub(super) host: Host,
    /// `None` where the scheme's own is meant.
    pub(super) port: Option<u16>,
}

/// Whom a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// Nobody can point an address elsewhere.
    Address(IpAddr),
    /// In lower case, without the dot at its end.
    Name(String),
}

impl Authority {
    /// `uri-host [":" port]` (RFC 9110, 7.2). Names are of letters, digits, `-`, `_` and `.`: whatever else a name
    /// has, browsers write in these.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                let address: Ipv6Addr = address.parse().ok()?;
                (Host::Address(address.into()), port)
            }
            None => {
                let end = text.find(':').unwrap_or(text.len());
                (Host::parse(&text[..end])?, &text[end..])
            }
        };
        let port = match port {
            // A colon alone names no port (RFC 3986, 3.2.3).
            "" | ":" => None,
            port => {
                let digits = port.strip_prefix(':')?;
                let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
                Some(digits.parse().ok().filter(|_| plain)?)
            }
        };
        Some(Self { host, port })
    }

    /// The authority of an origin, such as `https://chat.example.org`, its port always told.
    pub(super) fn of_origin(origin: &str) -> Option<Self> {
        let (scheme, rest) = origin.split_once("://")?;
        let port = port_of(scheme)?;
        Some(Self::parse(rest)?.or_port(port))
    }

    /// Whom a request is for; `None` where it may leave that out. Of a target in absolute form the header must say the
    /// same, and there is one header at most: of two, whoever passes a request on may have believed the other.
    ///
    /// # Errors
    /// [`Unclear`] (RFC 9112, 3.2).
    pub(super) fn of_request(
        version: Version,
        target: &Uri,
        headers: &HeaderMap,
    ) -> Result<Option<Self>, Unclear> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let said = match (hosts.next(), hosts.next()) {
            (None, _) if version >= Version::HTTP_11 => return Err(Unclear),
            (None, _) => None,
            (Some(host), None) => {
                let host = std::str::from_utf8(host.as_bytes()).map_err(|_| Unclear)?;
                Some(Self::parse(host).ok_or(Unclear)?)
            }
            (Some(_), Some(_)) => return Err(Unclear),
        };
        let Some(authority) = target.authority() else {
            return Ok(said);
        };
        let named = Self::parse(authority.as_str()).ok_or(Unclear)?;
        let port = target.scheme_str().and_then(port_of).unwrap_or(80);
        match said {
            Some(said) if said.clone().or_port(port) != named.clone().or_port(port) => Err(Unclear),
            _ => Ok(Some(named)),
        }
    }

    /// The same, with this port where none is told.
    pub(super) fn or_port(self, port: u16) -> Self {
        Self {
            port: self.port.or(Some(port)),
            ..self
        }
    }
}

impl Host {
    /// A name or an IPv4 address.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse::<std::net::Ipv4Addr>() {
            return Some(Self::Address(address.into()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let label = |label: &str| !label.is_empty() && label.bytes().all(letter);
        (name.len() <= MAX_NAME && name.split('.').all(label))
            .then(|| Self::Name(name.to_ascii_lowercase()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// A request that does not say whom it is for, or says it twice.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unclear;

fn port_of(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn hosts_are_read_as_browsers_write_them() {
        let name = |text: &str| Host::Name(text.to_owned());
        let address = |text: &str| Host::Address(text.parse().unwrap());
        for (text, host, port) in [
            ("localhost", name("localhost"), None),
            ("LocalHost.:3000", name("localhost"), Some(3000)),
            ("chat.example.org:", name("chat.example.org"), None),
            ("xn--bcher-kva.example", name("xn--bcher-kva.example"), None),
            ("web_1:80", name("web_1"), Some(80)),
            ("127.0.0.1:3000", address("127.0.0.1"), Some(3000)),
            ("[::1]", address("::1"), None),
            ("[2001:DB8::7]:443", address("2001:db8::7"), Some(443)),
        ] {
            assert_eq!(
                Authority::parse(text),
                Some(Authority { host, port }),
                "{text}"
            );
        }
        let long = "a".repeat(MAX_NAME + 1);
        for text in [
            "",
            ":",
            ":80",
            ".",
            "..",
            "a..b",
            ".a",
            "localhost..",
            "localhost:x",
            "localhost:-1",
            "localhost:+80",
            "localhost:65536",
            "localhost:80:80",
            "me@localhost",
            "me:pw@localhost:80",
            "localhost/",
            "local host",
            " localhost",
            "löcalhost",
            "local%68ost",
            "*",
            "[::1",
            "::1",
            "[::1]x",
            "[127.0.0.1]",
            "[fe80::1%25eth0]",
            "a,b",
            "localhost\0",
            &long,
        ] {
            assert_eq!(Authority::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_request_says_once_whom_it_is_for() {
        let of = |version, target: &str, hosts: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, HeaderValue::from_bytes(host).unwrap());
            }
            Authority::of_request(version, &target.parse().unwrap(), &headers)
        };
        let known = Authority::parse("a:80");
        for (version, target, hosts, said) in [
            (
                Version::HTTP_11,
                "/",
                &[&b"a:80"[..]][..],
                Ok(known.clone()),
            ),
            (Version::HTTP_10, "/", &[b"a:80"], Ok(known.clone())),
            (Version::HTTP_10, "/", &[], Ok(None)),
            (Version::HTTP_11, "/", &[], Err(Unclear)),
            (Version::HTTP_11, "/", &[b""], Err(Unclear)),
            (Version::HTTP_11, "/", &[b"a:80", b"a:80"], Err(Unclear)),
            (Version::HTTP_10, "/", &[b"a:80", b"b"], Err(Unclear)),
            (Version::HTTP_11, "/", &[b"\xff"], Err(Unclear)),
            (Version::HTTP_11, "/", &["bücher".as_bytes()], Err(Unclear)),
            (Version::HTTP_11, "http://a:80/", &[b"a"], Ok(known.clone())),
            (
                Version::HTTP_11,
                "http://A:80/",
                &[b"a:80"],
                Ok(known.clone()),
            ),
            (Version::HTTP_11, "http://a:80/", &[b"b:80"], Err(Unclear)),
            (Version::HTTP_11, "http://a:80/", &[b"a:81"], Err(Unclear)),
            (Version::HTTP_11, "http://a:80/", &[], Err(Unclear)),
            (
                Version::HTTP_11,
                "http://me@a:80/",
                &[b"a:80"],
                Err(Unclear),
            ),
            (Version::HTTP_10, "http://a:80/", &[], Ok(known)),
        ] {
            assert_eq!(
                of(version, target, hosts),
                said,
                "{version:?} {target} {hosts:?}"
            );
        }
    }
}
