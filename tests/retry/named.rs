//! Topics that configs name for dead letters, also where they must not be.

use crate::kit::{Given, Reader, batch, produce, produce_raw};
use crate::nacks::{commit, dead, group, nack, retries};
use crate::support::broker::Broker;
use crate::support::topics::{alter_broker, create, name};
use klamm::wire::compression::Codec;

const NAMED: &str = "errors.deadletterqueue.topic.name";
/// Kafka's INVALID_RECORD.
const INVALID_RECORD: i16 = 87;

#[test]
fn dead_letters_go_where_configs_say_but_never_back_to_where_they_failed() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let broker = Broker::start(scratch.path());
    let client = &mut broker.connect();
    let (topic, group) = (name("named"), group("g"));
    create(client, &topic, 1);
    produce(client, &topic, 0, &["a", "b", "c", "d"].map(Given::live));
    commit(client, &group, &topic, 0, 0);
    let die = |offset| nack(&group, offset).with("klamm.nack.dead", "true");
    let own = dead(&group, &topic);

    let (source, retry) = (topic.to_string(), retries(&group, &topic).to_string());
    alter_broker(client, NAMED, source.leak());
    let refused = produce_raw(client, &topic, 0, -1, batch(Codec::None, None, &[die(0)]));
    assert_eq!(refused.error_code, INVALID_RECORD, "it is a topic for dead letters now");
    alter_broker(client, NAMED, "");
    produce(client, &topic, 0, &[nack(&group, 3).with("klamm.nack.delay", 1)]);
    alter_broker(client, NAMED, retry.leak());
    produce(client, &topic, 0, &[die(1)]);
    let mut letters = Reader::new(&own, 0);
    letters.until(client, 1);
    assert_eq!(letters.values(), ["b"], "in the group's own topic instead");

    let morgue = name("morgue");
    alter_broker(client, NAMED, morgue.to_string().leak());
    produce(client, &topic, 0, &[die(2)]);
    let mut letters = Reader::new(&morgue, 0);
    letters.until(client, 1);
    assert_eq!(letters.values(), ["c"]);
    let again = batch(Codec::None, None, &[die(letters.seen[0].offset)]);
    let refused = produce_raw(client, &morgue, 0, -1, again);
    assert_eq!(refused.error_code, INVALID_RECORD, "no dead letter of a dead letter");
}
