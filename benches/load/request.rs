//! Requests, encoded once: Produce v7 and Fetch v11, which every broker of this kind serves and
//! the floor server knows by heart.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::UNIX_EPOCH;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use kafka_protocol::messages::create_topics_response::CreateTopicsResponse;
use kafka_protocol::messages::{ApiKey, RequestHeader, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable};
use klamm::wire::builder::BatchBuilder;
use klamm::wire::compression::Codec;

use crate::Options;

fn head(out: &mut BytesMut, key: ApiKey, version: i16) {
    out.put_u32(0);
    out.put_i16(key as i16);
    out.put_i16(version);
    out.put_i32(1);
    put_string(out, "load");
}

fn put_string(out: &mut BytesMut, text: &str) {
    out.put_i16(i16::try_from(text.len()).expect("short names"));
    out.put_slice(text.as_bytes());
}

fn sized(mut out: BytesMut) -> Bytes {
    let size = u32::try_from(out.len() - 4).expect("requests are below 2 GiB");
    out[..4].copy_from_slice(&size.to_be_bytes());
    out.freeze()
}

/// A produce request with one batch for each of these partitions.
pub fn produce(options: &Options, partitions: &[i32], batch: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(partitions.len() * (batch.len() + 8) + 128);
    head(&mut out, ApiKey::Produce, 7);
    out.put_i16(-1);
    out.put_i16(options.acks);
    out.put_i32(30_000);
    out.put_i32(1);
    put_string(&mut out, &options.topic);
    out.put_i32(i32::try_from(partitions.len()).expect("few partitions"));
    for partition in partitions {
        out.put_i32(*partition);
        out.put_i32(i32::try_from(batch.len()).expect("batches are below 2 GiB"));
        out.put_slice(batch);
    }
    sized(out)
}

/// Where a fetch request names its offset.
pub fn fetch_offset_at(options: &Options) -> usize {
    14 + "load".len() + 4 * 4 + 1 + 4 * 2 + 4 + 2 + options.topic.len() + 4 + 4 + 4
}

/// A fetch of one partition without a session.
pub fn fetch(options: &Options, partition: i32) -> BytesMut {
    let mut out = BytesMut::new();
    head(&mut out, ApiKey::Fetch, 11);
    for number in [-1, 500, 1, options.fetch_bytes] {
        out.put_i32(number);
    }
    out.put_i8(0);
    out.put_i32(0);
    out.put_i32(-1);
    out.put_i32(1);
    put_string(&mut out, &options.topic);
    out.put_i32(1);
    out.put_i32(partition);
    out.put_i32(-1);
    assert_eq!(out.len(), fetch_offset_at(options), "the offset is where it is patched");
    out.put_i64(0);
    out.put_i64(-1);
    out.put_i32(options.fetch_bytes);
    out.put_i32(0);
    put_string(&mut out, "");
    let sized = sized(out);
    BytesMut::from(&sized[..])
}

/// One record batch of incompressible records of now, with null keys.
pub fn batch(records: i32, record_bytes: usize) -> Bytes {
    let since_epoch = UNIX_EPOCH.elapsed().expect("the clock is behind 1970");
    let now_ms = i64::try_from(since_epoch.as_millis()).expect("the clock is ahead");
    let mut builder = BatchBuilder::new(Codec::None, None);
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..records {
        let mut value = Vec::with_capacity(record_bytes + 8);
        while value.len() < record_bytes {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            value.extend_from_slice(&seed.to_le_bytes());
        }
        builder.push(now_ms, None, Some(&value[..record_bytes]), [].into_iter());
    }
    builder.build().expect("batches are below 2 GiB")
}

/// Creates the run's topic; fine if it exists.
pub fn create_topic(options: &Options) -> io::Result<()> {
    let topic = CreatableTopic::default()
        .with_name(TopicName(options.topic.clone().into()))
        .with_num_partitions(options.partitions)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
    let response: CreateTopicsResponse = call(&options.target, ApiKey::CreateTopics, 4, &request)?;
    const EXISTS: i16 = 36;
    match response.topics.iter().find(|t| t.error_code != 0 && t.error_code != EXISTS) {
        None => Ok(()),
        Some(topic) => Err(io::Error::other(format!("create: error {}", topic.error_code))),
    }
}

fn call<Q: Encodable, R: Decodable>(
    target: &str,
    key: ApiKey,
    version: i16,
    request: &Q,
) -> io::Result<R> {
    let broken = |error| io::Error::other(format!("{key:?}: {error}"));
    let mut out = BytesMut::new();
    out.put_u32(0);
    let header =
        RequestHeader::default().with_request_api_key(key as i16).with_request_api_version(version);
    header.encode(&mut out, 1).map_err(broken)?;
    request.encode(&mut out, version).map_err(broken)?;
    let mut stream = TcpStream::connect(target)?;
    stream.write_all(&sized(out))?;
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let mut reply = vec![0; u32::from_be_bytes(size) as usize];
    stream.read_exact(&mut reply)?;
    let mut reply = Bytes::from(reply);
    reply.advance(4);
    R::decode(&mut reply, version).map_err(broken)
}
