use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn overrides(pairs: &[(&str, &str)]) -> Overrides {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn broker(statics: &[(&str, &str)]) -> BrokerConfig {
    BrokerConfig { statics: overrides(statics), ..BrokerConfig::default() }
}

fn file(text: &str) -> Given {
    Given { file: Some(("server.properties".into(), text.into())), ..Given::default() }
}

fn refusal(given: &Given) -> String {
    let line = load(given).expect_err("is refused").to_string();
    assert!(!line.contains('\n'), "one line: {line}");
    line
}

fn resolve(statics: &[(&str, &str)]) -> Result<Settings, String> {
    Settings::resolve(&broker(statics)).map_err(|e| e.to_string())
}

mod table {
    use super::*;

    fn all() -> impl Iterator<Item = &'static Spec> {
        broker_keys().into_iter().chain(topic_keys()).chain(group_keys())
    }

    #[test]
    fn every_default_passes_its_own_check() {
        for spec in all() {
            if let Some(default) = spec.default {
                assert_eq!(spec.check(default).err(), None, "{}", spec.name);
            }
        }
    }

    #[test]
    fn names_are_unique_and_documented() {
        for keys in
            [broker_keys(), topic_keys().iter().collect(), group_keys().iter().collect::<Vec<_>>()]
        {
            let names: Vec<_> = keys.iter().map(|spec| spec.name).collect();
            assert!(names.is_sorted(), "alphabetical, as tools print them: {names:?}");
            assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
            assert!(keys.iter().all(|spec| spec.doc.ends_with('.') && spec.doc.len() > 15));
        }
    }

    #[test]
    fn synonyms_are_broker_keys_with_the_same_default_and_type() {
        for spec in topic_keys().iter().chain(group_keys()) {
            for synonym in spec.synonyms {
                let of = broker_key(synonym.key).unwrap_or_else(|| panic!("{}", synonym.key));
                if synonym.factor == 1 {
                    assert_eq!(of.kind, spec.kind, "{}", spec.name);
                    assert!(of.default.is_none() || of.default == spec.default, "{}", spec.name);
                    let at_once = of.update == Update::ClusterWide;
                    assert!(at_once || group_key(spec.name).is_some(), "{}", of.name);
                }
            }
        }
    }

    #[test]
    fn topic_defaults_equal_those_of_their_synonyms() {
        for described in describe_topic_defaults(&BrokerConfig::default()) {
            assert_eq!(
                described.value.as_deref(),
                described.spec.default,
                "{}",
                described.spec.name
            );
            assert_eq!(described.source, Source::Default);
        }
    }

    #[test]
    fn no_key_of_ours_counts_as_foreign() {
        for spec in broker_keys() {
            let own = spec.name == "controller.listener.names"
                || spec.name == "inter.broker.listener.name";
            assert!(own || !foreign::is_foreign(spec.name), "{}", spec.name);
        }
    }

    #[test]
    fn typed_settings_read_only_keys_of_the_table() {
        Settings::resolve(&BrokerConfig::default()).unwrap();
        for (word, codec, level) in [
            ("producer", CompressionType::Producer, None),
            ("uncompressed", CompressionType::Uncompressed, None),
            ("gzip", CompressionType::Gzip, None),
            ("snappy", CompressionType::Snappy, None),
            ("lz4", CompressionType::Lz4, Some(9)),
            ("zstd", CompressionType::Zstd, Some(3)),
        ] {
            let own = overrides(&[("compression.type", word)]);
            let settings = TopicSettings::resolve(&own, &BrokerConfig::default());
            assert_eq!((settings.compression_type, settings.compression_level), (codec, level));
        }
    }
}

mod values {
    use super::*;

    fn check(key: &str, value: &str) -> Result<Value, String> {
        let spec = topic_key(key).or(broker_key(key)).unwrap();
        spec.check(value).map_err(|e| e.to_string())
    }

    #[test]
    fn limits_are_kept_and_named() {
        assert_eq!(check("segment.bytes", " 1048576 "), Ok(Value::Integer(1_048_576)));
        assert_eq!(
            check("segment.bytes", "1048575").unwrap_err(),
            "invalid value '1048575' for segment.bytes: must be an int of at least 1048576"
        );
        assert_eq!(
            check("compression.gzip.level", "10").unwrap_err(),
            "invalid value '10' for compression.gzip.level: must be an int from 1 to 9, or -1"
        );
        assert_eq!(check("compression.gzip.level", "-1"), Ok(Value::Integer(-1)));
        assert!(check("compression.gzip.level", "0").is_err());
        assert!(check("segment.bytes", "2147483648").is_err());
        assert!(check("retention.ms", "-2").is_err());
        assert!(check("retention.ms", "99999999999999999999").is_err());
        assert!(check("retention.ms", "7d").is_err());
        assert!(check("min.cleanable.dirty.ratio", "1.01").is_err());
        assert!(check("min.cleanable.dirty.ratio", "NaN").is_err());
        assert!(check("preallocate", "yes").is_err());
        assert_eq!(check("preallocate", "TRUE"), Ok(Value::Boolean(true)));
    }

    #[test]
    fn aliases_name_a_header_each_and_none_of_the_family_is_renamed() {
        let key = "delay.header.aliases";
        let entries = vec!["x-delay=klamm.delay".to_owned(), "at = klamm.deliver.at".to_owned()];
        assert_eq!(
            check(key, "x-delay=klamm.delay, at = klamm.deliver.at"),
            Ok(Value::List(entries))
        );
        assert_eq!(check(key, ""), Ok(Value::List(Vec::new())));
        for wrong in [
            "x-delay",
            "=klamm.delay",
            "x-delay=",
            "x-delay=delay",
            "x-delay=klamm.due",
            "x-delay=klamm.internal.victim",
            "Klamm.x=klamm.delay",
            "a=klamm.delay,a=klamm.delay.id",
            "a=klamm.delay,",
        ] {
            assert!(check(key, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lists_and_words() {
        let both = Value::List(vec!["compact".into(), "delete".into()]);
        assert_eq!(check("cleanup.policy", "compact, delete"), Ok(both));
        assert_eq!(check("cleanup.policy", ""), Ok(Value::List(vec![])));
        assert!(check("cleanup.policy", "compact,").is_err());
        assert!(check("cleanup.policy", "shred").is_err());
        assert!(check("message.timestamp.type", "createtime").is_err());
        for good in ["*", "", "0:1", "0:1,12:3"] {
            assert!(check("leader.replication.throttled.replicas", good).is_ok(), "{good:?}");
        }
        for bad in ["0", "a:1", "0:", "*,0:1"] {
            assert!(check("leader.replication.throttled.replicas", bad).is_err(), "{bad:?}");
        }
    }
}

mod sources {
    use super::*;

    #[test]
    fn the_stronger_source_wins() {
        let mut given =
            file("num.partitions=1\nfetch.max.bytes=2048\nmax.connections=3\nnode.id=4");
        let variable = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        given.environment =
            vec![variable("KLAMM_NUM_PARTITIONS", "11"), variable("KLAMM_NODE_ID", "44")];
        given.environment.push(variable("HOME", "3"));
        given.overrides = vec!["num.partitions=12".into(), "max.connections=33".into()];
        given.flags = vec![("--data-dir", "log.dirs", "elsewhere".into())];
        let config = load(&given).unwrap().config;
        let settings = Settings::resolve(&config).unwrap();
        assert_eq!(settings.num_partitions, 12);
        assert_eq!(settings.fetch_max_bytes, 2048);
        assert_eq!(ConnectionSettings::resolve(&config).max, 33);
        assert_eq!(settings.node_id, 44);
        assert_eq!(settings.data_dir.to_str(), Some("elsewhere"));
    }

    #[test]
    fn mistakes_are_one_line_that_says_where_and_what() {
        assert_eq!(
            refusal(&file("# ok\nnum.partitons=3")),
            "server.properties:2: unknown key 'num.partitons' (value '3'); \
             the closest known one is 'num.partitions'"
        );
        assert_eq!(
            refusal(&file("num.partitions=0")),
            "server.properties:1: invalid value '0' for num.partitions: must be an int of at least 1"
        );
        let environment = vec![("KLAMM_NUM_PARTITION".to_owned(), "3".to_owned())];
        assert_eq!(
            refusal(&Given { environment, ..Given::default() }),
            "environment: unknown variable 'KLAMM_NUM_PARTITION' (value '3'); \
             the closest known one is 'KLAMM_NUM_PARTITIONS'"
        );
        let overrides = vec!["num.partitions".to_owned()];
        assert_eq!(
            refusal(&Given { overrides, ..Given::default() }),
            "--override: 'num.partitions' is not key=value"
        );
    }

    #[test]
    fn what_breaks_a_line_is_escaped_and_what_is_long_is_cut() {
        assert!(refusal(&file("num.partitions=a\\nb\\u001b")).contains("'a\\nb\\u{1b}'"));
        let long = refusal(&file(&format!("num.partitions={}", "9".repeat(10_000))));
        assert!(long.len() < 500, "{long}");
        let environment = vec![("KLAMM_A\nB".to_owned(), "\r".to_owned())];
        refusal(&Given { environment, ..Given::default() });
    }

    proptest! {
        #[test]
        fn any_file_is_settings_or_one_line(
            lines in prop::collection::vec((0..80_usize, "[ -~\\\\n]{0,30}"), 0..5)
        ) {
            let keys = broker_keys();
            let name = |at: usize| keys.get(at).map_or("no.such.key", |spec| spec.name);
            let text: String = lines.iter().map(|(at, value)| format!("{}={value}\n", name(*at))).collect();
            let settings = load(&file(&text)).and_then(|loaded| Settings::resolve(&loaded.config));
            if let Err(error) = settings {
                let line = error.to_string();
                prop_assert!(!line.contains(['\n', '\r']), "{line}");
            }
        }
    }

    #[test]
    fn a_weaker_source_is_checked_although_hidden() {
        let mut given = file("num.partitions=0");
        given.overrides = vec!["num.partitions=3".into()];
        assert!(refusal(&given).starts_with("server.properties:1:"));
    }

    #[test]
    fn a_file_written_for_kafka_starts() {
        let text = "process.roles=broker,controller\nnode.id=7\n\
            controller.quorum.bootstrap.servers=localhost:9093\n\
            listeners=PLAINTEXT://:9092,CONTROLLER://:9093\n\
            advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\n\
            controller.listener.names=CONTROLLER\ninter.broker.listener.name=PLAINTEXT\n\
            listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL\n\
            num.network.threads=3\nnum.io.threads=8\nsocket.send.buffer.bytes=102400\n\
            log.dirs=logs\nlog.retention.hours=168\nlog.segment.bytes=1073741824\n";
        let loaded = load(&file(text)).unwrap();
        let [warning] = &loaded.warnings[..] else { panic!("{:?}", loaded.warnings) };
        assert!(
            warning.contains("process.roles, controller.quorum.bootstrap.servers, num.network")
        );
        let settings = Settings::resolve(&loaded.config).unwrap();
        let [listener] = &settings.listeners[..] else { panic!("{:?}", settings.listeners) };
        assert_eq!(listener.bind, Address { host: String::new(), port: 9092 });
        assert_eq!(listener.advertised.as_ref().unwrap().to_string(), "localhost:9092");
        assert_eq!(settings.node_id, 7);
    }

    #[test]
    fn what_protects_is_never_dropped_silently() {
        assert!(refusal(&file("authorizer.class.name=x")).contains("is not served"));
    }

    #[test]
    fn variables_of_container_platforms_are_not_settings() {
        let names = ["KLAMM_SERVICE_HOST", "KLAMM_PORT", "KLAMM_PORT_9092_TCP_ADDR"];
        let environment = names.map(|name| (name.to_owned(), "tcp://10.0.0.1:9092".to_owned()));
        let given = Given { environment: environment.to_vec(), ..Given::default() };
        assert_eq!(load(&given).unwrap().config, BrokerConfig::default());
    }
}

mod typed {
    use super::*;

    #[test]
    fn defaults_are_safe() {
        let settings = resolve(&[]).unwrap();
        assert_eq!(settings.listeners[0].bind.to_string(), "127.0.0.1:9092");
        assert_eq!(settings.http_listeners[0].to_string(), "127.0.0.1:8092");
        assert_eq!(settings.data_dir.to_str(), Some("./klamm-data"));
        assert_eq!(settings.durability, Durability::Fsync);
        assert_eq!(settings.shards, None);
    }

    #[test]
    fn listeners() {
        let settings = resolve(&[
            ("listeners", "PLAINTEXT://[::1]:0, internal://0.0.0.0:9094"),
            ("listener.security.protocol.map", "INTERNAL:PLAINTEXT"),
            ("advertised.listeners", "INTERNAL://broker-1:9094"),
            ("http.listeners", ""),
        ])
        .unwrap();
        assert_eq!(settings.listeners[0].bind.to_string(), "[::1]:0");
        assert_eq!(settings.listeners[0].advertised, None);
        assert_eq!(settings.listeners[1].advertised.as_ref().unwrap().host, "broker-1");
        assert!(settings.http_listeners.is_empty());
        for (key, value, why) in [
            ("listeners", "SASL_SSL://:9092", "only PLAINTEXT is served"),
            ("listeners", "INTERNAL://:9092", "has no protocol"),
            ("listeners", "", "at least one"),
            ("listeners", "PLAINTEXT://:9092,plaintext://:9093", "names must differ"),
            ("listeners", "PLAINTEXT://:99999", "must be NAME://HOST:PORT"),
            ("listeners", "PLAINTEXT://a:b:1", "must be NAME://HOST:PORT"),
            ("advertised.listeners", "PLAINTEXT://0.0.0.0:1", "can connect to"),
            ("advertised.listeners", "OTHER://h:1", "no such name"),
            ("http.listeners", "localhost", "must be HOST:PORT"),
        ] {
            let line = resolve(&[(key, value)]).expect_err(value);
            assert!(line.contains(why), "{line}");
        }
    }

    #[test]
    fn values_that_do_not_fit_together_are_refused() {
        assert_eq!(
            resolve(&[("log.dirs", "a,b")]).unwrap_err(),
            "log.dirs has 2 entries ('a,b'): one data directory is served"
        );
        assert!(resolve(&[("node.id", "1"), ("broker.id", "2")]).is_err());
        assert_eq!(resolve(&[("broker.id", "2")]).unwrap().node_id, 2);
        assert!(resolve(&[("commit.log.max.bytes", "16777216")]).is_err());
    }

    #[test]
    fn a_topic_takes_the_strongest_value_in_its_own_unit() {
        let mut broker = broker(&[("log.retention.hours", "24"), ("log.roll.hours", "2")]);
        let own = Overrides::new();
        assert_eq!(TopicSettings::resolve(&own, &broker).retention_ms, 24 * 3_600_000);
        assert_eq!(TopicSettings::resolve(&own, &broker).segment_ms, 2 * 3_600_000);
        broker.statics.insert("log.retention.minutes".into(), "5".into());
        assert_eq!(TopicSettings::resolve(&own, &broker).retention_ms, 300_000);
        broker.dynamic_default.insert("log.retention.ms".into(), "1000".into());
        assert_eq!(TopicSettings::resolve(&own, &broker).retention_ms, 1000);
        let own = overrides(&[("retention.ms", "7"), ("cleanup.policy", "compact")]);
        let settings = TopicSettings::resolve(&own, &broker);
        assert_eq!(settings.retention_ms, 7);
        assert!(settings.cleanup_compact && !settings.cleanup_delete);
    }

    #[test]
    fn no_limit_stays_no_limit_in_any_unit() {
        let broker = broker(&[("log.retention.hours", "-1")]);
        assert_eq!(TopicSettings::resolve(&Overrides::new(), &broker).retention_ms, -1);
    }

    #[test]
    fn a_stored_value_that_no_longer_passes_is_passed_over() {
        let own = overrides(&[("segment.bytes", "12"), ("retention.bytes", "5")]);
        let settings = TopicSettings::resolve(&own, &broker(&[("log.segment.bytes", "2097152")]));
        assert_eq!(settings.segment_bytes, 2_097_152);
        assert_eq!(settings.retention_bytes, 5);
    }

    #[test]
    fn topic_configs_are_checked_alone_and_together() {
        let check = |pairs: &[(&str, &str)]| {
            validate_topic_configs(&overrides(pairs), &BrokerConfig::default())
                .map_err(|e| e.to_string())
        };
        assert_eq!(check(&[("retention.ms", "-1"), ("cleanup.policy", "compact,delete")]), Ok(()));
        assert!(check(&[("retenton.ms", "1")]).unwrap_err().contains("'retention.ms'"));
        assert!(check(&[("remote.storage.enable", "true")]).unwrap_err().contains("not served"));
        assert_eq!(
            check(&[("min.compaction.lag.ms", "9"), ("max.compaction.lag.ms", "8")]).unwrap_err(),
            "min.compaction.lag.ms of 9 is above max.compaction.lag.ms of 8"
        );
    }
}

mod dynamic {
    use super::*;

    #[test]
    fn only_dynamic_keys_change_at_run_time_and_only_within_their_limits() {
        let check = |key, value| validate_dynamic_config(key, value).map_err(|e| e.to_string());
        assert_eq!(check("log.retention.ms", "60000"), Ok(()));
        assert!(check("log.retention.ms", "-2").unwrap_err().contains("at least -1"));
        assert!(check("num.partitions", "3").unwrap_err().contains("only by a restart"));
        assert!(check("log.retentoin.ms", "3").unwrap_err().contains("'log.retention.ms'"));
    }

    #[test]
    fn producer_expiry_follows_what_is_set_at_run_time() {
        let mut broker = broker(&[("producer.id.expiration.ms", "5")]);
        assert_eq!(broker.producer_id_expiration_ms(), 5);
        broker.dynamic_default.insert("producer.id.expiration.ms".into(), "7".into());
        assert_eq!(broker.producer_id_expiration_ms(), 7);
    }
}

mod described {
    use super::*;

    fn find<'a>(all: &'a [Described], name: &str) -> &'a Described {
        all.iter().find(|d| d.spec.name == name).unwrap()
    }

    #[test]
    fn a_topic_shows_value_source_and_every_synonym() {
        let mut broker = broker(&[("log.retention.hours", "24")]);
        broker.dynamic_broker.insert("log.segment.bytes".into(), "2097152".into());
        let own = overrides(&[("segment.bytes", "3000000")]);
        let all: Vec<_> =
            describe_topic_defaults(&broker).iter().map(|d| d.of_topic(&own)).collect();

        let retention = find(&all, "retention.ms");
        assert_eq!(retention.value.as_deref(), Some("86400000"));
        assert_eq!(retention.source, Source::Static);
        let shown = |d: &Described| -> Vec<_> {
            d.synonyms.iter().map(|e| (e.key, e.value.clone(), e.source)).collect()
        };
        // The default in another unit is Kafka's too, and Kafka does not tell of it.
        assert_eq!(shown(retention), [("log.retention.hours", "24".to_owned(), Source::Static)]);
        let segment = find(&all, "segment.bytes");
        assert_eq!(segment.source, Source::Topic);
        assert_eq!(
            shown(segment),
            [
                ("segment.bytes", "3000000".to_owned(), Source::Topic),
                ("log.segment.bytes", "2097152".to_owned(), Source::DynamicBroker),
                ("log.segment.bytes", "1073741824".to_owned(), Source::Default),
            ]
        );
    }

    #[test]
    fn a_broker_shows_unset_and_read_only_keys() {
        let all = describe_broker(&broker(&[("num.partitions", "3")]));
        assert_eq!(all.len(), broker_keys().len());
        let retention = find(&all, "log.retention.ms");
        assert_eq!((retention.value.as_deref(), retention.read_only), (None, false));
        let partitions = find(&all, "num.partitions");
        assert_eq!(partitions.value.as_deref(), Some("3"));
        assert_eq!((partitions.source, partitions.read_only), (Source::Static, true));
    }

    #[test]
    fn the_default_broker_shows_only_what_was_set_at_run_time() {
        let mut broker = broker(&[("log.segment.bytes", "1048576")]);
        assert!(describe_dynamic_default(&broker).is_empty());
        broker.dynamic_default.insert("log.segment.bytes".into(), "2097152".into());
        let all = describe_dynamic_default(&broker);
        let [only] = &all[..] else { panic!("{all:?}") };
        assert_eq!(only.value.as_deref(), Some("2097152"));
        assert_eq!(only.synonyms.len(), 1);
    }
}
