//! What an agent made, as cards; what a transform made of it, in a frame.

use opencode_host::id::ConversationId;
use opencode_host::store::{AttachmentSource, MessageRole};
use opencode_impostor::{Step, Tool, attachment};
use serde_json::json;

use super::downloading::{SAVED, get, path};
use super::multipart_form::FileForm;
use super::site::{Page, Site};

fn answer_files(page: &Page) -> String {
    page.between("aria-label=\"Files of this answer\"", "</article>")
}

#[tokio::test]
async fn what_the_agent_made_shows_with_the_end_of_the_stream_and_after_a_reload() {
    let chart = r#"{"title": "Sales", "labels": ["Q1"], "series": [{"values": [3]}]}"#;
    let site = Site::new([
        Step::write_file("report.md", "# Report\n"),
        Step::write_file("chart.html", "<h1>FORGED</h1>"),
        Step::write_file("chart.json", chart),
        Step::text("Done."),
    ])
    .await;
    let (conversation, turn) = site.begin("go").await;
    let events = site.watch(turn, None).await.until_done().await;
    let html = events.last().unwrap().html();
    assert!(
        html.contains("report.md") && html.contains("<iframe class=\"made\""),
        "{html}"
    );
    let page = site.page(conversation).await;
    assert!(page.text.contains(&html), "a reload shows the same");
    let shown = answer_files(&page);
    assert_eq!(shown.matches("<li class=\"file\"").count(), 3, "{shown}");
    assert!(
        shown.contains(" sandbox loading=\"lazy\"></iframe>"),
        "{shown}"
    );

    let files = site
        .host
        .store()
        .newest_attachments(conversation, 100)
        .await
        .unwrap();
    let made: Vec<_> = files
        .iter()
        .filter(|file| file.name == "chart.html")
        .collect();
    assert_eq!(made.len(), 1);
    assert_eq!(made[0].source, AttachmentSource::Transform);
    let frame = site.get(&format!("{}?inline", path(made[0]))).await;
    frame.shows(&["<h1>Sales</h1>", "<svg"]);
    frame.lacks("FORGED");
    assert_eq!(frame.header("content-type"), "text/html; charset=utf-8");
    assert!(frame.header("content-disposition").starts_with("inline"));
    let policy = frame.header("content-security-policy");
    for rule in [
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        "img-src data:",
        "sandbox",
    ] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(
        !policy.contains("allow-") && !policy.contains("script-src") && !policy.contains("connect"),
        "{policy}"
    );
    // Asked for to be saved, it is.
    let saved = get(&site, &path(made[0]), &[]).await;
    assert!(
        saved
            .header("content-disposition")
            .starts_with("attachment")
    );
    assert_eq!(saved.header("content-security-policy"), SAVED);
}

#[tokio::test]
async fn a_file_of_the_charts_name_is_shown_to_nobody_as_a_page() {
    // A person's own file of that name, and an agent's without a chart behind it.
    let site = Site::new([Step::write_file("chart.html", "<script>alert(1)</script>")]).await;
    let form =
        FileForm::new("go", "k").file("chart.html", "text/html", "<script>alert(1)</script>");
    let page = site
        .request(form.request("/conversations", "text/html"))
        .await;
    let conversation: ConversationId = page.conversation();
    site.ended(conversation).await;
    site.page(conversation).await.lacks("<iframe");
    for message in site.messages(conversation).await {
        for file in site.host.store().attachments(message.id).await.unwrap() {
            assert_eq!(message.role, MessageRole::User, "the agent's was kept out");
            let answer = get(&site, &format!("{}?inline", path(&file)), &[]).await;
            assert!(
                answer
                    .header("content-disposition")
                    .starts_with("attachment")
            );
        }
    }
}

/// A PNG of one pixel.
const PIXEL: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

#[tokio::test]
async fn pictures_of_tools_are_shown_and_other_files_named() {
    let read = Tool {
        tool: "read".to_owned(),
        input: json!({"filePath": "/x/shot.png"}),
        output: "Image read successfully".to_owned(),
        attachments: vec![
            attachment("image/png", "shot.png", PIXEL),
            attachment(
                "image/svg+xml",
                "evil.svg",
                "PHN2ZyBvbmxvYWQ9ImFsZXJ0KDEpIi8+",
            ),
            attachment("text/html", "<b>.html", "PGI+"),
            json!({"type": "file", "mime": "image/png", "filename": "far.png", "url": "https://example.org/p.png"}),
        ],
        ..Tool::default()
    };
    let site = Site::new([Step::Tool(read), Step::text("Seen.")]).await;
    let (conversation, turn) = site.begin("go").await;
    let events = site.watch(turn, None).await.until_done().await;
    let html = events.last().unwrap().html();
    let page = site.page(conversation).await;
    for shown in [&html, &page.text] {
        let picture = format!("<img src=\"data:image/png;base64,{PIXEL}\"");
        assert!(shown.contains(&picture), "{shown}");
        assert_eq!(shown.matches("src=\"data:").count(), 1, "{shown}");
        for words in [
            "shot.png (image/png, ",
            "evil.svg (image/svg+xml, ",
            "far.png (image/png, not kept here)",
        ] {
            assert!(shown.contains(words), "{words}: {shown}");
        }
        assert!(
            !shown.contains("example.org") && !shown.contains("<b>.html"),
            "{shown}"
        );
    }
    let policy = page.header("content-security-policy");
    assert!(policy.contains("img-src 'self' data:;"), "{policy}");
}
