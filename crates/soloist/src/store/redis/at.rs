//! Where a server is.

use std::fmt;

use redis::{Client, ConnectionAddr, ConnectionInfo};

use super::greeting::{self, Failed};

/// A host and its port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub(super) host: String,
    pub(super) port: u16,
}

impl At {
    /// Where a connection goes; `None` for one that does not go over a network.
    pub(super) fn of(addr: &ConnectionAddr) -> Option<Self> {
        match addr {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Some(At { host: host.clone(), port: *port })
            }
            _ => None,
        }
    }

    /// A client for this address, with the login and certificates of another.
    pub(super) fn client(&self, like: &ConnectionInfo, store: &str) -> Result<Client, Failed> {
        let At { host, port } = self.clone();
        let addr = match like.addr().clone() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure, tls_params }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        Client::open(like.clone().set_addr(addr)).map_err(|error| greeting::failed(&error, store))
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let At { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}
