//! DNS resolution with checked addresses: every address of an answer is checked, and the connection
//! goes to one of them. DNS rebinding is useless, because a name is resolved once per connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures::future::BoxFuture;
use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address;

/// Resolves a name to all its addresses.
pub trait Lookup: Send + Sync + std::fmt::Debug {
    fn addresses(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The operating system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn addresses(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// A name has an address that must not be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the host has an address that is not to be connected to")]
pub(super) struct ForbiddenAddress;

/// The HTTP client's resolver.
#[derive(Clone, Debug)]
pub(super) struct CheckedResolver {
    pub(super) lookup: Arc<dyn Lookup>,
    pub(super) allowed: Arc<[IpNet]>,
    /// Whether `localhost` may be this machine.
    pub(super) loopback: bool,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let name = name.as_str().to_owned();
            let own = resolver.loopback && name == "localhost";
            let found = resolver.lookup.addresses(name).await?;
            let good = |address: &IpAddr| {
                (own && address.is_loopback()) || address::is_permitted(*address, &resolver.allowed)
            };
            // One forbidden address rejects the whole answer: mixed answers are a sign of an attack.
            if !found.iter().all(good) {
                return Err(ForbiddenAddress.into());
            }
            let addresses = found.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}
