//! One side of a comparison: a broker, what was said to it, and what it said.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

use crate::fields::Tree;
use crate::normal::normalise;

/// How long a broker may take over one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// One request and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub api: ApiKey,
    pub version: i16,
    /// Field by field, normalised; a single `connection` field if there was no answer.
    pub fields: BTreeMap<String, String>,
}

/// A conversation with one broker.
pub struct Talk {
    address: SocketAddr,
    socket: TcpStream,
    correlation_id: i32,
    pub steps: Vec<Step>,
}

impl Talk {
    pub fn with(address: SocketAddr) -> Self {
        Self { address, socket: connect(address), correlation_id: 0, steps: Vec::new() }
    }

    /// Begins the next case, over a connection of its own.
    pub fn fresh(&mut self) -> Vec<Step> {
        self.socket = connect(self.address);
        std::mem::take(&mut self.steps)
    }

    /// Sends a request and notes the answer. `None` when the broker closes the connection, and
    /// when the version has no form for such a request.
    pub fn ask<R>(&mut self, version: i16, request: &R) -> Option<R::Response>
    where
        R: Request,
        R::Response: Debug,
    {
        let api = ApiKey::try_from(R::KEY).expect("an API that the crate knows");
        self.correlation_id += 1;
        let frame = encode(version, self.correlation_id, request)?;
        let answer = self.exchange(&frame);
        let mut fields = BTreeMap::new();
        let response = answer.and_then(|frame| decode::<R>(version, frame));
        match &response {
            Some(response) => {
                let mut tree = Tree::of(response);
                normalise(&mut tree, self.address);
                fields.extend(tree.lines());
            }
            None => {
                fields.insert("connection".to_owned(), "closed".to_owned());
                self.socket = connect(self.address);
            }
        }
        self.steps.push(Step { api, version, fields });
        response
    }

    /// As [`Talk::ask`], of something that has to succeed before the case makes sense: it is
    /// asked until `done`, and only the last answer is noted.
    pub fn ask_until<R>(&mut self, version: i16, request: &R, done: impl Fn(&R::Response) -> bool)
    where
        R: Request,
        R::Response: Debug,
    {
        for _ in 0..10_000 {
            let answer = self.ask(version, request);
            if answer.as_ref().is_some_and(&done) {
                return;
            }
            self.steps.pop();
        }
        panic!("{} never answers v{version} of {:?} as it should", self.address, R::KEY);
    }

    /// Sends a frame; `None` when the connection is closed instead of an answer.
    fn exchange(&mut self, frame: &[u8]) -> Option<Bytes> {
        let size = i32::try_from(frame.len()).expect("a small frame");
        self.socket
            .write_all(&size.to_be_bytes())
            .and_then(|()| self.socket.write_all(frame))
            .ok()?;
        let mut size = [0; 4];
        self.socket.read_exact(&mut size).ok()?;
        let mut answer = vec![0; usize::try_from(i32::from_be_bytes(size)).expect("a size")];
        self.socket.read_exact(&mut answer).ok()?;
        Some(answer.into())
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("the broker accepts");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    socket.set_nodelay(true).expect("a socket option");
    socket
}

fn encode<R: Request>(version: i16, correlation_id: i32, request: &R) -> Option<Bytes> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(StrBytes::from_static_str("diff")));
    let mut frame = BytesMut::new();
    header.encode(&mut frame, R::header_version(version)).ok()?;
    request.encode(&mut frame, version).ok()?;
    Some(frame.freeze())
}

fn decode<R: Request>(version: i16, mut frame: Bytes) -> Option<R::Response> {
    ResponseHeader::decode(&mut frame, R::Response::header_version(version)).ok()?;
    let response = R::Response::decode(&mut frame, version).expect("an answer of this version");
    assert!(frame.is_empty(), "{} bytes behind the answer", frame.len());
    Some(response)
}
