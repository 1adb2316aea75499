//! Files given out again: whole, in parts, shown, refused.

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use futures_util::StreamExt as _;
use opencode_host::blobs::Digest;
use opencode_host::id::ConversationId;
use opencode_host::store::{Attachment, AttachmentSource, Files};
use opencode_impostor::Step;

use super::multipart_form::FileForm;
use super::site::Site;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n<script>alert(1)</script>";
pub(super) const SAVED: &str = "default-src 'none'; sandbox";

/// A site with a conversation, whose prompt brought these files.
async fn with(files: &[(&str, &str, &[u8])]) -> (Site, ConversationId, Vec<Attachment>) {
    let site = Site::new([Step::text("Yes.")]).await;
    let form = files
        .iter()
        .fold(FileForm::new("look", "k"), |form, (name, kind, content)| {
            form.file(name, kind, content)
        });
    let page = site
        .request(form.request("/conversations", "text/html"))
        .await;
    let conversation = page.conversation();
    site.ended(conversation).await;
    let files = site
        .host
        .store()
        .newest_attachments(conversation, 100)
        .await
        .unwrap();
    (site, conversation, files.into_iter().rev().collect())
}

pub(super) fn path(file: &Attachment) -> String {
    format!("/conversations/{}/files/{}/x", file.conversation, file.id)
}

pub(super) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    /// `None` for a body that did not end well.
    body: Option<Vec<u8>>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

pub(super) async fn ask(
    site: &Site,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = site.respond(request.body(Body::empty()).unwrap()).await;
    let (parts, body) = response.into_parts();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: to_bytes(body, usize::MAX)
            .await
            .ok()
            .map(|bytes| bytes.to_vec()),
    }
}

pub(super) async fn get(site: &Site, path: &str, headers: &[(&str, &str)]) -> Answer {
    ask(site, Method::GET, path, headers).await
}

#[tokio::test]
async fn a_file_is_saved_and_nothing_else() {
    let (site, _, files) =
        with(&[("Übersicht.html", "text/html", b"<script>alert(1)</script>")]).await;
    let answer = get(&site, &path(&files[0]), &[]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.body.as_deref(),
        Some(&b"<script>alert(1)</script>"[..])
    );
    let tag = format!("\"{}\"", files[0].digest);
    for (name, value) in [
        ("content-type", "application/octet-stream"),
        (
            "content-disposition",
            "attachment; filename=\"_bersicht.html\"; filename*=UTF-8''%C3%9Cbersicht.html",
        ),
        ("content-length", "25"),
        ("accept-ranges", "bytes"),
        ("etag", &tag),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", SAVED),
        ("cache-control", "private, max-age=31536000, immutable"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
}

#[tokio::test]
async fn parts_looks_and_what_is_known_already() {
    let (site, _, files) = with(&[
        ("a.txt", "text/plain", b"0123456789"),
        ("empty", "text/plain", b""),
    ])
    .await;
    let (path, tag) = (path(&files[0]), format!("\"{}\"", files[0].digest));
    for (headers, status, range, body) in [
        (vec![], 200, "", "0123456789"),
        (vec![("range", "bytes=2-4")], 206, "bytes 2-4/10", "234"),
        (vec![("range", "bytes=-3")], 206, "bytes 7-9/10", "789"),
        (vec![("range", "bytes=8-")], 206, "bytes 8-9/10", "89"),
        (
            vec![("range", "bytes=0-99")],
            206,
            "bytes 0-9/10",
            "0123456789",
        ),
        (vec![("range", "bytes=10-")], 416, "bytes */10", ""),
        (vec![("range", "bytes=0-1,3-4")], 200, "", "0123456789"),
        (
            vec![("range", "bytes=2-4"), ("if-range", tag.as_str())],
            206,
            "bytes 2-4/10",
            "234",
        ),
        (
            vec![("range", "bytes=2-4"), ("if-range", "\"old\"")],
            200,
            "",
            "0123456789",
        ),
        (vec![("if-none-match", tag.as_str())], 304, "", ""),
    ] {
        let answer = get(&site, &path, &headers).await;
        let text = String::from_utf8(answer.body.clone().unwrap()).unwrap();
        assert_eq!(answer.status.as_u16(), status, "{headers:?}");
        assert_eq!(
            (answer.header("content-range"), text.as_str()),
            (range, body),
            "{headers:?}"
        );
        assert_eq!(answer.header("etag"), tag, "{headers:?}");
        if status != 304 && status != 416 {
            assert_eq!(
                answer.header("content-length"),
                body.len().to_string(),
                "{headers:?}"
            );
        }
    }
    for headers in [vec![], vec![("range", "bytes=2-4")]] {
        let answer = ask(&site, Method::HEAD, &path, &headers).await;
        assert_eq!(
            (answer.status, answer.header("content-length")),
            (StatusCode::OK, "10")
        );
        assert_eq!(answer.body.as_deref(), Some(&b""[..]));
    }
    let empty = get(&site, &self::path(&files[1]), &[]).await;
    assert_eq!(
        (empty.status, empty.header("content-length")),
        (StatusCode::OK, "0")
    );
    assert_eq!(
        get(&site, &self::path(&files[1]), &[("range", "bytes=0-")])
            .await
            .status,
        416
    );
}

#[tokio::test]
async fn only_what_is_what_it_says_is_shown() {
    let (site, conversation, files) = with(&[
        ("true.png", "image/png", PNG),
        (
            "lie.png",
            "image/png",
            b"<!doctype html><script>alert(1)</script>",
        ),
        ("lie.jpg", "image/jpeg", PNG),
        (
            "drawing.svg",
            "image/svg+xml",
            b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        ),
        ("page.html", "text/html", b"<script>alert(1)</script>"),
        ("true.pdf", "application/pdf", b"%PDF-1.7\n"),
        ("lie.pdf", "application/pdf", b"<script>alert(1)</script>"),
        ("code.js", "text/javascript", b"alert(1)"),
    ])
    .await;
    for (file, kind, disposition) in [
        (0, "image/png", "inline"),
        (1, "image/png", "attachment"),
        (2, "image/jpeg", "attachment"),
        (3, "application/octet-stream", "attachment"),
        (4, "application/octet-stream", "attachment"),
        (5, "application/pdf", "inline"),
        (6, "application/pdf", "attachment"),
        (7, "application/octet-stream", "attachment"),
    ] {
        let answer = get(&site, &format!("{}?inline", path(&files[file])), &[]).await;
        let name = &files[file].name;
        assert_eq!(answer.header("content-type"), kind, "{name}");
        assert!(
            answer
                .header("content-disposition")
                .starts_with(disposition),
            "{name}"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        let policy = answer.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'") && !policy.contains("script"),
            "{policy}"
        );
        assert!(disposition == "inline" || policy == SAVED, "{policy}");
    }
    let page = site.page(conversation).await;
    page.shows(&[
        "true.png?inline\" alt=\"true.png\"",
        "This is not a PNG",
        "This is not a JPG",
        "<iframe class=\"pdf\"",
        "This is not a PDF",
    ]);
    assert_eq!(page.text.matches("<img").count(), 1);
    assert_eq!(page.text.matches("<iframe").count(), 1);
}

#[tokio::test]
async fn texts_show_their_beginning_and_are_escaped() {
    let long = "ü".repeat(400);
    let (site, conversation, files) = with(&[
        ("<b>.html", "text/html", b"</pre><script>alert(1)</script>"),
        ("long.txt", "text/plain", long.as_bytes()),
        ("data.bin", "application/x-thing", b"\0\x01\x02"),
    ])
    .await;
    let preview = |at: usize| format!("{}?preview", path(&files[at]));
    let page = site.get(&preview(0)).await;
    assert_eq!(page.status, StatusCode::OK);
    page.shows(&[
        "<title>&#60;b&#62;.html · ",
        "<h1>&#60;b&#62;.html</h1>",
        "&#60;/pre&#62;&#60;script&#62;alert(1)&#60;/script&#62;</pre>",
        &format!("href=\"/conversations/{conversation}#f-{}\"", files[0].id),
    ]);
    page.lacks("<script>");
    let mut request = Request::get(preview(1));
    request = request.header("accept", "application/json");
    let page = site.request(request.body(Body::empty()).unwrap()).await;
    let patches: serde_json::Value = serde_json::from_str(&page.text).unwrap();
    assert_eq!(patches[0][1], format!("f-{}-text", files[1].id));
    assert!(patches[0][2].as_str().unwrap().contains(&long));
    let page = site.get(&preview(2)).await;
    assert_eq!(page.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    page.shows(&["There is no text to show"]);
}

#[tokio::test]
async fn a_file_is_of_one_conversation() {
    let (site, _, files) = with(&[("a.txt", "text/plain", b"x")]).await;
    let (other, _) = site.begin("another").await;
    let (file, unknown) = (files[0].id, uuid::Uuid::new_v4());
    let mine = files[0].conversation;
    for path in [
        format!("/conversations/{other}/files/{file}/a.txt"),
        format!("/conversations/{unknown}/files/{file}/a.txt"),
        format!("/conversations/{mine}/files/{unknown}/a.txt"),
        format!("/conversations/{mine}/files/a.txt/a.txt"),
        format!("/conversations/{mine}/files/{file}/"),
        format!("/conversations/{mine}/files/{file}/..%2f..%2fetc%2fpasswd/x"),
    ] {
        for query in ["", "?inline", "?preview"] {
            let page = site.get(&format!("{path}{query}")).await;
            assert_eq!(page.status, StatusCode::NOT_FOUND, "{path}{query}");
        }
    }
    site.post(&format!("/conversations/{mine}/delete"), &[])
        .await;
    assert_eq!(
        site.get(&path(&files[0])).await.status,
        StatusCode::NOT_FOUND
    );
}

/// Where a blob is kept.
fn blob(site: &Site, digest: &Digest) -> std::path::PathBuf {
    let name = digest.to_string();
    site.folder
        .path()
        .join("blobs/sha256")
        .join(&name[..2])
        .join(name)
}

#[tokio::test]
async fn bytes_that_cannot_be_had_are_a_clear_word() {
    let large = vec![b'x'; 1000];
    let (site, conversation, files) = with(&[
        ("gone.txt", "text/plain", b"gone"),
        ("damaged.txt", "text/plain", b"damaged"),
        ("shorter.txt", "text/plain", &large),
        ("gone.png", "image/png", PNG),
    ])
    .await;
    std::fs::remove_file(blob(&site, &files[0].digest)).unwrap();
    std::fs::remove_file(blob(&site, &files[3].digest)).unwrap();
    std::fs::write(blob(&site, &files[1].digest), "DAMAGED").unwrap();
    std::fs::write(blob(&site, &files[2].digest), "x").unwrap();
    for (file, status, words) in [
        (0, StatusCode::NOT_FOUND, "content is gone"),
        (1, StatusCode::BAD_GATEWAY, "is damaged"),
        (2, StatusCode::BAD_GATEWAY, "is damaged"),
    ] {
        let page = site.get(&path(&files[file])).await;
        assert_eq!(page.status, status, "{file}");
        page.shows(&["<h1>", words, "<p>"]);
        assert_eq!(page.header("content-disposition"), "");
        assert!(
            page.header("content-security-policy")
                .contains("script-src 'self'")
        );
    }
    let head = ask(&site, Method::HEAD, &path(&files[2]), &[]).await;
    assert_eq!(head.status, StatusCode::BAD_GATEWAY);
    let part = get(&site, &path(&files[2]), &[("range", "bytes=0-0")]).await;
    assert_eq!(part.status, StatusCode::BAD_GATEWAY);
    // The page itself does not mind.
    site.page(conversation)
        .await
        .shows(&["gone.txt", "damaged.txt", "gone.png"]);
    // A file where the folder should be: nothing works there any more.
    let blobs = site.folder.path().join("blobs");
    std::fs::remove_dir_all(&blobs).unwrap();
    std::fs::write(&blobs, "").unwrap();
    let page = site.get(&path(&files[1])).await;
    assert!(
        page.status.is_server_error() || page.status == StatusCode::NOT_FOUND,
        "{}",
        page.status
    );
    site.page(conversation).await.shows(&["gone.txt"]);
}

#[tokio::test]
async fn damage_in_the_middle_ends_the_body_early() {
    let (site, _, files) = with(&[("a.bin", "application/x-thing", b"x")]).await;
    // Larger than a page may bring here, and than is read at once.
    let content = vec![7; 1 << 20];
    let blobs = site.host.blobs().unwrap();
    let kept = blobs.put_bytes(content.clone().into()).await.unwrap();
    let large = opencode_host::store::NewAttachment::new(
        opencode_host::id::AttachmentId::from_uuid(uuid::Uuid::new_v4()),
        files[0].message,
        "large.bin",
        kept.digest,
        kept.size,
        "application/x-thing",
        AttachmentSource::Tool,
    );
    let large = Files::attach(&*site.store, &large)
        .await
        .unwrap()
        .attachment;
    assert_eq!(
        get(&site, &path(&large), &[]).await.body,
        Some(content.clone())
    );
    let mut damaged = content;
    *damaged.last_mut().unwrap() = 8;
    std::fs::write(blob(&site, &kept.digest), damaged).unwrap();
    let response = site
        .respond(Request::get(path(&large)).body(Body::empty()).unwrap())
        .await;
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body().into_data_stream();
    let (mut came, mut failed) = (0, false);
    while let Some(chunk) = body.next().await {
        match chunk {
            Ok(chunk) => came += chunk.len(),
            Err(_) => failed = true,
        }
    }
    assert!(failed && came < 1 << 20, "{came}");
}

#[tokio::test]
async fn a_download_does_not_keep_an_application_from_stopping() {
    let (site, _, files) = with(&[("a.txt", "text/plain", b"x")]).await;
    site.shutdown.cancel();
    let answer = get(&site, &path(&files[0]), &[]).await;
    assert!(answer.body.is_none_or(|body| body == b"x"));
}
