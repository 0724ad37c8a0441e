//! The schema tables against the decoder: what the tables say a request looks like is what
//! kafka-protocol reads, and what the bounds check lets through decodes within the memory it
//! announced.

mod generate;

use bytes::{Bytes, BytesMut};
use generate::Dice;
use kafka_protocol::messages::{ApiKey, RequestKind};
use klamm::wire::bounds::{self, Malformed};
use klamm::wire::schema::{APIS, Api};

/// Requests made per API and version.
const ROUNDS: u64 = 24;
/// The first shared handle on a body, which every decode takes beside its elements.
const HANDLE_BYTES: u64 = 64;
/// The decoder's error value, which may hold a backtrace.
const ERROR_BYTES: u64 = 16 * 1_024;

/// Runs `test` on many requests of every API and version.
fn for_every_request(mut test: impl FnMut(&Api, i16, Vec<u8>, &mut Dice)) {
    for api in APIS {
        for version in api.versions.0..=api.versions.1 {
            for round in 0..ROUNDS {
                let mut dice = Dice(round << 32 | (api.key as u64) << 8 | version as u64);
                let body = generate::body(api, version, &mut dice);
                test(api, version, body, &mut dice);
            }
        }
    }
}

fn decode(api: &Api, version: i16, body: &mut Bytes) -> Option<RequestKind> {
    let key = ApiKey::try_from(api.key).expect("the decoder knows every API of the tables");
    RequestKind::decode(key, body, version).ok()
}

#[test]
fn the_decoder_reads_the_same_fields_as_the_tables() {
    for_every_request(|api, version, body, _| {
        let what = format!("{} v{version} {body:02x?}", api.name);
        let bounds = bounds::check(api.key, version, &body).expect(&what);
        assert_eq!(bounds.used_bytes, body.len(), "{what}");
        let mut rest = Bytes::from(body.clone());
        let request = decode(api, version, &mut rest).expect(&what);
        assert!(rest.is_empty(), "{what}");
        let mut again = BytesMut::new();
        request.encode(&mut again, version).expect(&what);
        assert_eq!(again, body, "{what}");
    });
}

#[test]
fn the_tables_cover_what_the_decoder_can_decode() {
    for api in APIS {
        let key = ApiKey::try_from(api.key).unwrap();
        let decodable = key.valid_versions();
        // Versions of which it knows the response alone, or that Kafka calls unstable.
        let newest = match api.name {
            "InitProducerId" => 5,
            "OffsetCommit" | "OffsetFetch" => 9,
            _ => decodable.max,
        };
        assert_eq!(api.versions, (decodable.min, newest), "{}", api.name);
        for version in decodable.min..=newest {
            let flexible = key.request_header_version(version) == 2;
            assert_eq!(api.is_flexible(version), flexible, "{} v{version}", api.name);
        }
    }
}

#[test]
fn a_request_that_ends_early_is_refused() {
    for_every_request(|api, version, body, _| {
        for end in (0..body.len()).step_by(1 + body.len() / 64) {
            let refused = bounds::check(api.key, version, &body[..end]);
            assert!(
                matches!(refused, Err(Malformed::Truncated { .. } | Malformed::TooLarge { .. })),
                "{} v{version}: {end} of {body:02x?} gave {refused:?}",
                api.name
            );
        }
    });
}

#[test]
fn what_passes_decodes_within_the_memory_announced() {
    let (mut passed, mut refused) = (0, 0);
    for_every_request(|api, version, body, dice| {
        for _ in 0..4 {
            let mut body = body.clone();
            mutate(&mut body, dice);
            let Ok(bounds) = bounds::check(api.key, version, &body) else {
                refused += 1;
                continue;
            };
            passed += 1;
            let mut bytes = Bytes::from(body);
            let mut decoded = None;
            let taken = allocation_counter::measure(|| decoded = decode(api, version, &mut bytes));
            let beside = if decoded.is_some() { HANDLE_BYTES } else { ERROR_BYTES };
            assert!(
                taken.bytes_max <= bounds.decoded_bytes + beside,
                "{} v{version}: {bounds:?}, but decoding took {taken:?}",
                api.name
            );
        }
    });
    assert!(passed > 1_000 && refused > 1_000, "{passed} passed, {refused} were refused");
}

/// Damages a body as a hostile client would: counts and lengths become huge, bytes flip.
fn mutate(body: &mut Vec<u8>, dice: &mut Dice) {
    if body.is_empty() {
        return;
    }
    for _ in 0..=dice.below(3) {
        let at = dice.below(body.len());
        match dice.below(4) {
            0 => body[at] = 0xff,
            1 => body[at] ^= 1 << dice.below(8),
            2 => {
                let end = body.len().min(at + 5);
                body[at..end].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f][..end - at]);
            }
            _ => body.insert(at, dice.roll() as u8),
        }
    }
}
