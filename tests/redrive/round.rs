//! The whole way: a group fails, its dead letter is put back, and it fails again.

use crate::kit::{GROUP, commit, count, json, of_role};
use crate::records::{Given, Reader, Seen, produce};
use crate::start;
use crate::support::topics::{create, name};

/// The group gives a record up.
fn give_up(offset: i64) -> Given {
    Given::live("")
        .with("klamm.nack.group", GROUP)
        .with("klamm.nack.offset", offset)
        .with("klamm.nack.dead", "true")
}

fn redrives(seen: &Seen) -> Option<&str> {
    seen.header("__dlq.errors.redrive.count")
}

#[test]
fn what_fails_after_every_redrive_keeps_its_story_and_is_parked_in_the_end() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let broker = start(scratch.path());
    let client = &mut broker.connect();
    let source = name("round");
    create(client, &source, 1);
    let (dead, retry) = (of_role("dlq", &source), of_role("retry", &source));
    commit(client, &source, 0, 0);
    let origin = produce(client, &source, 0, &[Given::live("order-7").with("trace", "t")]);
    produce(client, &source, 0, &[give_up(origin)]);
    let (mut letters, mut retries) = (Reader::new(&dead, 0), Reader::new(&retry, 0));
    for round in 0..3 {
        let letter = letters.until(client, round + 1).last().expect("one more");
        assert_eq!(letter.header("__dlq.errors.topic"), Some(source.as_str()), "{letter:?}");
        assert_eq!(letter.header("__dlq.errors.offset"), Some(&*origin.to_string()));
        assert_eq!(redrives(letter), Some(&*round.to_string()));
        let job = json(&broker, &["redrive", dead.as_str(), "--wait"]);
        assert_eq!((count(&job, "copied"), count(&job, "redriven")), (1, round as u64), "{job}");
        let back = retries.until(client, round + 1).last().expect("one more");
        assert_eq!((&*back.value, back.header("trace")), ("order-7", Some("t")));
        assert_eq!(redrives(back), Some(&*(round + 1).to_string()));
        let again = back.offset;
        produce(client, &retry, 0, &[give_up(again)]);
    }
    letters.until(client, 4);
    let job = json(&broker, &["redrive", dead.as_str(), "--wait"]);
    assert_eq!(["copied", "redriven", "parked"].map(|what| count(&job, what)), [0, 3, 1], "{job}");
    assert_eq!(json(&broker, &["list"])[0]["waiting"], 1);
}
