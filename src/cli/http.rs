//! A blocking HTTP client for the broker's own endpoint: one request per connection, JSON in the
//! answer, everything bounded. Rejected: an HTTP crate, for three kinds of request to one server.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde_json::Value;

use crate::cli::exit::Exit;

/// Longest answer that is read.
const MOST_BYTES: u64 = 64 << 20;

/// Why a command got no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The command asks for what cannot be.
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Refused(String),
    #[error("cannot reach {address}: {error}; is the broker running, and --http its HTTP address?")]
    Unreachable { address: String, error: io::Error },
    #[error("{address} did not answer as Klamm's HTTP endpoint does: {why}")]
    NotKlamm { address: String, why: String },
}

impl HttpError {
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::NotFound(_) => Exit::NotFound,
            Self::Refused(_) | Self::Unreachable { .. } | Self::NotKlamm { .. } => Exit::Failed,
        }
    }
}

/// The endpoint of one broker.
#[derive(Debug)]
pub struct Endpoint {
    address: String,
    patience: Duration,
}

impl Endpoint {
    /// `patience` bounds the wait for the connection and for every part of the answer.
    pub const fn new(address: String, patience: Duration) -> Self {
        Self { address, patience }
    }

    pub fn get(&self, path: &str) -> Result<Value, HttpError> {
        self.ask("GET", path, None)
    }

    pub fn delete(&self, path: &str) -> Result<Value, HttpError> {
        self.ask("DELETE", path, None)
    }

    pub fn post(&self, path: &str, body: &Value) -> Result<Value, HttpError> {
        self.ask("POST", path, Some(body))
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, HttpError> {
        let answer = self.exchange(method, path, body);
        let answer = answer
            .map_err(|error| HttpError::Unreachable { address: self.address.clone(), error })?;
        let (status, body) = parse(&answer)
            .map_err(|why| HttpError::NotKlamm { address: self.address.clone(), why })?;
        let message = || match body["message"].as_str() {
            Some(message) => message.to_owned(),
            None => format!("{} answered with status {status}", self.address),
        };
        match status {
            200..=299 => Ok(body),
            400 => Err(HttpError::Usage(message())),
            404 => Err(HttpError::NotFound(message())),
            _ => Err(HttpError::Refused(message())),
        }
    }

    fn exchange(&self, method: &str, path: &str, body: Option<&Value>) -> io::Result<Vec<u8>> {
        let mut socket = self.connect()?;
        socket.set_read_timeout(Some(self.patience))?;
        socket.set_write_timeout(Some(self.patience))?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.address,
            body.len()
        );
        socket.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        socket.take(MOST_BYTES).read_to_end(&mut answer)?;
        Ok(answer)
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in self.address.to_socket_addrs()?.collect::<Vec<SocketAddr>>() {
            match TcpStream::connect_timeout(&address, self.patience) {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Status and body of a response that ends with its connection.
fn parse(answer: &[u8]) -> Result<(u16, Value), String> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.ok_or("the response has no end of its head")?;
    let head = std::str::from_utf8(&answer[..end]).map_err(|_| "its head is no text")?;
    let mut words = head.split(' ');
    let is_http = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
    let status = words.next().filter(|_| is_http).and_then(|word| word.parse().ok());
    let status = status.ok_or("the response is not HTTP")?;
    let body = serde_json::from_slice(&answer[end + 4..])
        .map_err(|error| format!("status {status}, and its body is no JSON: {error}"))?;
    Ok((status, body))
}

/// A text as one part of a path or a query.
pub fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut path, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                path.push(char::from(byte));
            }
            _ => path.push_str(&format!("%{byte:02X}")),
        }
        path
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn responses_are_status_and_json() {
        let answer = b"HTTP/1.1 404 Not Found\r\na: b\r\n\r\n{\"code\":\"x\"}";
        assert_eq!(parse(answer), Ok((404, json!({ "code": "x" }))));
        for other in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\n",
            b"SSH-2.0-x\r\n\r\n",
            b"HTTP/1.1 ok\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\n\r\n<html>",
        ] {
            assert!(parse(other).is_err(), "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn what_means_something_in_a_path_is_encoded() {
        assert_eq!(encoded("a-b_c.D~9"), "a-b_c.D~9");
        assert_eq!(encoded("order 7/å?&=%"), "order%207%2F%C3%A5%3F%26%3D%25");
    }
}
