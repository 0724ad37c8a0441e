//! `klamm config`: configs of topics, brokers and groups, over Kafka's protocol.

use clap::{Args, Subcommand, ValueEnum};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{
    DescribeConfigsRequest, IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::args::Format;
use super::client::{Client, ClientError, check, text, unknown_topic};
use super::docs;
use super::exit::Exit;
use super::output;
use super::pairs::{Pair, pair};
use super::remote::Remote;
use super::table::{Answer, Column, Row, words};
use crate::base::fault::Code;

#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// List what has configs: topics, brokers, and groups with configs of their own
    ///
    /// Example: klamm config list group
    List(Remote<List>),
    /// Show the configs that were set for a topic, broker or group
    ///
    /// Example: klamm config show topic orders --all
    Show(Remote<Show>),
    /// Set configs
    ///
    /// Example: klamm config set topic orders retention.ms=86400000 cleanup.policy=compact
    Set(Remote<Set>),
    /// Take configs back to their defaults
    ///
    /// Example: klamm config unset group payments consumer.session.timeout.ms
    Unset(Remote<Unset>),
    /// Print every broker, topic and group key of this klamm with its limits and meaning
    ///
    /// Example: klamm config docs --output markdown
    Docs {
        #[arg(long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
}

pub fn run(command: &ConfigCommand) -> Exit {
    match command {
        ConfigCommand::List(remote) => remote.run(list),
        ConfigCommand::Show(remote) => remote.run(show),
        ConfigCommand::Set(remote) => remote.run(set),
        ConfigCommand::Unset(remote) => remote.run(unset),
        ConfigCommand::Docs { output } => output::print(&docs::render(*output)),
    }
}

/// Types of what has configs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Topic,
    Broker,
    Group,
}

impl Kind {
    /// Source: `ConfigResource.Type`.
    const fn number(self) -> i8 {
        match self {
            Self::Topic => 2,
            Self::Broker => 4,
            Self::Group => 32,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Broker => "broker",
            Self::Group => "group",
        }
    }
}

/// A topic, broker or group.
#[derive(Args, Clone, Debug)]
pub struct Resource {
    kind: Kind,
    /// A topic's name, a broker's id (or `default` for all brokers), a group's id
    name: String,
}

impl Resource {
    pub fn topic(name: &str) -> Self {
        Self { kind: Kind::Topic, name: name.to_owned() }
    }

    /// As it goes on the wire: the brokers' defaults have no name.
    fn wire_name(&self) -> &str {
        match (self.kind, &*self.name) {
            (Kind::Broker, "default") => "",
            (_, name) => name,
        }
    }

    fn shown(&self) -> String {
        format!("{} '{}'", self.kind.word(), self.name)
    }

    /// Where to ask: a broker knows its own configs only.
    fn address(&self, client: &mut Client) -> Result<Option<String>, ClientError> {
        if self.kind != Kind::Broker || self.wire_name().is_empty() {
            return Ok(None);
        }
        let Ok(id) = self.name.parse::<i32>() else {
            let line = format!("'{}' is not a broker's id, nor 'default'", self.name);
            return Err(ClientError::Usage(line));
        };
        let node = client.nodes()?.into_iter().find(|node| node.id == id);
        let node = node.ok_or_else(|| ClientError::NotFound(format!("there is no broker {id}")))?;
        Ok(Some(node.address))
    }

    fn check(&self, code: i16, message: Option<&str>) -> Result<(), ClientError> {
        if self.kind == Kind::Topic && code == Code::UnknownTopicOrPartition.code() {
            return Err(unknown_topic(&self.name));
        }
        check(code, self.shown(), message)
    }
}

#[derive(Args, Debug)]
pub struct List {
    /// Only of this type
    kind: Option<Kind>,
}

#[derive(Serialize)]
struct Listed {
    #[serde(rename = "type")]
    kind: &'static str,
    name: String,
}

impl Row for Listed {
    const COLUMNS: &'static [Column] = &[words("TYPE"), words("NAME")];

    fn cells(&self) -> Vec<String> {
        vec![self.kind.to_owned(), self.name.clone()]
    }
}

fn list(client: &mut Client, asked: &List) -> Result<Answer, ClientError> {
    let kinds = asked.kind.map_or_else(|| Kind::value_variants().to_vec(), |kind| vec![kind]);
    let numbers = kinds.iter().map(|kind| kind.number()).collect();
    let request = ListConfigResourcesRequest::default().with_resource_types(numbers);
    let answer = client.ask(&request)?;
    check(answer.error_code, "list of configs", None)?;
    let mut listed = Vec::new();
    for kind in kinds {
        let of_kind = answer.config_resources.iter().filter(|r| r.resource_type == kind.number());
        let mut names: Vec<_> = of_kind.map(|r| r.resource_name.to_string()).collect();
        names.sort();
        listed.extend(names.into_iter().map(|name| Listed { kind: kind.word(), name }));
    }
    Ok(Answer::rows(&listed))
}

#[derive(Args, Debug)]
pub struct Show {
    #[command(flatten)]
    resource: Resource,
    /// Only these keys, set or not
    keys: Vec<String>,
    /// Also keys that were not set
    #[arg(long)]
    all: bool,
    /// Also what each key means
    #[arg(long)]
    docs: bool,
}

/// One key of a resource with what is in force for it.
#[derive(Serialize)]
pub struct Config {
    key: String,
    /// `None`: not set, or secret.
    value: Option<String>,
    source: &'static str,
    read_only: bool,
    sensitive: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    doc: Option<String>,
}

impl Config {
    fn of(result: DescribeConfigsResourceResult) -> Self {
        Self {
            key: result.name.to_string(),
            value: result.value.map(|value| value.to_string()),
            source: source(result.config_source),
            read_only: result.read_only,
            sensitive: result.is_sensitive,
            doc: result.documentation.map(|doc| doc.to_string()),
        }
    }

    /// Whether somebody set it for this very topic or group.
    pub fn is_own(&self) -> bool {
        ["topic", "group"].contains(&self.source)
    }
}

impl Row for Config {
    const COLUMNS: &'static [Column] = &[words("KEY"), words("VALUE"), words("SOURCE")];

    fn cells(&self) -> Vec<String> {
        let value = match &self.value {
            Some(value) => value.clone(),
            None if self.sensitive => "(hidden)".to_owned(),
            None => "(unset)".to_owned(),
        };
        vec![self.key.clone(), value, self.source.to_owned()]
    }
}

/// A config with its meaning behind it.
#[derive(Serialize)]
#[serde(transparent)]
struct Documented<'a>(&'a Config);

impl Row for Documented<'_> {
    const COLUMNS: &'static [Column] =
        &[words("KEY"), words("VALUE"), words("SOURCE"), words("MEANING")];

    fn cells(&self) -> Vec<String> {
        let mut cells = self.0.cells();
        cells.push(self.0.doc.clone().unwrap_or_default());
        cells
    }
}

/// Source: `DescribeConfigsResponse.ConfigSource`.
const fn source(number: i8) -> &'static str {
    match number {
        1 => "topic",
        2 => "dynamic broker",
        3 => "dynamic default",
        4 => "static",
        5 => "default",
        6 => "logger",
        7 => "client metrics",
        8 => "group",
        _ => "unknown",
    }
}

/// The configs of a resource, by key; no keys are all.
pub fn configs(
    client: &mut Client,
    resource: &Resource,
    keys: &[String],
) -> Result<Vec<Config>, ClientError> {
    let keys = (!keys.is_empty()).then(|| keys.iter().map(|key| text(key)).collect());
    let asked = DescribeConfigsResource::default()
        .with_resource_type(resource.kind.number())
        .with_resource_name(text(resource.wire_name()))
        .with_configuration_keys(keys);
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![asked])
        .with_include_documentation(true);
    let answer = match resource.address(client)? {
        Some(address) => client.ask_at(&address, &request)?,
        None => client.ask(&request)?,
    };
    let result = answer.results.into_iter().next().unwrap_or_default();
    resource.check(result.error_code, result.error_message.as_deref())?;
    let mut configs: Vec<Config> = result.configs.into_iter().map(Config::of).collect();
    configs.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(configs)
}

fn show(client: &mut Client, asked: &Show) -> Result<Answer, ClientError> {
    let mut shown = configs(client, &asked.resource, &asked.keys)?;
    if let Some(key) = asked.keys.iter().find(|key| shown.iter().all(|c| c.key != **key)) {
        let line = format!("{} has no config '{key}'", asked.resource.shown());
        return Err(ClientError::NotFound(line));
    }
    if !asked.all && asked.keys.is_empty() {
        shown.retain(|config| config.source != "default");
    }
    if asked.docs {
        return Ok(Answer::rows(&shown.iter().map(Documented).collect::<Vec<_>>()));
    }
    for config in &mut shown {
        config.doc = None;
    }
    Ok(Answer::rows(&shown))
}

#[derive(Args, Debug)]
pub struct Set {
    #[command(flatten)]
    resource: Resource,
    #[arg(required = true, value_name = "KEY=VALUE", value_parser = pair)]
    configs: Vec<Pair>,
    /// Let the broker judge, and change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args, Debug)]
pub struct Unset {
    #[command(flatten)]
    resource: Resource,
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
    /// Let the broker judge, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Source: `AlterConfigOp.OpType`.
const SET: i8 = 0;
const DELETE: i8 = 1;

fn set(client: &mut Client, asked: &Set) -> Result<Answer, ClientError> {
    let one = |pair: &Pair| {
        AlterableConfig::default()
            .with_name(text(&pair.key))
            .with_config_operation(SET)
            .with_value(Some(text(&pair.value)))
    };
    let changes = asked.configs.iter().map(one).collect();
    alter(client, &asked.resource, changes, asked.dry_run)?;
    let keys: Vec<&str> = asked.configs.iter().map(|pair| &*pair.key).collect();
    let values: serde_json::Map<_, _> =
        asked.configs.iter().map(|pair| (pair.key.clone(), json!(pair.value))).collect();
    Ok(done(&asked.resource, "set", &keys, json!(values), asked.dry_run))
}

fn unset(client: &mut Client, asked: &Unset) -> Result<Answer, ClientError> {
    // A broker forgets what it has never heard of without a word: a mistyped key would pass.
    configs(client, &asked.resource, &[]).and_then(|known| {
        match asked.keys.iter().find(|key| known.iter().all(|config| config.key != **key)) {
            Some(key) if !asked.resource.wire_name().is_empty() => {
                let line = format!("{} has no config '{key}'", asked.resource.shown());
                Err(ClientError::NotFound(line))
            }
            _ => Ok(()),
        }
    })?;
    let one = |key: &String| {
        AlterableConfig::default().with_name(text(key)).with_config_operation(DELETE)
    };
    let changes = asked.keys.iter().map(one).collect();
    alter(client, &asked.resource, changes, asked.dry_run)?;
    let keys: Vec<&str> = asked.keys.iter().map(String::as_str).collect();
    Ok(done(&asked.resource, "unset", &keys, json!(keys), asked.dry_run))
}

fn done(asked: &Resource, verb: &str, keys: &[&str], what: Value, dry_run: bool) -> Answer {
    let verb_shown = if dry_run { format!("would {verb}") } else { verb.to_owned() };
    let text = format!("{}: {verb_shown} {}", asked.shown(), keys.join(", "));
    let (kind, name) = (asked.kind.word(), &asked.name);
    Answer::sentence(text, json!({ "type": kind, "name": name, verb: what, "dry_run": dry_run }))
}

fn alter(
    client: &mut Client,
    resource: &Resource,
    changes: Vec<AlterableConfig>,
    dry_run: bool,
) -> Result<(), ClientError> {
    let altered = AlterConfigsResource::default()
        .with_resource_type(resource.kind.number())
        .with_resource_name(text(resource.wire_name()))
        .with_configs(changes);
    let request = IncrementalAlterConfigsRequest::default()
        .with_resources(vec![altered])
        .with_validate_only(dry_run);
    let address = resource.address(client)?;
    client.retrying(|client| {
        let answer = match &address {
            Some(address) => client.ask_at(address, &request)?,
            None => client.ask(&request)?,
        };
        let result = answer.responses.into_iter().next().unwrap_or_default();
        resource.check(result.error_code, result.error_message.as_deref())
    })
}
