//! For endpoint tests: services over a metadata store in memory, and a client that asks endpoints
//! in-process. What is asked and answered passes through the wire form of its version.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{BrokerId, ResponseHeader, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};
use uuid::Uuid;

use super::connection::{Connection, ListenerInfo};
use super::endpoint::{Begun, Cx, Endpoint};
use super::fetch::session::Sessions;
use super::groups::Groups;
use super::{Limits, Node, Services, text};
use crate::base::env::scripted::{ScriptedClock, env};
use crate::base::fault::Fault;
use crate::base::settings::{
    BrokerConfig, DelayStoreSettings, Durability, Settings, validate_group_configs,
    validate_topic_configs,
};
use crate::catalog::{Catalog, Change, Command, NewTopic, Policy, Topic};
use crate::coord::group::Groups as Coordinator;
use crate::coord::group::roster::Roster;
use crate::log::cache::LogStore;
use crate::shard::Shards;
use crate::shard::coordinator::Hosting;
use crate::shard::coordinator::cluster::Snapshot;
use crate::shard::delay::DelayShared;
use crate::shard::failed::Failed;
use crate::shard::host::{Defaults, Host};
use crate::shard::metadata::{Metadata, Opening, PartitionHost, Store};
use crate::shard::producer_ids::ProducerIds;
use crate::shard::retry::steward::Steward;
use crate::shard::worker::{Shard, ShardDeps};
use crate::store::memory::MemoryFiles;
use crate::store::meta::MemoryMeta;
use crate::wire::compression::Codec;
use crate::wire::encode;

/// The node that the endpoints run on.
pub(super) const NODE: BrokerId = BrokerId(1);
/// What `num.partitions` is set to.
pub(super) const DEFAULT_PARTITIONS: i32 = 3;

/// A host that has room for everything, and opens what coordinators need.
struct InternalOnly(Host);

impl PartitionHost for InternalOnly {
    fn open(&self, catalog: &Catalog, openings: &[Opening]) -> Vec<Result<(), Fault>> {
        let one = |opening: &Opening| match opening.iter().any(|(topic, _)| topic.is_internal()) {
            true => self.0.open(catalog, std::slice::from_ref(opening)).remove(0),
            false => Ok(()),
        };
        openings.iter().map(one).collect()
    }

    fn remove(&self, _: &Topic) -> Result<(), Fault> {
        Ok(())
    }

    fn forget(&self, topics: &[Arc<Topic>]) {
        self.0.forget(topics);
    }

    fn configure(&self, _: &Catalog, _: &Topic) {}

    fn reconfigure(&self, _: &Catalog) {}
}

fn defaults(config: BrokerConfig) -> Defaults {
    Defaults { config, max_decompressed_bytes: 1 << 20 }
}

/// A shard that coordinates groups over a disk in memory; endpoints that need other partitions
/// are tested over real sockets.
fn one_shard(store: &Store, roster: Arc<Roster>) -> (Arc<Shards>, LogStore) {
    let env = env(ScriptedClock::at(0), 7);
    let deps = ShardDeps {
        env: env.clone(),
        metrics: Arc::default(),
        store: LogStore::new(Arc::new(MemoryFiles::new()), 8),
        data_dir: "data".into(),
        registry: Arc::default(),
        durability: Durability::PageCache,
        retention_check_interval: Duration::from_secs(300),
        bulk_bytes: usize::MAX,
        failed: Failed::new(|_| {}),
        delay: DelayShared::new(DelayStoreSettings::resolve(&BrokerConfig::default()), &env),
    };
    let (registry, files) = (Arc::clone(&deps.registry), deps.store.clone());
    let hosting = Hosting {
        env: deps.env.clone(),
        metrics: Arc::clone(&deps.metrics),
        cluster: Snapshot::of(
            store.snapshots(),
            Arc::clone(&deps.registry),
            BrokerConfig::default(),
        ),
        codec: Codec::None,
        make: Box::new(move |tp| Coordinator::listed(Arc::default(), roster.pen(tp.partition))),
    };
    let mut shard = Shard::new(0, deps);
    shard.coordinate_groups(hosting);
    (Shards::start(vec![shard], registry).0, files)
}

/// A broker's endpoints and one client's connection.
pub(super) struct Kit {
    pub(super) services: Arc<Services>,
    pub(super) connection: Connection,
}

impl Kit {
    pub(super) fn new() -> Self {
        Self::with(&[])
    }

    /// A broker with these static settings.
    pub(super) fn with(overrides: &[(&str, &str)]) -> Self {
        let mut config = BrokerConfig::default();
        config.statics.insert("num.partitions".into(), DEFAULT_PARTITIONS.to_string());
        config.statics.extend(overrides.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        let settings = Settings::resolve(&config).expect("sound settings");
        let store = Store::open(Arc::new(MemoryMeta::new()), NODE.0).expect("an empty store");
        let policy = Policy {
            default_partitions: settings.num_partitions,
            default_replication_factor: 1,
            max_topic_partitions: 1000,
            max_partitions: 10_000,
            check_topic_configs: Arc::new({
                let config = config.clone();
                move |configs| validate_topic_configs(configs, &config).map_err(|e| e.to_string())
            }),
            check_group_configs: Arc::new({
                let config = config.clone();
                move |configs| validate_group_configs(configs, &config).map_err(|e| e.to_string())
            }),
        };
        let roster = Arc::<Roster>::default();
        let (shards, files) = one_shard(&store, Arc::clone(&roster));
        let host = InternalOnly(Host {
            shards: Arc::clone(&shards),
            store: files,
            data_dir: "data".into(),
            defaults: defaults(config.clone()),
        });
        let (metadata, _) = Metadata::start(store, policy, host, |_| {}).expect("a thread");
        let services = Services {
            env: env(ScriptedClock::at(0), 7),
            metrics: Arc::default(),
            node: Node { node_id: NODE.0, cluster_id: "MkU3OEVBNTcwNTJENDM2Qg".to_owned() },
            groups: Groups::new(Arc::clone(&shards), Arc::clone(&metadata)),
            steward: Arc::new(Steward::new(
                env(ScriptedClock::at(0), 8),
                Arc::clone(&metadata),
                roster,
            )),
            shards,
            all_topics: Default::default(),
            producer_ids: ProducerIds::new(Arc::new(MemoryMeta::new())),
            sessions: Sessions::new(10),
            limits: Limits { fetch_max_bytes: u64::from(settings.fetch_max_bytes) },
            defaults: defaults(config),
            settings: Arc::new(settings),
            metadata,
        };
        let listener = ListenerInfo {
            name: "PLAINTEXT".to_owned(),
            advertised_host: "broker.example".to_owned(),
            advertised_port: 9092,
        };
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000));
        let connection = Connection::new(Arc::new(listener), peer);
        Self { services: Arc::new(services), connection }
    }

    /// A broker with these topics.
    pub(super) fn with_topics(topics: &[(&str, i32)]) -> Self {
        let kit = Self::new();
        for (name, partitions) in topics {
            let new = NewTopic::with_defaults(name, kit.services.env.random_uuid());
            let new = NewTopic { partitions: *partitions, ..new };
            kit.run(Command::CreateTopic(new)).expect("a fresh topic");
        }
        kit
    }

    pub(super) fn run(&self, command: Command) -> Result<Change, Fault> {
        let pending = self.services.metadata.submit(vec![command]);
        wait(pending.wait()).expect("the worker runs").pop().expect("one outcome")
    }

    pub(super) fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.services.metadata.catalog().topic(name).cloned()
    }

    pub(super) fn topic_id(&self, name: &str) -> Uuid {
        self.topic(name).expect("an existing topic").id
    }

    /// Asks an endpoint at one version.
    pub(super) fn ask<E: Endpoint>(&mut self, version: i16, request: &E::Request) -> E::Response
    where
        E::Request: Encodable,
        E::Response: Decodable,
    {
        assert!(E::VERSIONS.contains(&version), "served");
        let mut body = BytesMut::new();
        request.encode(&mut body, version).expect("the request fits its version");
        let request = E::Request::decode(&mut body.freeze(), version).expect("just encoded");
        let connection = &mut self.connection;
        let mut cx = Cx { services: &self.services, connection, version, client_id: &text("kit") };
        let response = match E::begin(&mut cx, request) {
            Begun::Done(response) => response,
            Begun::Later(later) => wait(later),
        };
        decode(
            encode::response(7, version, &response).expect("the response fits its version"),
            version,
        )
    }
}

/// The response in a frame, which holds nothing else.
fn decode<R: Decodable + HeaderVersion>(mut frame: Bytes, version: i16) -> R {
    assert_eq!(frame.get_u32() as usize, frame.len(), "the size is that of the rest");
    let header = ResponseHeader::decode(&mut frame, R::header_version(version)).expect("a header");
    assert_eq!(header.correlation_id, 7);
    let response = R::decode(&mut frame, version).expect("a body");
    assert!(frame.is_empty(), "nothing is left over");
    response
}

pub(super) fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(future)
}

pub(super) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}
