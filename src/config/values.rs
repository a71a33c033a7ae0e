//! The types of values: parsed from a variable or from TOML, and written as TOML.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use url::{Host, Url};

use super::nearest::nearest;
use super::{
    Aaguid, AttestationKind, AttestationTrust, ForwardedHeader, LogFormat, UpstreamPaths,
    UpstreamUsernames,
};

/// The error of a value: what it must be, as a sentence after its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Invalid(pub(super) String);

impl Invalid {
    fn must(text: &str) -> Self {
        Self(format!("must be {text}"))
    }

    /// Adds the name that was probably meant. It reveals nothing else of the value.
    fn or_meant(self, meant: Option<&str>) -> Self {
        match meant {
            Some(meant) => Self(format!("{}; did you mean {meant}?", self.0)),
            None => self,
        }
    }
}

/// A type of a key.
pub(super) trait Value: Sized {
    /// Description of valid values, such as `true or false`.
    fn expected() -> String;

    /// Parses a variable, or a TOML string.
    fn from_text(text: &str) -> Result<Self, Invalid>;

    /// Parses a value of the file. Types other than TOML strings override this.
    fn from_toml(value: &toml::Value) -> Result<Self, Invalid> {
        let text = value.as_str().ok_or_else(|| Invalid::must(&Self::expected()))?;
        Self::from_text(text)
    }

    fn to_toml(&self) -> String;
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl Value for bool {
    fn expected() -> String {
        "true or false".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, Invalid> {
        text.parse().map_err(|_| Invalid::must(&Self::expected()))
    }

    fn from_toml(value: &toml::Value) -> Result<Self, Invalid> {
        value.as_bool().ok_or_else(|| Invalid::must(&Self::expected()))
    }

    fn to_toml(&self) -> String {
        self.to_string()
    }
}

impl Value for u64 {
    fn expected() -> String {
        "a whole number, not negative".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, Invalid> {
        text.parse().map_err(|_| Invalid::must(&Self::expected()))
    }

    fn from_toml(value: &toml::Value) -> Result<Self, Invalid> {
        let number = value.as_integer().and_then(|number| Self::try_from(number).ok());
        number.ok_or_else(|| Invalid::must(&Self::expected()))
    }

    fn to_toml(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    fn expected() -> String {
        "a text of 1 to 255 characters".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, Invalid> {
        let usable = !text.trim().is_empty()
            && text.chars().count() <= 255
            && !text.chars().any(char::is_control);
        if usable { Ok(text.to_owned()) } else { Err(Invalid::must(&Self::expected())) }
    }

    fn to_toml(&self) -> String {
        quoted(self)
    }
}

impl Value for PathBuf {
    fn expected() -> String {
        "a path".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() { Err(Invalid::must(&Self::expected())) } else { Ok(text.into()) }
    }

    fn to_toml(&self) -> String {
        quoted(&self.to_string_lossy())
    }
}

impl Value for SocketAddr {
    fn expected() -> String {
        "an address and a port, such as \"127.0.0.1:8080\" or \"[::]:8080\"".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, Invalid> {
        text.parse().map_err(|_| Invalid::must(&Self::expected()))
    }

    fn to_toml(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Value for IpNet {
    fn expected() -> String {
        "a network such as \"10.1.2.0/24\" or \"fd00:1::/64\", or one address".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, Invalid> {
        let address = || text.parse::<IpAddr>().ok().map(Self::from);
        let network = text.parse::<Self>().ok().or_else(address);
        network.map(|network| network.trunc()).ok_or_else(|| Invalid::must(&Self::expected()))
    }

    fn to_toml(&self) -> String {
        quoted(&self.to_string())
    }
}

/// A host in the form of a URL, or `*.` and a domain for its subdomains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostPattern(pub(super) String);

impl Value for HostPattern {
    fn expected() -> String {
        "a host in lower case such as \"hooks.example.com\", or \"*.example.com\"".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, Invalid> {
        let host = text.strip_prefix("*.").unwrap_or(text);
        if is_host(host) && !host.contains('*') {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::must(&Self::expected()))
        }
    }

    fn to_toml(&self) -> String {
        quoted(&self.0)
    }
}

/// Whether a text is a host in the normal form of the URL parser.
fn is_host(text: &str) -> bool {
    let parsed = Url::parse(&format!("https://{text}/"));
    parsed.is_ok_and(|url| {
        url.host_str() == Some(text)
            && url.port().is_none()
            && !matches!(url.host(), Some(Host::Domain(domain)) if domain.ends_with('.'))
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Port(pub(super) u16);

impl Value for Port {
    fn expected() -> String {
        "a port (1 to 65535)".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, Invalid> {
        let port = text.parse().ok().filter(|port| *port != 0);
        port.map(Self).ok_or_else(|| Invalid::must(&Self::expected()))
    }

    fn from_toml(value: &toml::Value) -> Result<Self, Invalid> {
        let number = value.as_integer().and_then(|number| u16::try_from(number).ok());
        let port = number.filter(|port| *port != 0);
        port.map(Self).ok_or_else(|| Invalid::must(&Self::expected()))
    }

    fn to_toml(&self) -> String {
        self.0.to_string()
    }
}

impl Value for Url {
    fn expected() -> String {
        "a URL with http or https and a host, without user, password, query and fragment".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, Invalid> {
        let url = Self::parse(text).map_err(|_| Invalid::must(&<Self as Value>::expected()))?;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if plain { Ok(url) } else { Err(Invalid::must(&<Self as Value>::expected())) }
    }

    fn to_toml(&self) -> String {
        // As in tokens and links.
        quoted(self.as_str().trim_end_matches('/'))
    }
}

impl<T: Value> Value for Vec<T> {
    fn expected() -> String {
        format!("a list (in a variable: separated by commas), each {}", T::expected())
    }

    fn from_text(text: &str) -> Result<Self, Invalid> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        items.map(T::from_text).collect::<Result<_, _>>().map_err(of_a_list::<T>)
    }

    fn from_toml(value: &toml::Value) -> Result<Self, Invalid> {
        let items = value.as_array().ok_or_else(|| Invalid::must(&Self::expected()))?;
        items.iter().map(T::from_toml).collect::<Result<_, _>>().map_err(of_a_list::<T>)
    }

    fn to_toml(&self) -> String {
        format!("[{}]", self.iter().map(T::to_toml).collect::<Vec<_>>().join(", "))
    }
}

/// The error of one item, worded for the list.
fn of_a_list<T: Value>(Invalid(item): Invalid) -> Invalid {
    let rest = item.strip_prefix(&Invalid::must(&T::expected()).0).unwrap_or_default();
    Invalid(format!("{}{rest}", Invalid::must(&Vec::<T>::expected()).0))
}

/// An enum with a name for each value.
macro_rules! choice {
    ($type:ty { $($name:literal => $value:path),+ $(,)? }) => {
        impl Value for $type {
            fn expected() -> String {
                format!("one of {}", [$($name),+].join(", "))
            }

            fn from_text(text: &str) -> Result<Self, Invalid> {
                match text {
                    $($name => Ok($value),)+
                    _ => {
                        let meant = nearest(text, [$($name),+]);
                        Err(Invalid::must(&Self::expected()).or_meant(meant))
                    }
                }
            }

            fn to_toml(&self) -> String {
                quoted(match self { $($value => $name),+ })
            }
        }
    };
}

/// The kind of FIDO2 server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UpstreamKind {
    Builtin,
    Http,
}

choice!(UpstreamKind { "builtin" => Self::Builtin, "http" => Self::Http });
choice!(ForwardedHeader {
    "forwarded" => Self::Forwarded,
    "x-forwarded-for" => Self::XForwardedFor,
});
choice!(LogFormat { "text" => Self::Text, "json" => Self::Json });
choice!(UpstreamPaths { "certify" => Self::Certify, "short" => Self::Short });
choice!(UpstreamUsernames { "as_is" => Self::AsIs, "restricted" => Self::Restricted });
choice!(AttestationKind {
    "none" => Self::None,
    "self" => Self::SelfSigned,
    "certified" => Self::Certified,
});

choice!(AttestationTrust { "arculus" => Self::Arculus });

impl Value for Aaguid {
    fn expected() -> String {
        "an AAGUID such as \"9d3df6ba-282f-11ed-a261-0242ac120002\"".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, Invalid> {
        let bytes = fido_relay_webauthn::parse_aaguid(text);
        let bytes = bytes.ok_or_else(|| Invalid::must(&Self::expected()))?;
        Ok(Self { bytes, text: text.to_ascii_lowercase() })
    }

    fn to_toml(&self) -> String {
        quoted(&self.text)
    }
}

/// An origin as WebAuthn compares it: scheme, host and port, or a native app's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WebAuthnOrigin(pub(super) String);

impl Value for WebAuthnOrigin {
    fn expected() -> String {
        "an origin such as \"https://example.com\", without a path, or a native app's \
         (\"android:apk-key-hash:…\", \"ios:bundle-id:…\")"
            .to_owned()
    }

    fn from_text(text: &str) -> Result<Self, Invalid> {
        let native = ["android:apk-key-hash:", "ios:bundle-id:"];
        let is_native = native.iter().any(|scheme| {
            text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty() && rest.is_ascii())
        });
        // Browsers and cards write an origin in one form only, so another form would never match.
        let is_web = <Url as Value>::from_text(text)
            .is_ok_and(|url| url.origin().ascii_serialization() == text);
        if is_native || is_web {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::must(&Self::expected()))
        }
    }

    fn to_toml(&self) -> String {
        quoted(&self.0)
    }
}

/// A level, or levels by module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogLevel(pub(super) String);

impl LogLevel {
    const NAMES: [&'static str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
}

impl Value for LogLevel {
    fn expected() -> String {
        format!(
            "a level ({}) or levels by module, such as \"warn,fido_relay=debug\"",
            Self::NAMES.join(", ")
        )
    }

    fn from_text(text: &str) -> Result<Self, Invalid> {
        let is_path = |module: &str| {
            let name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'-');
            !module.is_empty() && module.bytes().all(name)
        };
        for part in text.split(',') {
            // `tracing` takes a word that is no level for a module, and then logs nothing else.
            let (module, level) = part.rsplit_once('=').unwrap_or(("any", part));
            let is_level = Self::NAMES.iter().any(|name| name.eq_ignore_ascii_case(level));
            if !is_level || !is_path(module) {
                let level = level.to_ascii_lowercase();
                let meant = nearest(&level, Self::NAMES).filter(|_| !is_level);
                return Err(Invalid::must(&Self::expected()).or_meant(meant));
            }
        }
        Ok(Self(text.to_owned()))
    }

    fn to_toml(&self) -> String {
        quoted(&self.0)
    }
}
