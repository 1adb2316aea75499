//! A double of an S3 service: a real HTTP server on loopback that keeps one bucket in memory, and goes wrong when
//! it is told to. It checks what a service checks: that requests are signed, that bodies have the digest they
//! claim, that no part but the last is under 5 MiB. Signatures themselves are not checked.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use opencode_host::blobs::{Blobs, Digest};

/// What S3 wants of every part but the last.
const LEAST_PART: usize = 5 * 1024 * 1024;

/// How many keys a page of a listing has: few, so that there are several pages.
const PAGE: usize = 3;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The next so many requests are told to slow down.
    SlowDown(usize),
    /// Nothing more is kept, as MinIO says it.
    Full,
    /// Nothing more is kept, as Ceph says it.
    OverQuota,
    /// Nobody is let in.
    Denied,
    /// Requests are taken and never answered.
    Silent,
    /// The next upload is completed, and an error is answered.
    LostCompletion,
}

#[derive(Default)]
struct Bucket {
    objects: BTreeMap<String, (Bytes, SystemTime)>,
    uploads: HashMap<String, (String, BTreeMap<u32, Bytes>)>,
    fault: Option<Fault>,
    requests: Vec<String>,
    last_upload: usize,
}

type Shared = Arc<Mutex<Bucket>>;

/// A running service. It stops when this is dropped.
pub(super) struct Double {
    bucket: Shared,
    port: u16,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Double {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Double {
    pub(super) async fn start() -> Self {
        let bucket = Shared::default();
        let router = Router::new()
            .fallback(answer)
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(Arc::clone(&bucket));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { bucket, port, task }
    }

    pub(super) fn blobs(&self) -> Blobs {
        blobs_at(self.port)
    }

    fn lock(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap()
    }

    pub(super) fn keys(&self) -> Vec<String> {
        self.lock().objects.keys().cloned().collect()
    }

    pub(super) fn unfinished(&self) -> usize {
        self.lock().uploads.len()
    }

    /// `METHOD key` of all requests so far.
    pub(super) fn requests(&self) -> Vec<String> {
        self.lock().requests.clone()
    }

    pub(super) fn fault(&self, fault: impl Into<Option<Fault>>) {
        self.lock().fault = fault.into();
    }

    /// Changes an object behind the client's back; `None` removes it.
    pub(super) fn tamper(&self, key: &str, change: impl FnOnce(&Bytes) -> Option<Bytes>) {
        let mut bucket = self.lock();
        let (bytes, at) = bucket.objects.remove(key).unwrap();
        if let Some(changed) = change(&bytes) {
            bucket.objects.insert(key.to_owned(), (changed, at));
        }
    }

    /// Makes an object old.
    pub(super) fn age(&self, key: &str, by: Duration) {
        self.lock().objects.get_mut(key).unwrap().1 -= by;
    }

    /// Puts an object there as if it had been there before.
    pub(super) fn plant(&self, key: &str, bytes: &'static [u8]) {
        let object = (Bytes::from_static(bytes), SystemTime::now());
        self.lock().objects.insert(key.to_owned(), object);
    }
}

/// Blobs on whatever listens at this port.
pub(super) fn blobs_at(port: u16) -> Blobs {
    let endpoint = format!("http://127.0.0.1:{port}");
    let settings = [
        ("aws_endpoint_url", endpoint.as_str()),
        ("aws_allow_http", "true"),
        ("aws_access_key_id", "key"),
        ("aws_secret_access_key", "secret"),
        ("aws_region", "us-east-1"),
        ("aws_read_timeout", "1 second"),
    ];
    Blobs::in_bucket("s3://bucket/files", settings).unwrap()
}

fn problem(status: u16, code: &str) -> Response {
    let body =
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>");
    (StatusCode::from_u16(status).unwrap(), body).into_response()
}

fn xml(name: &str, inner: &str) -> Response {
    format!("<?xml version=\"1.0\"?><{name}>{inner}</{name}>").into_response()
}

fn etag(bytes: &[u8]) -> String {
    format!("\"{}\"", &Digest::of(bytes).to_string()[..32])
}

async fn answer(
    State(bucket): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let query: HashMap<String, String> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (name.to_owned(), value.replace("%2F", "/")))
        .collect();
    let path = uri.path().trim_start_matches('/');
    let (named, key) = path.split_once('/').unwrap_or((path, ""));
    let fault = {
        let mut bucket = bucket.lock().unwrap();
        bucket.requests.push(format!("{method} {key}"));
        match bucket.fault {
            Some(Fault::SlowDown(left)) => {
                bucket.fault = (left > 1).then(|| Fault::SlowDown(left - 1));
                Some(Fault::SlowDown(left))
            }
            fault => fault,
        }
    };
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let signed = header("authorization").is_some_and(|text| text.starts_with("AWS4-HMAC-SHA256 "));
    let claimed = header("x-amz-content-sha256").filter(|text| text.len() == 64);
    let keeps = method == Method::PUT || (method == Method::POST && query.contains_key("uploads"));
    match fault {
        Some(Fault::SlowDown(_)) => return problem(503, "SlowDown"),
        Some(Fault::Full) if keeps => return problem(507, "XMinioStorageFull"),
        Some(Fault::OverQuota) if keeps => return problem(403, "QuotaExceeded"),
        Some(Fault::Denied) => return problem(403, "AccessDenied"),
        Some(Fault::Silent) => return std::future::pending().await,
        _ if !signed => return problem(403, "AccessDenied"),
        _ if claimed.is_some_and(|claimed| claimed != Digest::of(&body).to_string()) => {
            return problem(400, "XAmzContentSHA256Mismatch");
        }
        _ if named != "bucket" => return problem(404, "NoSuchBucket"),
        _ => {}
    }
    let source = header("x-amz-copy-source").map(|source| source.trim_start_matches('/'));
    let mut bucket = bucket.lock().unwrap();
    match (method.as_str(), key) {
        ("GET", "") => bucket.list(&query),
        ("POST", "") if query.contains_key("delete") => bucket.delete_many(&body),
        ("GET" | "HEAD", key) => bucket.get(key, header("range"), method == Method::HEAD),
        ("PUT", key) => match (query.get("uploadId"), source) {
            (Some(upload), _) => bucket.put_part(upload, &query["partNumber"], body),
            (None, Some(source)) => bucket.copy(source, key),
            (None, None) => {
                let tag = etag(&body);
                bucket
                    .objects
                    .insert(key.to_owned(), (body, SystemTime::now()));
                [(header::ETAG, tag)].into_response()
            }
        },
        ("POST", key) if query.contains_key("uploads") => {
            bucket.last_upload += 1;
            let id = format!("upload-{}", bucket.last_upload);
            bucket
                .uploads
                .insert(id.clone(), (key.to_owned(), BTreeMap::new()));
            xml(
                "InitiateMultipartUploadResult",
                &format!("<UploadId>{id}</UploadId>"),
            )
        }
        ("POST", _) => {
            let answer = bucket.complete(query.get("uploadId").map_or("", String::as_str));
            match bucket.fault.take() {
                Some(Fault::LostCompletion) => problem(500, "InternalError"),
                fault => {
                    bucket.fault = fault;
                    answer
                }
            }
        }
        ("DELETE", key) => {
            match query.get("uploadId") {
                Some(upload) => drop(bucket.uploads.remove(upload)),
                None => drop(bucket.objects.remove(key)),
            }
            StatusCode::NO_CONTENT.into_response()
        }
        _ => problem(405, "MethodNotAllowed"),
    }
}

impl Bucket {
    fn get(&self, key: &str, range: Option<&str>, head: bool) -> Response {
        let Some((bytes, at)) = self.objects.get(key) else {
            return problem(404, "NoSuchKey");
        };
        let size = bytes.len();
        let headers = [
            (header::ETAG, etag(bytes)),
            (header::LAST_MODIFIED, http_date(*at)),
        ];
        if head {
            let length = [(header::CONTENT_LENGTH, size.to_string())];
            return (headers, length).into_response();
        }
        let Some(range) = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'))
        else {
            return (headers, bytes.clone()).into_response();
        };
        let start: usize = range.0.parse().unwrap();
        let end = range
            .1
            .parse::<usize>()
            .map_or(size, |last| (last + 1).min(size));
        if start >= end {
            return problem(416, "InvalidRange");
        }
        let told = [(
            header::CONTENT_RANGE,
            format!("bytes {start}-{}/{size}", end - 1),
        )];
        let part = bytes.slice(start..end);
        (StatusCode::PARTIAL_CONTENT, headers, told, part).into_response()
    }

    fn copy(&mut self, source: &str, key: &str) -> Response {
        let source = source.strip_prefix("bucket/").unwrap_or_default();
        let Some((bytes, _)) = self.objects.get(source).cloned() else {
            return problem(404, "NoSuchKey");
        };
        let inner = format!("<ETag>{}</ETag>", etag(&bytes));
        self.objects
            .insert(key.to_owned(), (bytes, SystemTime::now()));
        xml("CopyObjectResult", &inner)
    }

    fn put_part(&mut self, upload: &str, number: &str, body: Bytes) -> Response {
        let Some((_, parts)) = self.uploads.get_mut(upload) else {
            return problem(404, "NoSuchUpload");
        };
        let tag = etag(&body);
        parts.insert(number.parse().unwrap(), body);
        [(header::ETAG, tag)].into_response()
    }

    fn complete(&mut self, upload: &str) -> Response {
        let Some((key, parts)) = self.uploads.remove(upload) else {
            return problem(404, "NoSuchUpload");
        };
        let small = |part: &&Bytes| part.len() < LEAST_PART;
        if parts.values().rev().skip(1).any(|part| small(&part)) {
            return problem(400, "EntityTooSmall");
        }
        let whole: Vec<u8> = parts.into_values().flatten().collect();
        let inner = format!("<ETag>{}</ETag>", etag(&whole));
        self.objects.insert(key, (whole.into(), SystemTime::now()));
        xml("CompleteMultipartUploadResult", &inner)
    }

    fn list(&self, query: &HashMap<String, String>) -> Response {
        let prefix = query.get("prefix").map_or("", String::as_str);
        let after = query.get("continuation-token").map_or("", String::as_str);
        let found = self
            .objects
            .iter()
            .filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after);
        let page: Vec<_> = found.take(PAGE + 1).collect();
        let mut inner = format!("<IsTruncated>{}</IsTruncated>", page.len() > PAGE);
        if page.len() > PAGE {
            let token = page[PAGE - 1].0;
            write!(
                inner,
                "<NextContinuationToken>{token}</NextContinuationToken>"
            )
            .unwrap();
        }
        for (key, (bytes, at)) in page.into_iter().take(PAGE) {
            let (size, tag, at) = (bytes.len(), etag(bytes), iso_date(*at));
            write!(
                inner,
                "<Contents><Key>{key}</Key><LastModified>{at}</LastModified><ETag>{tag}</ETag><Size>{size}</Size></Contents>"
            )
            .unwrap();
        }
        xml("ListBucketResult", &inner)
    }

    fn delete_many(&mut self, body: &[u8]) -> Response {
        let body = std::str::from_utf8(body).unwrap();
        let keys = body.split("<Key>").skip(1);
        let keys = keys.map(|rest| rest.split_once("</Key>").unwrap().0);
        let mut inner = String::new();
        for key in keys {
            self.objects.remove(key);
            write!(inner, "<Deleted><Key>{key}</Key></Deleted>").unwrap();
        }
        xml("DeleteResult", &inner)
    }
}

/// Year, month, day, and the seconds of the day.
fn civil(at: SystemTime) -> (u64, u64, u64, u64) {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap().as_secs();
    // Days since 0000-03-01; see "chrono-compatible low-level date algorithms".
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = if month < 10 {
        (year + era * 400, month + 3)
    } else {
        (year + era * 400 + 1, month - 9)
    };
    (year, month, day, seconds % 86_400)
}

fn iso_date(at: SystemTime) -> String {
    let (year, month, day, second) = civil(at);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.000Z")
}

fn http_date(at: SystemTime) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let (year, month, day, second) = civil(at);
    let days = at.duration_since(UNIX_EPOCH).unwrap().as_secs() / 86_400;
    let (weekday, month) = (DAYS[(days % 7) as usize], MONTHS[month as usize - 1]);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT")
}
