//! Forms in any pieces, whole and broken.

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use futures_util::stream;
use proptest::prelude::*;
use tokio::io::AsyncReadExt as _;

use super::{MAX_HEAD, MAX_PARTS, Multipart, MultipartError, Part};

const FORM: &str = "preamble that nobody reads\r\n--XyZ\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\n\
    Hello\r\n--XyY\r\n\r\n--XyZ\t\r\ncontent-disposition: form-data; filename=\"a %22b%22.txt\"; name=files\r\n\
    Content-Type: text/plain\r\n\r\n\r\n--Xy\r\n--XyZ\r\nContent-Disposition: form-data; name=\"files\"; \
    filename=\"\"\r\n\r\n\r\n--XyZ--\r\nepilogue";

fn form(content_type: &str, chunks: Vec<Bytes>) -> Option<Multipart> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
    let chunks = chunks.into_iter().map(Ok::<_, std::io::Error>);
    let body = Body::from_stream(stream::iter(chunks));
    Multipart::new(&headers, body, u64::MAX)
}

async fn read(form: &mut Multipart) -> Result<Vec<(Part, String)>, MultipartError> {
    let mut parts = Vec::new();
    while let Some(part) = form.next_part().await? {
        let mut content = String::new();
        while let Some(chunk) = form.chunk().await? {
            content.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        parts.push((part, content));
    }
    Ok(parts)
}

fn parts_of(chunks: Vec<Bytes>) -> Result<Vec<(Part, String)>, MultipartError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut form = form("multipart/form-data; boundary=XyZ", chunks).unwrap();
    runtime.block_on(read(&mut form))
}

fn expected() -> Vec<(Part, String)> {
    let part = |name: &str, file_name: Option<&str>, content_type: Option<&str>| Part {
        name: name.to_owned(),
        file_name: file_name.map(str::to_owned),
        content_type: content_type.map(str::to_owned),
    };
    vec![
        (part("prompt", None, None), "Hello\r\n--XyY\r\n".to_owned()),
        (
            part("files", Some("a \"b\".txt"), Some("text/plain")),
            "\r\n--Xy".to_owned(),
        ),
        (part("files", Some(""), None), String::new()),
    ]
}

proptest! {
    #[test]
    fn any_chunks_are_the_same_form(cuts in prop::collection::vec(0..FORM.len(), 0..12)) {
        let mut cuts = cuts;
        cuts.extend([0, FORM.len()]);
        cuts.sort_unstable();
        let bytes = Bytes::from_static(FORM.as_bytes());
        let chunks = cuts.windows(2).map(|cut| bytes.slice(cut[0]..cut[1])).collect();
        prop_assert_eq!(parts_of(chunks).unwrap(), expected());
    }

    #[test]
    fn no_bytes_make_it_panic(chunks in prop::collection::vec("[\\r\\n\\-XyZa:;=\"\\\\]{0,40}", 0..8)) {
        let chunks = chunks.into_iter().map(Bytes::from).collect();
        let _ = parts_of(chunks);
    }
}

#[test]
fn a_form_that_is_cut_off_says_so() {
    let whole = FORM.find("--XyZ--").unwrap() + 2 + 5;
    for end in 0..whole {
        let cut = parts_of(vec![Bytes::from_static(&FORM.as_bytes()[..end])]);
        assert!(matches!(cut, Err(MultipartError::Cut)), "{end}: {cut:?}");
    }
}

#[test]
fn what_is_no_form_says_so() {
    for bad in [
        "--XyZ\r\nno header\r\n\r\nx\r\n--XyZ--",
        "--XyZ\r\nContent-Type: text/plain\r\n\r\nx\r\n--XyZ--",
        "--XyZ\r\nContent-Disposition: attachment; name=\"a\"\r\n\r\nx\r\n--XyZ--",
        "--XyZmore\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n--XyZ--",
    ] {
        let read = parts_of(vec![Bytes::from_static(bad.as_bytes())]);
        assert!(
            matches!(read, Err(MultipartError::Malformed(_))),
            "{bad}: {read:?}"
        );
    }
    let endless = format!("--XyZ\r\nContent-Disposition: {}", "x".repeat(MAX_HEAD));
    let read = parts_of(vec![endless.into()]);
    assert!(
        matches!(read, Err(MultipartError::Malformed(_))),
        "{read:?}"
    );
}

#[test]
fn only_its_own_type_is_a_form() {
    let long = format!("multipart/form-data; boundary={}", "b".repeat(71));
    for other in [
        "text/plain; boundary=XyZ",
        "multipart/mixed; boundary=XyZ",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        &long,
    ] {
        assert!(form(other, Vec::new()).is_none(), "{other}");
    }
    for own in [
        "Multipart/Form-Data; charset=utf-8; Boundary=\"XyZ\"",
        "multipart/form-data;boundary=XyZ; charset=utf-8",
    ] {
        assert!(form(own, Vec::new()).is_some(), "{own}");
    }
}

#[test]
fn names_come_through_as_browsers_and_other_programs_write_them() {
    for (written, name) in [
        ("filename=\"Übersicht; 2026.csv\"", "Übersicht; 2026.csv"),
        ("filename=\"say %22hi%22%0D%0A.txt\"", "say \"hi\"\r\n.txt"),
        ("filename=\"100%25.txt\"", "100%25.txt"),
        (r#"filename="say \"hi\".txt""#, "say \"hi\".txt"),
        (r#"filename="C:\temp\x.txt""#, r"C:\temp\x.txt"),
        ("filename=plain.txt", "plain.txt"),
        ("filename=\"never closed", "never closed"),
    ] {
        let body = format!(
            "--XyZ\r\nContent-Disposition: form-data; name=\"files\"; {written}\r\n\r\n\r\n--XyZ--"
        );
        let parts = parts_of(vec![body.into()]).unwrap();
        assert_eq!(parts[0].0.file_name.as_deref(), Some(name));
    }
}

#[tokio::test]
async fn a_part_can_be_read_as_a_file_or_passed_over() {
    let chunks = FORM.as_bytes().chunks(7).map(Bytes::from_static).collect();
    let mut form = form("multipart/form-data; boundary=XyZ", chunks).unwrap();
    form.next_part().await.unwrap();
    assert_eq!(form.next_part().await.unwrap().unwrap().name, "files");
    let mut content = String::new();
    form.content().read_to_string(&mut content).await.unwrap();
    assert_eq!(content, "\r\n--Xy");
    form.next_part().await.unwrap();
    assert_eq!(form.next_part().await.unwrap(), None);
    assert_eq!(form.next_part().await.unwrap(), None);
}

/// A form that goes on for ever, of which so many bytes may come.
fn endless(begin: &'static str, piece: &'static str, limit: u64) -> Multipart {
    let mut headers = HeaderMap::new();
    let kind = "multipart/form-data; boundary=XyZ".parse().unwrap();
    headers.insert(header::CONTENT_TYPE, kind);
    let pieces = std::iter::repeat_with(move || piece);
    let chunks = std::iter::once(begin).chain(pieces);
    let chunks = stream::iter(chunks.map(Ok::<_, std::io::Error>));
    Multipart::new(&headers, Body::from_stream(chunks), limit).unwrap()
}

#[tokio::test]
async fn a_form_has_so_many_parts_and_no_more() {
    let fields = "Content-Disposition: form-data; name=\"\"\r\n\r\n\r\n--XyZ\r\n";
    let files = "Content-Disposition: form-data; name=\"f\"; filename=\"\"\r\n\r\n\r\n--XyZ\r\n";
    for part in [fields, files] {
        let mut form = endless("--XyZ\r\n", part, u64::MAX);
        for _ in 0..MAX_PARTS {
            assert!(form.next_part().await.unwrap().is_some());
        }
        let error = form.next_part().await.unwrap_err();
        assert!(matches!(error, MultipartError::TooMuch), "{error}");
    }
}

#[tokio::test]
async fn a_form_has_so_many_bytes_and_no_more() {
    let head = "--XyZ\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n";
    for begin in ["", head, "--XyZ--\r\n"] {
        let mut form = endless(begin, "for ever", 100_000);
        if begin != "--XyZ--\r\n" {
            let error = form.next_part().await;
            let error = match error {
                Ok(_) => form.next_part().await.unwrap_err(),
                Err(error) => error,
            };
            assert!(matches!(error, MultipartError::TooMuch), "{error}");
        }
        form.pass_over().await;
    }
}
