//! Listening sockets and the accept loop: accept, wait for a place, spawn. While one waits for its
//! place, the next ones wait in the backlog.
//!
//! Binding and serving are two steps, so that the ports are known (and taken) before recovery,
//! and the first request is read after it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::Instant;

use super::connection::{Connection, Shared};
use super::registry::{Registry, Slot};
use super::service::Service;
use super::settings::Limits;
use crate::api::connection::ListenerInfo;
use crate::base::metrics::Counter;
use crate::base::settings;

/// The least backlog, whatever is configured.
const MIN_BACKLOG: u32 = 1024;

/// Pause after a failed accept, which most often means that descriptors have run out.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("listener {name}: host {host} can't be resolved ({source}); check `listeners`")]
    Host { name: String, host: String, source: io::Error },
    #[error(
        "listener {name}: {address} is in use by another program (another broker?); stop it, or choose another port with --listen HOST:PORT"
    )]
    Taken { name: String, address: SocketAddr },
    #[error("listener {name}: can't listen on {address}: {source}; check `listeners`")]
    Other { name: String, address: SocketAddr, source: io::Error },
}

/// A bound socket that is not served yet; clients that connect wait.
pub struct Listener {
    address: SocketAddr,
    socket: TcpListener,
}

impl Listener {
    /// # Errors
    /// With the address and a remedy, if it can't be bound.
    pub async fn bind(listener: &settings::Listener, limits: &Limits) -> Result<Self, ListenError> {
        let name = listener.name.clone();
        let settings::Address { host, port } = &listener.bind;
        let host = if host.is_empty() { "0.0.0.0" } else { host };
        let resolved = tokio::net::lookup_host((host, *port))
            .await
            .and_then(|mut found| found.next().ok_or(io::ErrorKind::NotFound.into()));
        let address = match resolved {
            Ok(address) => address,
            Err(source) => return Err(ListenError::Host { name, host: host.into(), source }),
        };
        match listen(address, limits.backlog.max(MIN_BACKLOG)) {
            Ok((socket, address)) => Ok(Self { address, socket }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                Err(ListenError::Taken { name, address })
            }
            Err(source) => Err(ListenError::Other { name, address, source }),
        }
    }

    /// The address it listens on, with the port the system chose if 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts until the task is aborted.
    pub(super) async fn serve<S: Service>(
        self,
        info: Arc<ListenerInfo>,
        shared: Arc<Shared<S>>,
        registry: Arc<Registry>,
    ) {
        loop {
            let (socket, address) = match self.socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    shared.metrics.accepts_failed.add(1);
                    tracing::warn!(listener = info.name, "accept failed: {error}");
                    tokio::time::sleep_until(Instant::now() + ACCEPT_RETRY).await;
                    continue;
                }
            };
            let slot = match registry.admit(address.ip()).await {
                Ok(slot) => slot,
                Err(most) => {
                    refused(&shared.metrics.connections_refused, address, most);
                    continue;
                }
            };
            shared.metrics.connections_accepted.add(1);
            let state = shared.service.connect(&info, address);
            tokio::spawn(serve_one(Arc::clone(&shared), state, slot, socket, address));
        }
    }
}

/// Counts a refusal, and logs it ever more rarely: a client that keeps coming must not fill the
/// log.
fn refused(count: &Counter, address: SocketAddr, limit: usize) {
    count.add(1);
    let (ip, total) = (address.ip(), count.get());
    if total.is_power_of_two() {
        tracing::warn!(%ip, limit, total, "connection refused: max.connections.per.ip reached");
    }
}

fn listen(address: SocketAddr, backlog: u32) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let socket = socket.listen(backlog)?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

async fn serve_one<S: Service>(
    shared: Arc<Shared<S>>,
    state: S::Connection,
    slot: Slot,
    socket: TcpStream,
    client: SocketAddr,
) {
    let metrics = Arc::clone(&shared.metrics);
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%client, "connection lost: {error}");
        return;
    }
    let mut connection = Connection::new(shared, state, slot, socket);
    let end = connection.run().await;
    // Counted before it closes, so that whoever sees it closed finds it counted.
    if end.is_fault() {
        metrics.connections_faulty.add(1);
        tracing::warn!(%client, "connection closed: {end}");
    } else {
        tracing::debug!(%client, "connection closed: {end}");
    }
}
