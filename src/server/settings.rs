//! The bounds of the server, as plain data.

use std::sync::Arc;
use std::time::Duration;

use crate::base::settings::{ConnectionSettings, Settings};

/// How many clients may be connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// `max.connections`; past it connections wait.
    pub total: usize,
    /// `max.connections.per.ip`; past it connections are closed at once.
    pub per_ip: usize,
}

/// The caps as they are now; asked for every connection, since they may change at run time.
pub type CapsNow = Arc<dyn Fn() -> Caps + Send + Sync>;

/// Descriptors kept for the logs where the limit of open files allows it.
const DESCRIPTORS_FOR_LOGS: u64 = 5_120;

impl Caps {
    /// Leaves descriptors to the logs: with too many connections no segment could be opened, and
    /// with that no record be stored. `open_files` is the process's limit, `None` for no limit.
    #[must_use]
    pub fn within(self, open_files: Option<u64>) -> Self {
        let Some(open_files) = open_files else { return self };
        let room = open_files - DESCRIPTORS_FOR_LOGS.min(open_files / 2);
        Self { total: self.total.min(usize::try_from(room).unwrap_or(usize::MAX)), ..self }
    }

    /// Caps that stay.
    #[must_use]
    pub fn always(self) -> CapsNow {
        Arc::new(move || self)
    }
}

impl From<ConnectionSettings> for Caps {
    fn from(settings: ConnectionSettings) -> Self {
        Self { total: size(settings.max), per_ip: size(settings.max_per_ip) }
    }
}

fn size(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// Bounds of the server and of each of its connections.
#[derive(Clone)]
pub struct Limits {
    /// `socket.listen.backlog.size`, at least 1,024: below that a burst of connections meets
    /// second-long retries of the client's kernel.
    pub backlog: u32,
    pub caps: CapsNow,
    /// `socket.request.max.bytes`
    pub request_max_bytes: usize,
    /// `queued.max.request.bytes`: received and unanswered, of the whole broker.
    pub queued_max_bytes: usize,
    /// Read buffers kept for the next large requests.
    pub recycled_max_bytes: usize,
    /// `connections.max.idle.ms`
    pub idle: Duration,
    /// From connecting to the first request.
    pub handshake: Duration,
    /// For the first 64 KiB of a request; each further 32 KiB buy a second.
    pub frame: Duration,
    /// How long a client may leave its replies unread.
    pub send_stall: Duration,
}

impl From<&Settings> for Limits {
    fn from(settings: &Settings) -> Self {
        Self {
            backlog: settings.socket_listen_backlog_size,
            request_max_bytes: size(settings.socket_request_max_bytes),
            queued_max_bytes: settings
                .queued_max_request_bytes
                .map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
            idle: Duration::from_millis(settings.connections_max_idle_ms),
            ..Self::default()
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            backlog: 4096,
            caps: Caps { total: 10_000, per_ip: 10_000 }.always(),
            request_max_bytes: 100 << 20,
            queued_max_bytes: 256 << 20,
            recycled_max_bytes: 64 << 20,
            idle: Duration::from_secs(600),
            handshake: Duration::from_secs(15),
            frame: Duration::from_secs(30),
            send_stall: Duration::from_secs(60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_to_the_logs() {
        let most =
            |open_files| Caps { total: usize::MAX, per_ip: usize::MAX }.within(open_files).total;
        assert_eq!(most(Some(1_024)), 512);
        assert_eq!(most(Some(20_000)), 14_880);
        assert_eq!(most(None), usize::MAX);
        let few = Caps { total: 3, per_ip: 2 };
        assert_eq!(few.within(Some(20_000)), few);
    }
}
