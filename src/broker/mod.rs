//! Rank 7: the composition. What is opened in which order, what is stopped in which order, and
//! what a failure means for the process.
//!
//! No behaviour lives here: every component has its own `open` or `start`, and gets its settings
//! and its neighbours by value.

mod dead_letters;
mod groups;
mod recovery;
mod status;
mod storage;
mod unplaced;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::api::connection::ListenerInfo;
use crate::api::fetch::session::Sessions;
use crate::api::groups::Groups;
use crate::api::{Api, Limits as ApiLimits, Node, Services};
use crate::base::env::Env;
use crate::base::settings::{ConnectionSettings, Settings};
use crate::cli::Start;
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::ops::banner::Banner;
use crate::ops::http::HttpServer;
use crate::ops::logs;
use crate::ops::process::raise_open_file_limit;
use crate::ops::signals::Signals;
use crate::server::{Caps, CapsNow, Limits, Listener, Server};
use crate::shard::Shards;
use crate::shard::failed::Failed;
use crate::shard::producer_ids::ProducerIds;
use crate::shard::retry::expired::Undertaker;
use crate::shard::retry::steward::Steward;
use crate::shard::retry::trim::Trimmer;
use crate::store::lock::DirLock;
use dead_letters::Caretakers;
use status::Status;
use storage::Storage;

/// How long begun requests may take to finish when the broker stops.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// How long a stop waits for a data directory that is still being opened. Whatever that had done
/// by then, the next start does over, as after a crash.
const OPENING_GRACE: Duration = Duration::from_secs(5);

/// Runs the broker until it is told to stop.
#[must_use]
pub fn run(start: &Start) -> Exit {
    let filter = format!("warn,klamm={}", start.settings.logging_level);
    if let Err(line) = logs::start(start.settings.logging_format, &filter) {
        return output::fail(&line, Exit::Failed);
    }
    for warning in &start.warnings {
        tracing::warn!("{warning}");
    }
    let open_files = raise_open_file_limit();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output::fail(&format!("no threads: {error}"), Exit::Failed),
    };
    let exit = runtime.block_on(serve(start, open_files));
    // What still runs on the blocking pool has nobody to answer.
    runtime.shutdown_timeout(Duration::from_secs(1));
    exit
}

/// From settings to exit code.
async fn serve(start: &Start, open_files: Option<u64>) -> Exit {
    let stopping = Arc::new(Notify::new());
    let told = Arc::clone(&stopping);
    let failed = Failed::new(move |reason| {
        tracing::error!(reason, "the data directory has failed; the broker stops");
        told.notify_one();
    });
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return output::fail(&format!("signals: {error}"), Exit::Failed),
    };
    let env = Env::system();
    let (settings, config) = (start.settings.clone(), start.config.clone());
    // Before any port is taken: a second broker is told of the directory, not of a port.
    let lock = match DirLock::acquire(&settings.data_dir) {
        Ok(lock) => lock,
        Err(error) => return output::fail(&error.to_string(), Exit::StorageFailed),
    };
    let status = Status::starting();
    let http = match start_http(&settings, &status).await {
        Ok(http) => http,
        Err(line) => return output::fail(&line, Exit::Failed),
    };
    let mut opened = tokio::task::spawn_blocking({
        let (settings, env, metrics) = (settings.clone(), env.clone(), Arc::clone(&status.metrics));
        move || Storage::open(&settings, &config, &env, metrics, lock, failed)
    });
    let (opened, stop_early) = tokio::select! {
        opened = &mut opened => (opened, false),
        signal = signals.next() => {
            tracing::info!(signal, "stopping; the data directory is still being opened");
            match tokio::time::timeout(OPENING_GRACE, opened).await {
                Ok(opened) => (opened, true),
                Err(_) => {
                    tracing::warn!("stopped before the data directory was open");
                    return Exit::Ok;
                }
            }
        }
    };
    let storage = match opened {
        Ok(Ok(storage)) => storage,
        Ok(Err(error)) => return output::fail(&error.to_string(), Exit::StorageFailed),
        Err(panic) => return output::fail(&panic.to_string(), Exit::Failed),
    };
    let exit = if stop_early {
        Exit::Ok
    } else {
        let limits = Limits { caps: caps(&storage, open_files), ..Limits::from(&settings) };
        match Running::start(&settings, limits, &env, &status, http, &storage).await {
            Ok(running) => {
                running.until_stopped(signals, &stopping, &storage.shards).await;
                Exit::Ok
            }
            Err(line) => output::fail(&line, Exit::Failed),
        }
    };
    let failed = storage.failed.clone();
    let clean = tokio::task::spawn_blocking(move || storage.stop()).await.unwrap_or(false);
    match (failed.is_set(), clean) {
        (true, _) => Exit::StorageFailed,
        (false, true) => exit,
        (false, false) => Exit::Failed,
    }
}

/// The servers over an opened data directory.
struct Running {
    server: Server,
    http: Vec<HttpServer>,
    /// Work of the broker's own, which may end at any moment.
    chores: JoinSet<()>,
    caretakers: Caretakers,
}

impl Running {
    /// # Errors
    /// One line: a port that is taken, for instance.
    async fn start(
        settings: &Settings,
        limits: Limits,
        env: &Env,
        status: &Status,
        http: Vec<HttpServer>,
        storage: &Storage,
    ) -> Result<Self, String> {
        let mut listeners = Vec::new();
        for wanted in &settings.listeners {
            let bound = Listener::bind(wanted, &limits).await.map_err(|e| e.to_string())?;
            let info = Arc::new(ListenerInfo::of(wanted, bound.address()));
            listeners.push((bound, info));
        }
        let services = Arc::new(services(settings, env, status, storage));
        let api = Api::new(Arc::clone(&services));
        let server = Server::start(listeners, limits, api, Arc::clone(&status.metrics));
        let steward = Arc::clone(&services.steward);
        let caretakers =
            Caretakers::start(env, &status.metrics, Arc::clone(&steward), storage).await;
        let caretakers = caretakers.map_err(|error| format!("meta.redb: {error}"))?;
        status.serving(storage, caretakers.handles(), server.gauges());
        let mut chores = JoinSet::new();
        let trimmer = Trimmer::new(Arc::clone(&storage.shards), Arc::clone(&storage.metadata));
        let every = u64::try_from(settings.retention_check_interval_ms).unwrap_or(u64::MAX);
        chores.spawn(trimmer.run(Duration::from_millis(every)));
        let undertaker = Undertaker {
            env: env.clone(),
            shards: Arc::clone(&storage.shards),
            metadata: Arc::clone(&storage.metadata),
            steward,
            defaults: storage.defaults.clone(),
        };
        chores.spawn(undertaker.run(storage.shards.delay().expired()));
        let running = Self { server, http, chores, caretakers };
        if let Err(error) = running.announce(settings, storage) {
            running.caretakers.stop().await;
            return Err(format!("standard output: {error}"));
        }
        Ok(running)
    }

    fn announce(&self, settings: &Settings, storage: &Storage) -> io::Result<()> {
        let names = settings.listeners.iter().map(|listener| listener.name.clone());
        let kafka: Vec<_> = names.zip(self.server.addresses().iter().copied()).collect();
        let banner = Banner {
            version: env!("CARGO_PKG_VERSION"),
            kafka: &kafka,
            http: self.http.first().map(HttpServer::address),
            data_dir: &settings.data_dir,
            cluster_id: &storage.identity.cluster_id,
            node_id: storage.identity.node_id,
        };
        let mut out = io::stdout().lock();
        banner.print(&mut out)?;
        banner.ready(&mut out)
    }

    /// Serves until a signal or a failure, then lets begun requests finish.
    async fn until_stopped(mut self, mut signals: Signals, stopping: &Notify, shards: &Shards) {
        tokio::select! {
            signal = signals.next() => tracing::info!(signal, "stopping"),
            () = stopping.notified() => {}
        }
        self.chores.shutdown().await;
        shards.resign();
        let cut = self.server.stop(STOP_GRACE).await;
        if cut > 0 {
            tracing::warn!(connections = cut, "cut off after {STOP_GRACE:?}");
        }
        for http in self.http {
            http.stop().await;
        }
        self.caretakers.stop().await;
    }
}

/// The operator's endpoint, which is up while the data directory is still being opened.
async fn start_http(settings: &Settings, status: &Arc<Status>) -> Result<Vec<HttpServer>, String> {
    let mut http = Vec::new();
    for address in &settings.http_listeners {
        http.push(HttpServer::start(address, status.probes()).await?);
    }
    Ok(http)
}

/// How many connections there may be by the configs as they are at the time.
fn caps(storage: &Storage, open_files: Option<u64>) -> CapsNow {
    let (defaults, snapshots) = (storage.defaults.clone(), storage.metadata.snapshots());
    Arc::new(move || {
        let config = defaults.current(&snapshots.load());
        Caps::from(ConnectionSettings::resolve(&config)).within(open_files)
    })
}

fn services(settings: &Settings, env: &Env, status: &Status, storage: &Storage) -> Services {
    let slots = settings.fetch_session_cache_slots as usize;
    Services {
        env: env.clone(),
        metrics: Arc::clone(&status.metrics),
        node: Node {
            node_id: storage.identity.node_id,
            cluster_id: storage.identity.cluster_id.clone(),
        },
        metadata: Arc::clone(&storage.metadata),
        shards: Arc::clone(&storage.shards),
        groups: Groups::new(Arc::clone(&storage.shards), Arc::clone(&storage.metadata)),
        steward: Arc::new(Steward::new(
            env.clone(),
            Arc::clone(&storage.metadata),
            Arc::clone(&storage.roster),
        )),
        all_topics: Default::default(),
        producer_ids: ProducerIds::new(Arc::clone(&storage.meta)),
        sessions: Sessions::new(slots),
        defaults: storage.defaults.clone(),
        settings: Arc::new(settings.clone()),
        limits: ApiLimits { fetch_max_bytes: u64::from(settings.fetch_max_bytes) },
    }
}
