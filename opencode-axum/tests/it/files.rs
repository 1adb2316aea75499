//! Files up, with a prompt, and down, whole and in part.

use axum::http::{Method, StatusCode};
use opencode_axum::multipart::MAX_PARTS;
use opencode_impostor::Script;
use serde_json::{Value, json};

use crate::site::{MAX_UPLOAD, Page, Site};

const BOUNDARY: &str = "----XyZ";

/// A form, part by part.
#[derive(Clone, Default)]
struct Form(Vec<u8>);

impl Form {
    fn asking(prompt: &str) -> Self {
        Self::default().part("name=\"turn\"", &json!({"prompt": prompt}).to_string())
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.part(&format!("name=\"files\"; filename=\"{name}\""), content)
    }

    fn part(mut self, disposition: &str, content: &str) -> Self {
        let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n");
        self.0.extend_from_slice(head.as_bytes());
        self.0.extend_from_slice(content.as_bytes());
        self.0.extend_from_slice(b"\r\n");
        self
    }

    fn end(mut self) -> Vec<u8> {
        self.0
            .extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        self.0
    }
}

async fn send(site: &Site, key: Option<&str>, form: Vec<u8>) -> Page {
    let path = format!("/conversations/{}/turns", site.conversation().await);
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    let asking = site
        .ask("acme", Method::POST, &path)
        .header("content-type", &kind);
    let asking = match key {
        Some(key) => asking.header("idempotency-key", key),
        None => asking,
    };
    asking.body(form).page().await
}

/// The files of the prompt of a turn.
async fn files(site: &Site, turn: &Value) -> Vec<Value> {
    let path = format!("/messages/{}", turn["user_message"].as_str().unwrap());
    let message = site.get(&path).await.ok();
    message["files"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_file_goes_up_with_a_prompt_and_comes_down_in_parts() {
    let site = Site::without_worker(Script::new()).await;
    let form = Form::asking("Read it")
        .file("notes ü.txt", "0123456789")
        .end();
    let turn = send(&site, None, form).await.ok();
    let files = files(&site, &turn).await;
    assert_eq!(files.len(), 1);
    let file = &files[0];
    assert_eq!(
        (
            &file["name"],
            &file["size"],
            &file["media_type"],
            &file["source"]
        ),
        (
            &json!("notes ü.txt"),
            &json!(10),
            &json!("text/plain"),
            &json!("upload")
        )
    );
    let path = format!("/files/{}", file["id"].as_str().unwrap());
    let whole = site.get(&path).await;
    assert_eq!(
        (whole.status, whole.body.as_slice()),
        (StatusCode::OK, &b"0123456789"[..])
    );
    assert_eq!(whole.header("content-length"), "10");
    assert_eq!(
        whole.header("content-security-policy"),
        "default-src 'none'; sandbox"
    );
    assert_eq!(whole.header("x-content-type-options"), "nosniff");
    assert!(
        whole
            .header("content-disposition")
            .starts_with("attachment; ")
    );
    let tag = whole.header("etag").to_owned();
    let get = async |headers: &[(&str, &str)]| {
        let asking = site.ask("acme", Method::GET, &path);
        let asking = headers
            .iter()
            .fold(asking, |asking, (name, value)| asking.header(name, value));
        asking.page().await
    };
    let part = get(&[("range", "bytes=2-4"), ("if-range", &tag)]).await;
    assert_eq!(
        (part.status, part.body.as_slice()),
        (StatusCode::PARTIAL_CONTENT, &b"234"[..])
    );
    assert_eq!(part.header("content-range"), "bytes 2-4/10");
    let known = get(&[("if-none-match", &tag)]).await;
    assert_eq!(
        (known.status, known.body.len()),
        (StatusCode::NOT_MODIFIED, 0)
    );
    let outside = get(&[("range", "bytes=10-")]).await;
    assert_eq!(outside.status, StatusCode::RANGE_NOT_SATISFIABLE);
    let head = site.ask("acme", Method::HEAD, &path).page().await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    assert_eq!(head.header("content-length"), "10");
}

#[tokio::test]
async fn a_key_fits_the_same_files_only() {
    let site = Site::without_worker(Script::new()).await;
    let one = Form::asking("Read it").file("a.txt", "alpha");
    let first = send(&site, Some("k"), one.clone().end()).await;
    assert_eq!(first.status, StatusCode::CREATED);
    let again = send(&site, Some("k"), one.clone().end()).await;
    assert_eq!((again.status, again.json()), (StatusCode::OK, first.json()));
    for other in [
        one.file("b.txt", "beta"),
        Form::asking("Read it").file("a.txt", "other"),
        Form::asking("Read it").file("b.txt", "alpha"),
        Form::asking("Read it"),
        Form::asking("Read that").file("a.txt", "alpha"),
    ] {
        let page = send(&site, Some("k"), other.end()).await;
        page.is_problem(StatusCode::CONFLICT, "key_reused");
    }
    assert_eq!(files(&site, &first.json()).await.len(), 1);

    // One that the model is shown too.
    let shown = Form::asking("Read it").file("a.pdf", "%PDF-1.4\n");
    let first = send(&site, Some("shown"), shown.clone().end()).await;
    let again = send(&site, Some("shown"), shown.end()).await;
    assert_eq!((again.status, again.json()), (StatusCode::OK, first.json()));
}

#[tokio::test]
async fn files_that_are_too_much_are_refused_and_nothing_is_asked() {
    let site = Site::without_worker(Script::new()).await;
    let much = "x".repeat(MAX_UPLOAD as usize);
    let three = Form::asking("x")
        .file("a", &much)
        .file("b", &much)
        .file("c", "1");
    let mut many = Form::asking("x");
    for number in 0..51 {
        many = many.file(&number.to_string(), "x");
    }
    let mut fields = Form::asking("x");
    for _ in 0..MAX_PARTS {
        fields = fields.file("", "");
    }
    let too_large = StatusCode::PAYLOAD_TOO_LARGE;
    let (bad, unprocessable) = (StatusCode::BAD_REQUEST, StatusCode::UNPROCESSABLE_ENTITY);
    for (form, status, code) in [
        (
            Form::asking("x").file("a", &(much.clone() + "x")).end(),
            too_large,
            "file_too_large",
        ),
        (three.end(), too_large, "quota_exceeded"),
        (many.end(), unprocessable, "too_many_files"),
        (fields.end(), too_large, "body_too_large"),
        (
            Form::asking(&"x".repeat(60_000)).end(),
            too_large,
            "body_too_large",
        ),
        (
            Form::asking(" ").file("a", "x").end(),
            unprocessable,
            "empty_prompt",
        ),
        (Form::default().file("a", "x").end(), bad, "bad_form"),
        (
            Form::default().part("name=\"other\"", "{}").end(),
            bad,
            "bad_form",
        ),
        (
            Form::asking("x")
                .file("a", "x")
                .part("name=\"turn\"", "{}")
                .end(),
            bad,
            "bad_form",
        ),
        (
            Form::default().part("name=\"turn\"", "{").end(),
            bad,
            "bad_json",
        ),
        (
            Form::default().part("name=\"turn\"", "{}").end(),
            unprocessable,
            "bad_body",
        ),
        (Form::asking("x").file("a", "x").0, bad, "cut_off"),
        (Vec::new(), bad, "cut_off"),
    ] {
        send(&site, None, form).await.is_problem(status, code);
    }
    let path = format!("/conversations/{}", site.conversation().await);
    assert_eq!(
        site.get(&format!("{path}/turns")).await.ok(),
        json!({"turns": []})
    );
    let turns = site.ask("acme", Method::POST, &format!("{path}/turns"));
    let unbounded = turns
        .header("content-type", "multipart/form-data")
        .page()
        .await;
    unbounded.is_problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong_content_type");
}
