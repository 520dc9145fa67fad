//! A web server that answers what a test tells it, right or wrong, one request a connection.

use goosefs_core::{Error, Result};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `HEAD`.
    pub method: String,
    /// Path as sent, encoded.
    pub path: String,
    /// Headers, names in lower case.
    pub headers: BTreeMap<String, String>,
}

impl Request {
    /// The first and last byte that are asked for, when a range is.
    #[must_use]
    pub fn range(&self) -> Option<(usize, usize)> {
        let (first, last) = self.headers.get("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()?))
    }
}

/// The bytes that go back, head and all; the connection is closed after them.
#[derive(Clone, Debug)]
pub struct Answer(Vec<u8>);

impl Answer {
    /// `status` (such as `200 OK`), header lines, and a body with its length.
    #[must_use]
    pub fn new(status: &str, headers: &[&str], body: &[u8]) -> Answer {
        let length = format!("Content-Length: {}", body.len());
        let lines: Vec<&str> = headers.iter().copied().chain([length.as_str()]).collect();
        Answer::without_length(status, &lines, body)
    }

    /// As [`Answer::new`], with only the headers that are given: the body ends where the connection does.
    #[must_use]
    pub fn without_length(status: &str, headers: &[&str], body: &[u8]) -> Answer {
        let mut bytes = format!("HTTP/1.1 {status}\r\nConnection: close\r\n").into_bytes();
        for line in headers {
            bytes.extend_from_slice(line.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body);
        Answer(bytes)
    }

    /// An HTML page.
    #[must_use]
    pub fn page(html: &str) -> Answer {
        Answer::new("200 OK", &["Content-Type: text/html"], html.as_bytes())
    }

    /// What an honest server answers for a file: ranges, `If-Match`, HEAD.
    #[must_use]
    pub fn file(request: &Request, bytes: &[u8], etag: &str) -> Answer {
        if request.headers.get("if-match").is_some_and(|wanted| wanted != etag) {
            return Answer::new("412 Precondition Failed", &[], b"");
        }
        let tag = format!("ETag: {etag}");
        if request.method == "HEAD" {
            let length = format!("Content-Length: {}", bytes.len());
            return Answer::without_length("200 OK", &[&tag, &length], b"");
        }
        match request.range() {
            Some((first, _)) if first >= bytes.len() => {
                Answer::new("416 Range Not Satisfiable", &[&tag], b"")
            }
            Some((first, last)) => {
                let last = last.min(bytes.len() - 1);
                let range = format!("Content-Range: bytes {first}-{last}/{}", bytes.len());
                Answer::new("206 Partial Content", &[&tag, &range], &bytes[first..=last])
            }
            None => Answer::new("200 OK", &[&tag], bytes),
        }
    }

    /// Only as much of the answer as has `bytes` of its body: then the server closes.
    #[must_use]
    pub fn cut_after(mut self, bytes: usize) -> Answer {
        let head = self.0.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |at| at + 4);
        self.0.truncate(head + bytes);
        self
    }
}

/// A running scripted server.
#[derive(Debug)]
pub struct Scripted {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
}

impl Scripted {
    /// Answers every request by `script`, on a thread a connection.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start(script: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Result<Scripted> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| Error::io("listen", e))?;
        let address = listener.local_addr().map_err(|e| Error::io("ask for the port", e))?;
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopped);
        let script = Arc::new(script);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), script) = (stream, Arc::clone(&script)) else { continue };
                // A client that went away is no failure of the server.
                std::thread::spawn(move || drop(serve(&stream, &*script)));
            }
        });
        Ok(Scripted { address, stopped })
    }

    /// `http://127.0.0.1:PORT/`.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("http://{}/", self.address)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: &TcpStream, script: &dyn Fn(&Request) -> Answer) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut words = first.split(' ').map(str::to_owned);
    let method = words.next().unwrap_or_default();
    let path = words.next().unwrap_or_default();
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let Answer(bytes) = script(&Request { method, path, headers });
    let mut out = stream;
    out.write_all(&bytes)?;
    out.flush()?;
    stream.shutdown(std::net::Shutdown::Write)
}
