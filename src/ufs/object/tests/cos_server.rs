//! A bucket of Tencent Cloud in memory that is as strict as the real one: it computes each request's signature by the
//! published rules (request signature, document 436/7778) and answers everything else with COS's XML errors.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use ring::{digest, hmac};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) const BUCKET: &str = "tests-1250000000";
pub(super) const ID: &str = "AKIDexample";
pub(super) const KEY: &str = "the-key-of-the-tests";

/// What the rules leave as it is: letters, digits and these four.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// How far clocks may be apart, seconds.
const SKEW: u64 = 900;

/// Keys on a page at most; few, so that small trees have pages.
const PAGE: usize = 7;

struct Object {
    bytes: Bytes,
    etag: String,
    modified: SystemTime,
}

#[derive(Default)]
struct Bucket {
    objects: BTreeMap<String, Object>,
    /// Parts by upload, then by number.
    uploads: BTreeMap<String, BTreeMap<u32, Bytes>>,
    next_upload: u32,
    requests: Vec<String>,
    id: String,
    key: String,
}

/// The running server.
#[derive(Clone)]
pub(super) struct CosServer {
    bucket: Arc<Mutex<Bucket>>,
    port: u16,
}

type Answer = Result<Response, (StatusCode, &'static str)>;

impl CosServer {
    pub(super) async fn start() -> CosServer {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let bucket = Bucket { id: ID.to_owned(), key: KEY.to_owned(), ..Bucket::default() };
        let server = CosServer { bucket: Arc::new(Mutex::new(bucket)), port };
        let router = Router::new().fallback(serve).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    /// The suffix that buckets' names are put before.
    pub(super) fn endpoint(&self) -> String {
        format!("http://cos.localhost:{}", self.port)
    }

    /// From now on another key is the right one.
    pub(super) fn change_key(&self, key: &str) {
        key.clone_into(&mut self.bucket.lock().key);
    }

    /// Uploads that were begun and neither completed nor aborted.
    pub(super) fn open_uploads(&self) -> usize {
        self.bucket.lock().uploads.len()
    }

    /// `METHOD /path?query` of every request so far that was signed as it must be.
    pub(super) fn requests(&self) -> Vec<String> {
        self.bucket.lock().requests.clone()
    }

    /// Puts an object without asking anybody.
    pub(super) fn put(&self, key: &str, bytes: &str) {
        self.bucket.lock().put(key, Bytes::from(bytes.to_owned()));
    }
}

impl Bucket {
    fn put(&mut self, key: &str, bytes: Bytes) -> String {
        let etag = format!("\"{}\"", sha1(&bytes));
        let object = Object { bytes, etag: etag.clone(), modified: SystemTime::now() };
        self.objects.insert(key.to_owned(), object);
        etag
    }

    fn part(&mut self, upload: &str, number: &str, bytes: Bytes) -> Answer {
        let parts = self.uploads.get_mut(upload).ok_or((StatusCode::NOT_FOUND, "NoSuchUpload"))?;
        let etag = format!("\"{}\"", sha1(&bytes));
        parts.insert(number.parse().unwrap(), bytes);
        Ok(Response::builder().header("ETag", etag).body(Body::empty()).unwrap())
    }

    fn complete(&mut self, key: &str, upload: &str) -> Answer {
        let parts = self.uploads.remove(upload).ok_or((StatusCode::NOT_FOUND, "NoSuchUpload"))?;
        let small = parts.values().rev().skip(1).any(|part| part.len() < 1 << 20);
        if small {
            return Err((StatusCode::BAD_REQUEST, "EntityTooSmall"));
        }
        let etag = self.put(key, parts.into_values().collect::<Vec<_>>().concat().into());
        let escaped = escape(&etag);
        Ok(xml(&format!(
            "<CompleteMultipartUploadResult><ETag>{escaped}</ETag></CompleteMultipartUploadResult>"
        )))
    }

    fn get(&self, key: &str, headers: &HeaderMap, with_body: bool) -> Answer {
        let object = self.objects.get(key).ok_or((StatusCode::NOT_FOUND, "NoSuchKey"))?;
        if headers.get("if-match").is_some_and(|wanted| wanted != object.etag.as_str()) {
            return Err((StatusCode::PRECONDITION_FAILED, "PreconditionFailed"));
        }
        let length = object.bytes.len();
        let mut answer = Response::builder()
            .header("ETag", &object.etag)
            .header("Last-Modified", httpdate::fmt_http_date(object.modified));
        let range = headers.get("range").and_then(|range| {
            let (first, last) = range.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
            Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()?.min(length.checked_sub(1)?)))
        });
        let bytes = match range {
            Some((first, _)) if first >= length => {
                return Err((StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange"));
            }
            Some((first, last)) => {
                let range = format!("bytes {first}-{last}/{length}");
                answer = answer.status(StatusCode::PARTIAL_CONTENT).header("Content-Range", range);
                object.bytes.slice(first..=last)
            }
            None => object.bytes.clone(),
        };
        if !with_body {
            answer = answer.header("Content-Length", length);
        }
        Ok(answer.body(if with_body { Body::from(bytes) } else { Body::empty() }).unwrap())
    }

    fn list(&self, query: &BTreeMap<String, String>) -> Response {
        let of = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
        let (prefix, delimiter, marker) = (of("prefix"), of("delimiter"), of("marker"));
        let most = of("max-keys").parse().unwrap_or(1000).min(PAGE);
        let mut names: Vec<(String, Option<&Object>)> = Vec::new();
        for (key, object) in self.objects.iter().filter(|(key, _)| key.starts_with(prefix)) {
            let rest = &key[prefix.len()..];
            let common = rest.find(delimiter).filter(|_| !delimiter.is_empty());
            let name = common.map(|at| format!("{prefix}{}", &rest[..at + delimiter.len()]));
            let entry = name.map_or((key.clone(), Some(object)), |name| (name, None));
            if entry.0.as_str() > marker && names.last().is_none_or(|last| last.0 != entry.0) {
                names.push(entry);
            }
        }
        let more = names.len() > most;
        names.truncate(most);
        let mut text = format!("<ListBucketResult><IsTruncated>{more}</IsTruncated>");
        for (name, object) in &names {
            let name = escape(name);
            match object {
                None => write!(text, "<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>").unwrap(),
                Some(object) => {
                    let time = jiff::Timestamp::try_from(object.modified).unwrap();
                    let time = time.strftime("%Y-%m-%dT%H:%M:%S.000Z");
                    let (etag, size) = (escape(&object.etag), object.bytes.len());
                    write!(
                        text,
                        "<Contents><Key>{name}</Key><LastModified>{time}</LastModified><ETag>{etag}</ETag>\
                         <Size>{size}</Size></Contents>"
                    )
                    .unwrap();
                }
            }
        }
        if let Some((last, _)) = names.last().filter(|_| more) {
            write!(text, "<NextMarker>{}</NextMarker>", escape(last)).unwrap();
        }
        xml(&format!("{text}</ListBucketResult>"))
    }
}

async fn serve(State(server): State<CosServer>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let mut bucket = server.bucket.lock();
    let outcome = check_bucket(&head.headers).and_then(|()| {
        verify(&bucket, &head)?;
        bucket.requests.push(format!("{} {}", head.method, head.uri));
        answer(&mut bucket, &head, body)
    });
    outcome.unwrap_or_else(|(status, code)| {
        let text = format!(
            "<?xml version='1.0' encoding='utf-8' ?><Error><Code>{code}</Code><Message>see the code</Message>\
             <Resource>{}</Resource><RequestId>1</RequestId><TraceId>1</TraceId></Error>",
            escape(head.uri.path())
        );
        let body = if head.method == Method::HEAD { Body::empty() } else { Body::from(text) };
        Response::builder().status(status).body(body).unwrap()
    })
}

fn answer(bucket: &mut Bucket, head: &http::request::Parts, body: Bytes) -> Answer {
    let query = parameters(head.uri.query().unwrap_or_default());
    let key = percent_decode_str(&head.uri.path()[1..]).decode_utf8().unwrap().into_owned();
    let upload = query.get("uploadid").or_else(|| query.get("uploadId")).cloned();
    let done = || Ok(Response::builder().status(StatusCode::NO_CONTENT).body(Body::empty()).unwrap());
    match (&head.method, upload) {
        (&Method::GET, None) if key.is_empty() => Ok(bucket.list(&query)),
        (&Method::GET, None) => bucket.get(&key, &head.headers, true),
        (&Method::HEAD, None) => bucket.get(&key, &head.headers, false),
        (&Method::PUT, Some(upload)) => bucket.part(&upload, &query["partNumber"], body),
        (&Method::PUT, None) => {
            let bytes = match head.headers.get("x-cos-copy-source") {
                None => body,
                Some(source) => {
                    let source = percent_decode_str(source.to_str().unwrap()).decode_utf8().unwrap();
                    let key = source.trim_start_matches('/').split_once('/').unwrap().1;
                    let source = bucket.objects.get(key).ok_or((StatusCode::NOT_FOUND, "NoSuchKey"))?;
                    source.bytes.clone()
                }
            };
            let etag = bucket.put(&key, bytes);
            let text = format!("<CopyObjectResult><ETag>{}</ETag></CopyObjectResult>", escape(&etag));
            let body = if head.headers.contains_key("x-cos-copy-source") { text } else { String::new() };
            Ok(Response::builder().header("ETag", etag).body(Body::from(body)).unwrap())
        }
        (&Method::POST, Some(upload)) => bucket.complete(&key, &upload),
        (&Method::POST, None) if query.contains_key("uploads") => {
            bucket.next_upload += 1;
            let upload = bucket.next_upload.to_string();
            bucket.uploads.insert(upload.clone(), BTreeMap::new());
            Ok(xml(&format!(
                "<InitiateMultipartUploadResult><Bucket>{BUCKET}</Bucket><Key>{}</Key><UploadId>{upload}</UploadId>\
                 </InitiateMultipartUploadResult>",
                escape(&key)
            )))
        }
        (&Method::DELETE, Some(upload)) => {
            bucket.uploads.remove(&upload).ok_or((StatusCode::NOT_FOUND, "NoSuchUpload"))?;
            done()
        }
        (&Method::DELETE, None) => {
            bucket.objects.remove(&key);
            done()
        }
        _ => Err((StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed")),
    }
}

fn check_bucket(headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
    let host = headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    let known = host.strip_prefix(BUCKET).is_some_and(|rest| rest.starts_with('.'));
    if known { Ok(()) } else { Err((StatusCode::NOT_FOUND, "NoSuchBucket")) }
}

/// Step by step as the document has it.
fn verify(bucket: &Bucket, head: &http::request::Parts) -> Result<(), (StatusCode, &'static str)> {
    let refuse = |code| Err((StatusCode::FORBIDDEN, code));
    let Some(authorization) = head.headers.get("authorization") else { return refuse("AccessDenied") };
    let fields: BTreeMap<&str, &str> =
        authorization.to_str().unwrap().split('&').filter_map(|field| field.split_once('=')).collect();
    let names: Vec<&str> = fields.keys().copied().collect();
    let wanted = [
        "q-ak",
        "q-header-list",
        "q-key-time",
        "q-sign-algorithm",
        "q-sign-time",
        "q-signature",
        "q-url-param-list",
    ];
    if names != wanted
        || fields["q-sign-algorithm"] != "sha1"
        || fields["q-sign-time"] != fields["q-key-time"]
    {
        return Err((StatusCode::BAD_REQUEST, "InvalidArgument"));
    }
    if fields["q-ak"] != bucket.id {
        return refuse("InvalidAccessKeyId");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (from, until) = fields["q-key-time"].split_once(';').unwrap();
    if from.parse::<u64>().unwrap() > now + SKEW || until.parse::<u64>().unwrap() < now {
        return refuse("RequestTimeTooSkewed");
    }
    let query = parameters(head.uri.query().unwrap_or_default());
    let (parameter_list, parameters) =
        listed(query.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let signed: Vec<&str> = fields["q-header-list"].split(';').filter(|name| !name.is_empty()).collect();
    let header = |name: &'_ str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let unsigned_order = head.headers.keys().any(|name| {
        name.as_str().starts_with("x-cos-")
            && name != "x-cos-security-token"
            && !signed.contains(&name.as_str())
    });
    if unsigned_order
        || parameter_list != fields["q-url-param-list"]
        || signed.iter().any(|name| header(name).is_none())
    {
        return refuse("SignatureDoesNotMatch");
    }
    let (header_list, headers) = listed(signed.iter().map(|name| (*name, header(name).unwrap_or_default())));
    let path = percent_decode_str(head.uri.path()).decode_utf8().unwrap();
    let method = head.method.as_str().to_ascii_lowercase();
    let http_string = format!("{method}\n{path}\n{parameters}\n{headers}\n");
    let signature = signature(&bucket.key, fields["q-key-time"], &http_string);
    if header_list == fields["q-header-list"] && signature == fields["q-signature"] {
        Ok(())
    } else {
        refuse("SignatureDoesNotMatch")
    }
}

fn signature(key: &str, key_time: &str, http_string: &str) -> String {
    let string_to_sign = format!("sha1\n{key_time}\n{}\n", sha1(http_string.as_bytes()));
    let sign_key = hmac_sha1(key.as_bytes(), key_time.as_bytes());
    hmac_sha1(sign_key.as_bytes(), string_to_sign.as_bytes())
}

/// The list of names, and names with values, both encoded, names in lower case and in order.
fn listed<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> (String, String) {
    let encoded = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
    let mut pairs: Vec<(String, String)> =
        pairs.map(|(name, value)| (encoded(&name.to_lowercase()), encoded(value))).collect();
    pairs.sort();
    let names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
    let both: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    (names.join(";"), both.join("&"))
}

fn parameters(query: &str) -> BTreeMap<String, String> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
    let pair = |field: &str| {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        (decoded(name), decoded(value))
    };
    query.split('&').filter(|field| !field.is_empty()).map(pair).collect()
}

fn xml(text: &str) -> Response {
    Response::builder().header("Content-Type", "application/xml").body(Body::from(text.to_owned())).unwrap()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha1(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref())
}

fn hmac_sha1(key: &[u8], bytes: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    hex(hmac::sign(&key, bytes).as_ref())
}

/// The two examples that the document computes.
#[test]
fn signatures_are_those_of_the_document() {
    const DOCUMENTS_KEY: &str = "BQYIM75p8x0iWVFSIgqEKwFprpRSVHlz";
    let host = ("Host", "examplebucket-1250000000.cos.ap-beijing.myqcloud.com");
    let put = [
        ("Date", "Thu, 16 May 2019 06:45:51 GMT"),
        host,
        ("Content-Type", "text/plain"),
        ("Content-Length", "13"),
        ("Content-MD5", "mQ/fVh815F3k6TAUm8m0eg=="),
        ("x-cos-acl", "private"),
        ("x-cos-grant-read", "uin=\"100000000011\""),
    ];
    let (list, headers) = listed(put.into_iter());
    assert_eq!(list, "content-length;content-md5;content-type;date;host;x-cos-acl;x-cos-grant-read");
    let string = format!("put\n/exampleobject(腾讯云)\n\n{headers}\n");
    let signed = signature(DOCUMENTS_KEY, "1557989151;1557996351", &string);
    assert_eq!(signed, "3b8851a11a569213c17ba8fa7dcf2abec6935172");

    let query = "response-content-type=application%2Foctet-stream&response-cache-control=max-age%3D600";
    let query = parameters(query);
    let (_, query) = listed(query.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let (_, headers) = listed([("Date", "Thu, 16 May 2019 06:55:53 GMT"), host].into_iter());
    let string = format!("get\n/exampleobject(腾讯云)\n{query}\n{headers}\n");
    let signed = signature(DOCUMENTS_KEY, "1557989753;1557996953", &string);
    assert_eq!(signed, "01681b8c9d798a678e43b685a9f1bba0f6c0e012");
}
