//! Records by their bytes, and by what the builder writes.

use super::*;
use crate::wire::builder::BatchBuilder;
use proptest::prelude::*;

fn read(body: &[u8], count: i32) -> Vec<Result<Record<'_>, RecordError>> {
    Records::new(body, count).collect()
}

fn only_error(body: &[u8], count: i32) -> RecordError {
    read(body, count).pop().unwrap().unwrap_err()
}

#[test]
fn a_record_by_hand() {
    let body = [
        &[36, 0, 3, 2, 2, b'k', 4, b'v', b'w', 6][..],
        &[2, b'h', 2, b'1', 2, b'h', 1, 4, 0xff, 0xfe, 0],
    ]
    .concat();
    let mut body = body;
    body[0] = (body.len() as u8 - 1) * 2;
    let records = read(&body, 1);
    let record = records[0].unwrap();
    assert_eq!((record.timestamp_delta_ms, record.offset_delta), (-2, 1));
    assert_eq!((record.key, record.value), (Some(&b"k"[..]), Some(&b"vw"[..])));
    let headers: Vec<_> = record.headers.iter().map(|header| (header.key, header.value)).collect();
    assert_eq!(
        headers,
        [(&b"h"[..], Some(&b"1"[..])), (b"h", None), (&[0xff, 0xfe], Some(b""))],
        "duplicates, order, and a key that is not UTF-8"
    );
}

#[test]
fn every_malformation_has_its_error() {
    use RecordError::{
        Field, HeaderCount, HeaderKey, LeftBehind, LeftInRecord, Length, Truncated, Varint,
    };
    for (body, error) in [
        (&[][..], Truncated(0)),
        (&[0x80], Varint),
        (&[11, 0, 0, 0, 1, 1, 0], Length(-6)),
        (&[14, 0, 0, 0, 1, 1, 0], Truncated(7)),
        (&[0], Field { field_bytes: 1, left_bytes: 0 }),
        (&[2, 0], Varint),
        (&[12, 0, 0, 0, 8, 1, 0], Field { field_bytes: 4, left_bytes: 2 }),
        (&[12, 0, 0, 0, 1, 8, 0], Field { field_bytes: 4, left_bytes: 1 }),
        (&[12, 0, 0, 0, 1, 1, 1], HeaderCount { count: -1, left_bytes: 0 }),
        (&[12, 0, 0, 0, 1, 1, 2], HeaderCount { count: 1, left_bytes: 0 }),
        (&[16, 0, 0, 0, 1, 1, 2, 1, 1], HeaderKey(-1)),
        (&[16, 0, 0, 0, 1, 1, 2, 4, 1], Field { field_bytes: 2, left_bytes: 1 }),
        (&[14, 0, 0, 0, 1, 1, 0, 9], LeftInRecord(1)),
        (&[12, 0, 0, 0, 1, 1, 0, 9], LeftBehind(1)),
    ] {
        assert_eq!(only_error(body, 1), error, "{body:?}");
    }
}

#[test]
fn reading_ends_with_the_first_error_or_the_count() {
    let good = [12, 0, 0, 0, 1, 1, 0];
    let body = [good, good, good].concat();
    assert_eq!(read(&body, 3).len(), 3);
    assert_eq!(only_error(&body, 2), RecordError::LeftBehind(7));
    let more = read(&body, 5);
    assert_eq!(more.len(), 4);
    assert_eq!(more[3], Err(RecordError::Truncated(0)));
    assert!(read(&body, 0).is_empty());
    assert!(read(&body, -1).is_empty());
}

#[test]
fn reading_allocates_nothing() {
    let mut builder = BatchBuilder::new(Codec::None, None);
    for n in 0..1_000_i64 {
        let headers = [Header { key: b"a", value: Some(b"b") }; 3];
        builder.push(n, Some(b"key"), Some(b"value"), headers.into_iter());
    }
    let (header, body) = builder.build_parts().unwrap();
    let taken = allocation_counter::measure(|| {
        let mut headers = 0;
        for record in Records::new(&body, header.record_count) {
            headers += record.unwrap().headers.iter().count();
        }
        assert_eq!(headers, 3_000);
    });
    assert_eq!(taken.count_total, 0);
}

#[test]
fn a_compressed_body_is_held_one_record_at_a_time() {
    let mut builder = BatchBuilder::new(Codec::Gzip, None);
    for n in 0..4_000_i64 {
        builder.push(n, None, Some(&[b'x'; 1_000]), [].into_iter());
    }
    let (header, body) = builder.build_parts().unwrap();
    let taken = allocation_counter::measure(|| {
        let mut count = 0;
        for_each(Codec::Gzip, &body, header.record_count, 64 << 20, |_| count += 1).unwrap();
        assert_eq!(count, 4_000);
    });
    assert!(taken.bytes_max < 300 << 10, "{} bytes for 4 MB of records", taken.bytes_max);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(
        body in proptest::collection::vec(any::<u8>(), 0..200),
        count in -3..20_i32,
    ) {
        for record in Records::new(&body, count).flatten() {
            prop_assert_eq!(record.headers.iter().count(), record.headers.count() as usize);
        }
    }

    #[test]
    fn small_numbers_make_plausible_bytes(
        body in proptest::collection::vec(0..24_u8, 0..120),
        count in 1..12_i32,
    ) {
        for record in Records::new(&body, count).flatten() {
            prop_assert_eq!(record.headers.iter().count(), record.headers.count() as usize);
        }
    }
}
