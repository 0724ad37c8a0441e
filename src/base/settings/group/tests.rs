use super::super::{Described, RetrySettings, Settings, Source, describe_group};
use super::*;

fn map(pairs: &[(&str, &str)]) -> Overrides {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn broker(statics: &[(&str, &str)]) -> BrokerConfig {
    BrokerConfig { statics: map(statics), ..BrokerConfig::default() }
}

fn refusal(statics: &[(&str, &str)]) -> String {
    Settings::resolve(&broker(statics)).expect_err("is refused").to_string()
}

fn check(configs: &[(&str, &str)]) -> Result<(), String> {
    validate_group_configs(&map(configs), &BrokerConfig::default()).map_err(|e| e.to_string())
}

#[test]
fn defaults_are_kafkas() {
    let groups = GroupCoordinatorSettings::resolve(&BrokerConfig::default()).unwrap();
    assert_eq!(groups.classic.initial_rebalance_delay_ms, 3000);
    assert_eq!(groups.consumer.assignors, [Assignor::Uniform, Assignor::Range]);
    assert!(groups.consumer.enabled && groups.consumer.migration.upgrade);
    assert_eq!(groups.offsets.topic_partitions, 50);
    assert_eq!(groups.offsets.retention_ms, 7 * 24 * 3_600_000);
    assert_eq!(groups.offsets.topic_compression, CompressionType::Uncompressed);
    let group = GroupSettings::resolve(&Overrides::new(), &BrokerConfig::default());
    let expected = GroupSettings {
        session_timeout_ms: 45_000,
        heartbeat_interval_ms: 5000,
        assignment_interval_ms: 1000,
    };
    assert_eq!(group, expected);
}

#[test]
fn a_broker_whose_values_do_not_fit_together_does_not_start() {
    assert_eq!(
        refusal(&[("group.consumer.session.timeout.ms", "44999")]),
        "group.consumer.session.timeout.ms of 44999 must be at least \
         group.consumer.min.session.timeout.ms (45000)"
    );
    assert!(refusal(&[("group.consumer.max.heartbeat.interval.ms", "4999")]).contains("above"));
    assert!(refusal(&[("group.max.session.timeout.ms", "5999")]).contains("above"));
    assert!(refusal(&[("group.consumer.assignors", "range,range")]).contains("each once"));
    assert!(refusal(&[("group.coordinator.rebalance.protocols", "consumer")]).contains("classic"));
    let late = [
        ("group.consumer.max.heartbeat.interval.ms", "45000"),
        ("group.consumer.heartbeat.interval.ms", "45000"),
    ];
    assert!(refusal(&late).contains("must be below"));
}

#[test]
fn a_migration_policy_is_read_in_any_case() {
    for (word, upgrade, downgrade) in [
        ("bidirectional", true, true),
        ("UPGRADE", true, false),
        ("downgrade", false, true),
        ("DISABLED", false, false),
    ] {
        let config = broker(&[("group.consumer.migration.policy", word)]);
        let groups = GroupCoordinatorSettings::resolve(&config).unwrap();
        assert_eq!(groups.consumer.migration, MigrationPolicy { upgrade, downgrade }, "{word}");
    }
}

#[test]
fn a_groups_own_configs_keep_to_the_brokers_limits() {
    assert_eq!(check(&[("consumer.session.timeout.ms", "50000")]), Ok(()));
    assert_eq!(
        check(&[("consumer.session.timeout.ms", "60001")]).unwrap_err(),
        "consumer.session.timeout.ms of 60001 must be at most \
         group.consumer.max.session.timeout.ms (60000)"
    );
    assert!(check(&[("consumer.heartbeat.interval.ms", "4999")]).unwrap_err().contains("at least"));
    assert!(check(&[("consumer.heartbeat.interval.ms", "0")]).unwrap_err().contains("'0'"));
    assert!(check(&[("consumer.assignment.interval.ms", "15001")]).is_err());
    let unknown = check(&[("consumer.sesion.timeout.ms", "1")]).unwrap_err();
    assert!(unknown.contains("unknown group config") && unknown.contains("'consumer.session"));
}

#[test]
fn a_value_outside_limits_that_were_tightened_is_brought_back_to_them() {
    let configs = map(&[("consumer.session.timeout.ms", "60000")]);
    let tight = broker(&[("group.consumer.max.session.timeout.ms", "50000")]);
    assert_eq!(GroupSettings::resolve(&configs, &tight).session_timeout_ms, 50_000);
}

#[test]
fn what_is_set_for_all_brokers_reaches_groups_without_a_value_of_their_own() {
    let dynamic_default = map(&[("group.consumer.assignment.interval.ms", "7")]);
    let config = BrokerConfig { dynamic_default, ..BrokerConfig::default() };
    let own = map(&[("consumer.assignment.interval.ms", "9")]);
    assert_eq!(GroupSettings::resolve(&Overrides::new(), &config).assignment_interval_ms, 7);
    assert_eq!(GroupSettings::resolve(&own, &config).assignment_interval_ms, 9);
}

#[test]
fn a_group_is_described_with_its_own_value_first() {
    let own = map(&[("consumer.session.timeout.ms", "50000")]);
    let all = describe_group(&BrokerConfig::default(), &own);
    let of_members = |d: &&Described| d.spec.name.starts_with("consumer.");
    let shown: Vec<_> = all
        .iter()
        .filter(of_members)
        .map(|d| (d.spec.name, d.value.as_deref().unwrap(), d.source))
        .collect();
    assert_eq!(
        shown,
        [
            ("consumer.assignment.interval.ms", "1000", Source::Default),
            ("consumer.heartbeat.interval.ms", "5000", Source::Default),
            ("consumer.session.timeout.ms", "50000", Source::Group),
        ]
    );
    let synonyms: Vec<_> = all[2].synonyms.iter().map(|e| e.key).collect();
    assert_eq!(synonyms, ["consumer.session.timeout.ms", "group.consumer.session.timeout.ms"]);
}

#[test]
fn a_group_has_its_own_retries_over_those_of_the_broker() {
    let defaults = RetrySettings::resolve(&Overrides::new(), &BrokerConfig::default());
    let expected = RetrySettings {
        max_attempts: 16,
        backoff_initial_ms: 10_000,
        backoff_multiplier: 2.0,
        backoff_max_ms: 7_200_000,
        backoff_jitter: 0.1,
        dead_letter_topic: None,
        dead_letter_has_record: true,
    };
    assert_eq!(defaults, expected);
    let dynamic_default = map(&[("retry.max.attempts", "3"), ("retry.backoff.jitter", "0")]);
    let config = BrokerConfig { dynamic_default, ..BrokerConfig::default() };
    let own = map(&[("retry.max.attempts", "5"), ("errors.deadletterqueue.topic.name", "morgue")]);
    let settings = RetrySettings::resolve(&own, &config);
    let dead_letter_topic = Some("morgue".to_owned());
    let expected =
        RetrySettings { max_attempts: 5, backoff_jitter: 0.0, dead_letter_topic, ..expected };
    assert_eq!(settings, expected);
}

#[test]
fn retries_are_checked_when_they_are_set() {
    assert_eq!(check(&[("retry.max.attempts", "0"), ("retry.backoff.multiplier", "1")]), Ok(()));
    assert_eq!(check(&[("errors.deadletterqueue.topic.name", "")]), Ok(()));
    for (key, value) in [
        ("retry.max.attempts", "-1"),
        ("retry.backoff.multiplier", "0.9"),
        ("retry.backoff.jitter", "1.1"),
        ("retry.backoff.initial.ms", "10s"),
        ("errors.deadletterqueue.topic.name", "no such/name"),
        ("errors.deadletterqueue.topic.name", "__consumer_offsets"),
        ("errors.deadletterqueue.copy.record.enable", "maybe"),
    ] {
        assert!(check(&[(key, value)]).unwrap_err().contains(key), "{key}={value}");
    }
}
