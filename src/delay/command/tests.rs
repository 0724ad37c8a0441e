use super::*;
use crate::wire::batch::HEADER_BYTES;
use crate::wire::builder::BatchBuilder;
use crate::wire::compression::Codec;
use crate::wire::records::Records;
use proptest::prelude::*;

const NOW_MS: i64 = 1_800_000_000_000;
const DAY_MS: i64 = 86_400_000;

fn rules() -> DelayRules {
    DelayRules { enabled: true, max_ms: 366 * DAY_MS, refuse_unknown: true, aliases: vec![] }
}

/// What a record with these headers commands, as text; `live` for nothing.
fn ask_with(rules: &DelayRules, value: Option<&[u8]>, headers: &[(&str, &str)]) -> String {
    let headers: Vec<_> = headers
        .iter()
        .map(|(key, value)| Header { key: key.as_bytes(), value: Some(value.as_bytes()) })
        .collect();
    raw(rules, value, &headers)
}

fn raw(rules: &DelayRules, value: Option<&[u8]>, headers: &[Header<'_>]) -> String {
    let mut builder = BatchBuilder::new(Codec::None, None);
    builder.push(NOW_MS, Some(b"key"), value, headers.iter().copied());
    let batch = builder.build().unwrap();
    let record = Records::new(&batch[HEADER_BYTES..], 1).next().unwrap().unwrap();
    match read(&record, rules, NOW_MS) {
        Ok(None) => "live".into(),
        Ok(Some(Command::Put { due, id, replace, expires_at_ms })) => {
            let id = id.map_or(String::new(), |id| format!(" {}", String::from_utf8_lossy(id)));
            let replace = if replace { " replace" } else { "" };
            let expires = expires_at_ms.map_or(String::new(), |ms| format!(" until {ms}"));
            format!("{due:?}{id}{replace}{expires}")
        }
        Ok(Some(Command::Cancel { target: Target::Id(id), strict })) => {
            format!("cancel {}{}", String::from_utf8_lossy(id), if strict { " strict" } else { "" })
        }
        Ok(Some(Command::Cancel { target, strict })) => format!("cancel {target:?} {strict}"),
        Ok(Some(Command::Nack(nack))) => {
            let Nack { group, offset, reason, error, delay_ms, dead, rules } = nack;
            let rules: Vec<_> = rules.iter().map(|header| header.value.unwrap()).collect();
            let rules: Vec<_> = rules.into_iter().map(String::from_utf8_lossy).collect();
            format!("nack {group} {offset} {reason:?} {error:?} {delay_ms:?} {dead} {rules:?}")
        }
        Err(message) => message,
    }
}

fn ask(headers: &[(&str, &str)]) -> String {
    ask_with(&rules(), Some(b"value"), headers)
}

/// The same on a record without value.
fn order(headers: &[(&str, &str)]) -> String {
    ask_with(&rules(), None, headers)
}

#[test]
fn a_record_waits_for_a_time_or_until_one() {
    assert_eq!(ask(&[]), "live");
    assert_eq!(ask(&[("klamm.delay", "250")]), "After(250)");
    assert_eq!(ask(&[("klamm.delay", "30m")]), "After(1800000)");
    assert_eq!(ask(&[("a", "1"), ("klamm.delay", "1"), ("b", "2")]), "After(1)");
    assert_eq!(ask(&[("klamm.deliver.at", "1800000000001")]), "At(1800000000001)");
    assert_eq!(ask(&[("klamm.deliver.at", "2027-01-15T08:00:01Z")]), "At(1800000001000)");
    assert_eq!(ask(&[("klamm.delay", "1s"), ("klamm.delay.id", "o-7")]), "After(1000) o-7");
    assert_eq!(order(&[("klamm.delay", "1s")]), "After(1000)", "a tombstone may wait");
}

#[test]
fn due_now_or_past_is_live() {
    for at in ["0", "-1", "-5m"] {
        assert_eq!(ask(&[("klamm.delay", at)]), "live", "{at}");
    }
    for at in ["1800000000000", "1799999999999", "2001-01-01T00:00:00Z"] {
        assert_eq!(ask(&[("klamm.deliver.at", at)]), "live", "{at}");
    }
    assert_eq!(ask(&[("klamm.delay", "0"), ("klamm.delay.id", "a")]), "live");
}

#[test]
fn what_replaces_is_never_live_or_the_other_would_be_delivered_too() {
    let replacing = [("klamm.delay.id", "a"), ("klamm.delay.replace", "true")];
    assert_eq!(ask(&[&replacing[..], &[("klamm.delay", "0")]].concat()), "After(0) a replace");
    assert_eq!(
        ask(&[&replacing[..], &[("klamm.delay", "1h")]].concat()),
        "After(3600000) a replace"
    );
    let not = [("klamm.delay.id", "a"), ("klamm.delay.replace", "false"), ("klamm.delay", "0")];
    assert_eq!(ask(&not), "live");
}

#[test]
fn the_last_of_duplicates_counts_and_no_other_is_looked_at() {
    assert_eq!(ask(&[("klamm.delay", "no"), ("klamm.delay", "7")]), "After(7)");
    let refusal = ask(&[("klamm.delay", "7"), ("klamm.delay", "no")]);
    assert!(refusal.starts_with("header klamm.delay='no': "), "{refusal}");
    assert_eq!(order(&[("klamm.delay.cancel", ""), ("klamm.delay.cancel", "a")]), "cancel a");
}

#[test]
fn a_cancel_names_an_id_or_a_ticket() {
    assert_eq!(order(&[("klamm.delay.cancel", "order-7")]), "cancel order-7");
    let strict = ("klamm.delay.cancel.strict", "true");
    assert_eq!(order(&[("klamm.delay.cancel", "a"), strict]), "cancel a strict");
    assert_eq!(
        order(&[("klamm.delay.cancel", "@12")]),
        "cancel Ticket { partition: None, offset: 12 } false"
    );
    assert_eq!(
        order(&[("klamm.delay.cancel", "@3:9223372036854775807"), strict]),
        "cancel Ticket { partition: Some(3), offset: 9223372036854775807 } true"
    );
    for ticket in ["@", "@:", "@1:", "@:1", "@-1", "@+1", "@1:2:3", "@x", "@9223372036854775808"] {
        let refusal = order(&[("klamm.delay.cancel", ticket)]);
        assert!(refusal.contains("a ticket is @<offset> or @<partition>:<offset>"), "{refusal}");
    }
}

#[test]
fn a_nack_names_a_group_and_an_offset_and_may_say_more() {
    let nack = [("klamm.nack.group", "billing"), ("klamm.nack.offset", "42")];
    assert_eq!(order(&nack), "nack billing 42 None None None false []");
    let more = [
        ("klamm.nack.reason", "declined"),
        ("klamm.nack.error", "IOException"),
        ("klamm.nack.delay", "5m"),
        ("klamm.retry.schedule", "1s,2s"),
        ("klamm.retry.max", "3"),
        ("klamm.expires.at", "1900000000000"),
        ("trace", "t-1"),
    ];
    assert_eq!(
        order(&[&nack[..], &more].concat()),
        r#"nack billing 42 Some("declined") Some("IOException") Some(300000) false ["1s,2s", "3", "1900000000000"]"#
    );
    let dead = [&nack[..], &[("klamm.nack.dead", "true")]].concat();
    assert_eq!(order(&dead), "nack billing 42 None None None true []");
    let last = [&nack[..], &[("klamm.nack.offset", "7")]].concat();
    assert_eq!(order(&last), "nack billing 7 None None None false []");
}

#[test]
fn wrong_nacks_are_refused_by_header_value_and_limit() {
    let nack = [("klamm.nack.group", "g"), ("klamm.nack.offset", "0")];
    for (headers, told) in [
        (&[("klamm.nack.offset", "")][..], "header klamm.nack.offset='': an offset is a number"),
        (&[("klamm.nack.offset", "-1")], "klamm.nack.offset='-1': an offset is a number"),
        (&[("klamm.nack.offset", "9223372036854775808")], "an offset is a number from 0 on"),
        (&[("klamm.nack.group", "")], "header klamm.nack.group='': no group is called nothing"),
        (&[("klamm.nack.delay", "soon")], "header klamm.nack.delay='soon': a delay is"),
        (&[("klamm.nack.delay", "-1s")], "the next attempt is not before now"),
        (&[("klamm.nack.delay", "367d")], "delay.max.ms=31622400000 is the longest delay"),
        (&[("klamm.nack.dead", "yes")], "header klamm.nack.dead='yes': it is true or false"),
        (&[("klamm.nack.dead", "true"), ("klamm.nack.delay", "1s")], "no place beside"),
        (&[("klamm.retry.schedule", "1s,,2s")], "a schedule is"),
        (&[("klamm.retry.max", "-1")], "a number of attempts"),
        (&[("klamm.expires.at", "1h")], "an instant is"),
        (&[("klamm.delay", "1s")], "header klamm.delay='1s': it has no place beside"),
        (&[("klamm.delay.id", "a")], "header klamm.delay.id='a': it has no place beside"),
        (&[("klamm.delay.cancel", "a")], "it has no place beside klamm.nack.group"),
        (&[("klamm.nack.what", "a")], "no such header is known, the closest one is klamm.nack."),
    ] {
        let refusal = order(&[&nack[..], headers].concat());
        assert!(refusal.contains(told), "{headers:?}: {refusal}");
    }
    assert!(ask(&nack).contains("klamm.nack.group='g': a nack must have a null value"));
    for (name, told) in [
        ("klamm.nack.group", "it needs klamm.nack.offset"),
        ("klamm.nack.offset", "it needs klamm.nack.group"),
        ("klamm.nack.reason", "it needs klamm.nack.group"),
        ("klamm.nack.dead", "it needs klamm.nack.group"),
    ] {
        let refusal = order(&[(name, "0")]);
        assert_eq!(refusal, format!("header {name}='0': {told}"));
    }
}

/// Headers of a wrong command, and what the producer is told of it.
#[test]
fn wrong_commands_are_refused_by_header_value_and_limit() {
    for (headers, told) in [
        (&[("klamm.delay", "1 h")][..], "header klamm.delay='1 h': a delay is milliseconds (250)"),
        (&[("klamm.delay", "")], "header klamm.delay='': a delay is"),
        (&[("klamm.delay", "PT5M")], "header klamm.delay='PT5M': a delay is"),
        (&[("klamm.delay", "367d")], "'367d': delay.max.ms=31622400000 is the longest delay"),
        (&[("klamm.delay", "1800000000000")], "delay.max.ms=31622400000"),
        (&[("klamm.deliver.at", "1831622400001")], "delay.max.ms=31622400000"),
        (&[("klamm.deliver.at", "9223372036854775807")], "delay.max.ms=31622400000"),
        (&[("klamm.deliver.at", "soon")], "header klamm.deliver.at='soon': an instant is"),
        (&[("klamm.deliver.at", "1800000060")], "are these seconds, not milliseconds?"),
        (&[("klamm.deliver.at", "0")], "it lies before 1973-03-03"),
        (&[("klamm.delay", "1"), ("klamm.deliver.at", "1900000000000")], "give one of the two"),
        (&[("klamm.delay", "1"), ("klamm.delay.id", "")], "klamm.delay.id='': an id is not empty"),
        (&[("klamm.delay", "1"), ("klamm.delay.id", "@7")], "does not begin with '@'"),
        (&[("klamm.delay", "1"), ("klamm.delay.replace", "true")], "it needs klamm.delay.id"),
        (&[("klamm.delay", "1"), ("klamm.delay.replace", "yes")], "'yes': it is true or false"),
        (&[("klamm.delay.replace", "true")], "it needs klamm.delay or klamm.deliver.at"),
        (&[("klamm.delay.cancel.strict", "true")], "it needs klamm.delay.cancel"),
        (
            &[("klamm.delay", "1"), ("klamm.delay.cancel.strict", "true")],
            "needs klamm.delay.cancel",
        ),
        (&[("klamm.delay", "1s"), ("klamm.expires.at", "1800000000999")], "is not due before"),
        (&[("klamm.delay", "0"), ("klamm.expires.at", "1799999999999")], "is not due before"),
        (&[("klamm.delay", "1s"), ("klamm.expires.at", "1h")], "an instant is"),
        (&[("klamm.delay", "1s"), ("klamm.retry.schedule", "1s,,2s")], "a schedule is"),
        (&[("klamm.delay", "1s"), ("klamm.retry.max", "-1")], "a number of attempts"),
        (&[("klamm.dely", "1s")], "no such header is known, the closest one is klamm.delay"),
        (&[("Klamm.Delay", "1s")], "header Klamm.Delay='1s': no such header is known"),
        (&[("KLAMM.", "")], "no such header is known"),
        (&[("klamm.nack.group", "g")], "it needs klamm.nack.offset"),
        (&[("klamm.internal.victim", "none")], "the name is the broker's own"),
        (&[("klamm.delay.cancel", "a")], "must have a null value"),
    ] {
        let refusal = ask(headers);
        assert!(refusal.contains(told), "{headers:?}: {refusal}");
    }
    for other in ["klamm.delay", "klamm.deliver.at", "klamm.delay.id", "klamm.delay.replace"] {
        let refusal = order(&[("klamm.delay.cancel", "a"), (other, "1900000000000")]);
        assert!(refusal.contains("no place beside klamm.delay.cancel"), "{refusal}");
    }
    let long = "x".repeat(256);
    let refusal = ask(&[("klamm.delay", "1"), ("klamm.delay.id", &long)]);
    assert!(refusal.ends_with("256 bytes are above the limit of 255"), "{refusal}");
    let longest = &long[1..];
    let put = ask(&[("klamm.delay", "1"), ("klamm.delay.id", longest)]);
    assert_eq!(put, format!("After(1) {longest}"));
}

#[test]
fn values_are_text_and_are_there() {
    let bytes = 5_000_i64.to_be_bytes();
    for (value, told) in [
        (None, "header klamm.delay without a value: it needs a value"),
        (Some(&[0xff, 0xfe][..]), "the value's 2 bytes are no UTF-8; values are text"),
        (Some(&bytes), r"header klamm.delay='\u{0}\u{0}"),
        (Some(b"\"5s\""), r#"header klamm.delay='"5s"': a delay is"#),
    ] {
        let header = Header { key: b"klamm.delay", value };
        let refusal = raw(&rules(), Some(b"v"), &[header]);
        assert!(refusal.starts_with(told) || refusal.ends_with(told), "{refusal}");
    }
    let named = Header { key: b"klamm.\xff", value: Some(b"x") };
    assert!(raw(&rules(), None, &[named]).contains("no such header is known"));
}

#[test]
fn expiry_lies_at_or_behind_the_due_time() {
    let expires = ("klamm.expires.at", "1800000001000");
    assert_eq!(ask(&[("klamm.delay", "1s"), expires]), "After(1000) until 1800000001000");
    assert_eq!(ask(&[("klamm.delay", "0"), expires]), "live");
}

#[test]
fn without_a_command_headers_are_the_applications_own() {
    for (name, value) in [
        ("klamm.delay.id", ""),
        ("klamm.expires.at", "never"),
        ("klamm.retry.schedule", "?"),
        ("klamm.retry.max", "many"),
        ("klamm.due", "x"),
        ("klamm.accepted", "x"),
        ("klamm.ticket", "0:7"),
        ("klamm.retry.attempt", "1"),
        ("klamm.retry.origin", "t:0:1"),
        ("__dlq.errors.topic", "t"),
        ("x-delay", "5000"),
    ] {
        assert_eq!(ask(&[(name, value)]), "live", "{name}");
    }
    let forwarded = [("klamm.ticket", "0:7"), ("klamm.due", "1"), ("klamm.delay", "9")];
    assert_eq!(ask(&forwarded), "After(9)", "what was delivered may be delayed again");
    let retried =
        [("klamm.delay", "9"), ("klamm.retry.schedule", "10s,5m"), ("klamm.retry.max", "3")];
    assert_eq!(ask(&retried), "After(9)");
}

#[test]
fn a_topic_may_ignore_unknown_names_but_never_the_brokers_own() {
    let ignoring = DelayRules { refuse_unknown: false, ..rules() };
    let ask = |headers: &[(&str, &str)]| ask_with(&ignoring, Some(b"v"), headers);
    assert_eq!(ask(&[("klamm.dely", "1s"), ("Klamm.delay", "1s")]), "live");
    assert_eq!(ask(&[("klamm.dely", "1s"), ("klamm.delay", "2")]), "After(2)");
    assert!(ask(&[("Klamm.Internal.x", "")]).contains("the broker's own"));
}

#[test]
fn without_delays_commands_are_refused_and_all_else_is_as_ever() {
    let off = DelayRules { enabled: false, ..rules() };
    for name in [
        "klamm.delay",
        "klamm.deliver.at",
        "klamm.delay.cancel",
        "klamm.delay.replace",
        "klamm.nack.group",
    ] {
        let refusal = ask_with(&off, None, &[("klamm.delay.id", "a"), (name, "0")]);
        assert_eq!(refusal, format!("header {name}='0': the topic has delay.enable=false"));
    }
    assert_eq!(ask_with(&off, None, &[("klamm.delay.id", "a"), ("klamm.due", "1")]), "live");
    assert!(ask_with(&off, None, &[("klamm.x", "a")]).contains("no such header is known"));
}

#[test]
fn aliases_are_read_as_what_they_stand_for() {
    let alias = |foreign: &str, name| (foreign.as_bytes().into(), name);
    let aliases = vec![alias("x-delay", Name::Delay), alias("TIMER_DELIVER_MS", Name::DeliverAt)];
    let rules = DelayRules { aliases, ..rules() };
    let ask = |headers: &[(&str, &str)]| ask_with(&rules, Some(b"v"), headers);
    assert_eq!(ask(&[("x-delay", "5000")]), "After(5000)");
    assert_eq!(ask(&[("TIMER_DELIVER_MS", "1800000000500")]), "At(1800000000500)");
    assert_eq!(ask(&[("klamm.delay", "1"), ("x-delay", "2")]), "After(2)", "one name, the last");
    assert_eq!(ask(&[("X-Delay", "5000")]), "live", "names are exact");
    assert!(ask(&[("x-delay", "no")]).starts_with("header x-delay='no': "));
}

proptest! {
    #[test]
    fn any_headers_are_read_or_refused(
        headers in prop::collection::vec(
            (
                prop::sample::select(&headers::KNOWN[..]),
                prop::option::of("[0-9@:tTrueZz-]{0,12}|\\PC{0,8}"),
            ),
            0..6,
        ),
        now_ms: i64,
        null: bool,
    ) {
        let mut builder = BatchBuilder::new(Codec::None, None);
        let headers = headers.iter().map(|((key, _), value)| Header {
            key: key.as_bytes(),
            value: value.as_deref().map(str::as_bytes),
        });
        builder.push(NOW_MS, None, (!null).then_some(b"v"), headers);
        let batch = builder.build().unwrap();
        let record = Records::new(&batch[HEADER_BYTES..], 1).next().unwrap().unwrap();
        match read(&record, &rules(), now_ms) {
            Ok(Some(Command::Put { due, replace, expires_at_ms, .. })) => {
                let due_ms = due.at_ms(now_ms);
                prop_assert!(due_ms > now_ms || replace);
                prop_assert!(due_ms.saturating_sub(now_ms) <= rules().max_ms);
                prop_assert!(expires_at_ms.is_none_or(|expires_at_ms| expires_at_ms >= due_ms));
            }
            Ok(Some(Command::Cancel { .. } | Command::Nack(_))) => prop_assert!(null),
            Ok(None) => {}
            Err(message) => prop_assert!(message.starts_with("header klamm."), "{}", message),
        }
    }
}
