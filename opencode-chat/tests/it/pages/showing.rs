//! What the pages show, and how they are served.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use opencode_impostor::{Impostor, Step};
use serde_json::json;

use super::site::Site;

#[tokio::test]
async fn the_first_page_invites() {
    let site = Site::standard().await;
    let page = site.get("/").await;
    assert_eq!(page.status, StatusCode::OK);
    page.shows(&[
        "<title>OpenCode Chat</title>",
        "What shall we work on?",
        "action=\"/conversations\"",
        "name=\"prompt\"",
    ]);
    page.lacks("opencode-ai");
}

#[tokio::test]
async fn a_stand_in_is_told_of_on_every_page() {
    let site = Site::standard().await.with_stand_in();
    let (conversation, _) = site.begin("hello").await;
    for page in [site.get("/").await, site.page(conversation).await] {
        page.shows(&[
            "Nothing it says comes from a model",
            "npm install -g opencode-ai",
            "opencode auth login",
        ]);
    }
}

#[tokio::test]
async fn sub_agents_that_ask_for_nothing_are_told_of_on_every_page() {
    let site = Site::standard().await;
    site.get("/").await.lacks("Sub-agents ask for nothing");
    let site = site.unasked();
    let (conversation, _) = site.begin("hello").await;
    for page in [site.get("/").await, site.page(conversation).await] {
        page.shows(&["Sub-agents ask for nothing", "--allow-unasked-subagents"]);
    }
}

#[tokio::test]
async fn a_conversation_is_listed_titled_and_shown() {
    let site = Site::new([
        Step::reasoning("Let me think."),
        Step::text("The *answer* is `42`."),
    ])
    .await;
    let (conversation, _) = site.begin("What is <the> answer?").await;
    site.ended(conversation).await;
    let page = site.page(conversation).await;
    page.shows(&[
        "<title>What is &#60;the&#62; answer? · OpenCode Chat</title>",
        &format!("<a href=\"/conversations/{conversation}\" aria-current=\"page\" title=\"What is &#60;the&#62; answer?\"><span class=\"name\">What is &#60;the&#62; answer?</span>"),
        "class=\"words\" dir=\"auto\">What is &#60;the&#62; answer?</div>",
        "<details class=\"reasoning\">",
        "Let me think.",
        "<p>The <em>answer</em> is <code>42</code>.</p>",
        "<footer class=\"usage\">$0.00009 · 50 tokens in · 20 out</footer>",
    ]);
    page.lacks("aria-busy");
    site.get("/")
        .await
        .shows(&["What is &#60;the&#62; answer?"]);
}

#[tokio::test]
async fn tools_are_rows_with_their_work_folded_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let site = Site::new([
        Step::tool(
            "read",
            json!({"filePath": "/workspace/notes.md"}),
            "alpha <b>",
        ),
        Step::edit(path("a.txt"), "old\n", "new\n"),
        Step::tool(
            "bash",
            json!({"command": "ls -la", "description": "List"}),
            "total 0\n",
        ),
        Step::tool_error(
            "read",
            json!({"filePath": "/gone.txt"}),
            "File not found: /gone.txt",
        ),
        Step::todos([("Plan it", "completed"), ("Do it", "in_progress")]),
        Step::tool("nosuch_tool", json!({}), ""),
        Step::text("Done."),
    ])
    .await;
    let (conversation, _) = site.begin("work").await;
    site.ended(conversation).await;
    site.page(conversation).await.shows(&[
        "#i-document\"/>",
        "<span class=\"verb\">Read</span>",
        "<code class=\"target\">/workspace/notes.md</code>",
        "alpha &#60;b&#62;",
        "<span class=\"verb\">Edited</span>",
        "+1 −1",
        "<pre class=\"diff\"",
        "class=\"removed\">-old",
        "class=\"added\">+new",
        "<span class=\"verb\">Ran</span>",
        "<code class=\"target\">ls -la</code>",
        "Output",
        "total 0",
        "tool failed",
        "<p class=\"said\">File not found: /gone.txt</p>",
        "<ul class=\"todos\">",
        "class=\"under-way\"",
        "Do it",
        "class=\"completed\"",
        "Plan it",
        "nosuch_tool",
        "<p>Done.</p>",
    ]);
}

#[tokio::test]
async fn hostile_html_never_becomes_html() {
    let site = Site::on(Impostor::tape("hostile-html").await.unwrap());
    let (conversation, turn) = site.begin("render [[html]]").await;
    let streamed: String = site
        .watch(turn, None)
        .await
        .until_done()
        .await
        .iter()
        .map(super::site::Seen::html)
        .collect();
    let page = site.page(conversation).await;
    for html in [streamed, page.between("id=\"messages\"", "id=\"offline\"")] {
        assert!(
            html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"),
            "{html}"
        );
        for tag in ["<script", "<img", "<b>", "href=\"javascript"] {
            assert!(!html.contains(tag), "{tag} in {html}");
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_told() {
    let site = Site::standard().await;
    let unknown = uuid::Uuid::new_v4();
    for path in [
        "/nowhere".to_owned(),
        "/assets/app-0.js".to_owned(),
        "/conversations/1".to_owned(),
        format!("/conversations/{unknown}"),
        format!("/conversations/{unknown}/delete"),
        format!("/turns/{unknown}/events"),
    ] {
        let page = site.get(&path).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{path}");
        page.shows(&["<h1>Not found</h1>", "href=\"/\""]);
    }
    let (status, answer) = site.send(&format!("/turns/{unknown}/cancel"), &[]).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(answer["error"].as_str().unwrap().starts_with("Not found."));
    let page = site.get("/conversations").await;
    assert_eq!(
        (page.status, page.header("allow")),
        (StatusCode::METHOD_NOT_ALLOWED, "POST")
    );
    page.shows(&["takes forms only"]);
}

#[tokio::test]
async fn a_look_at_the_headers_is_enough() {
    let site = Site::standard().await;
    let head = |path: &str| {
        Request::builder()
            .method(Method::HEAD)
            .uri(path)
            .body(Body::empty())
            .unwrap()
    };
    for path in ["/", "/health"] {
        let page = site.request(head(path)).await;
        assert_eq!(
            (page.status, page.text.as_str()),
            (StatusCode::OK, ""),
            "{path}"
        );
    }
}

#[tokio::test]
async fn files_are_kept_by_browsers_and_change_their_address() {
    let site = Site::standard().await;
    let home = site.get("/").await;
    for (before, kind) in [
        ("<link rel=\"stylesheet\" href=\"", "text/css"),
        ("<script type=\"module\" src=\"", "text/javascript"),
    ] {
        let path = home.between(before, "\"");
        let file = site.get(&path).await;
        assert_eq!(file.status, StatusCode::OK, "{path}");
        assert!(file.header("content-type").starts_with(kind));
        assert!(file.header("cache-control").contains("immutable"));
        assert_eq!(
            site.get(&path.replace("app-", "app-0")).await.status,
            StatusCode::NOT_FOUND
        );
    }
}

#[tokio::test]
async fn health_is_json() {
    let site = Site::standard().await;
    let page = site.get("/health").await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (StatusCode::OK, "application/json")
    );
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&page.text).unwrap()["status"],
        "ok"
    );
}

#[tokio::test]
async fn a_long_conversation_shows_its_end_first() {
    let site = Site::new([Step::text("Yes.")]).await;
    let (conversation, _) = site.begin("prompt 0").await;
    site.ended(conversation).await;
    for number in 1..=60 {
        let path = format!("/conversations/{conversation}/turns");
        site.post(&path, &[("prompt", &format!("prompt {number}"))])
            .await;
    }
    site.ended(conversation).await;
    let page = site.page(conversation).await;
    page.shows(&[
        "Show 22 earlier messages",
        "class=\"words\" dir=\"auto\">prompt 11<",
        "class=\"words\" dir=\"auto\">prompt 60<",
    ]);
    page.lacks("class=\"words\" dir=\"auto\">prompt 10<");
    // What was read stays in sight: the first message that was there is gone to.
    let first = page.between("<article class=\"message prompt\" id=\"", "\"");
    page.shows(&[&format!("href=\"?all=1#{first}\"")]);
    let all = site
        .get(&format!("/conversations/{conversation}?all=1"))
        .await;
    all.shows(&[
        "class=\"words\" dir=\"auto\">prompt 0<",
        "class=\"words\" dir=\"auto\">prompt 60<",
    ]);
}

#[tokio::test]
async fn a_conversation_is_deleted_after_a_question() {
    let site = Site::new([Step::text("Some words"), Step::gate("hold")]).await;
    let (conversation, turn) = site.begin("delete me").await;
    site.watch(turn, None).await.until("Some words").await;
    let path = format!("/conversations/{conversation}/delete");
    site.get(&path).await.shows(&[
        "Delete this conversation for good?",
        "delete me",
        &format!("action=\"{path}\""),
    ]);
    let page = site.post(&path, &[]).await;
    assert_eq!(
        (page.status, page.header("location")),
        (StatusCode::SEE_OTHER, "/")
    );
    assert_eq!(
        site.get(&format!("/conversations/{conversation}"))
            .await
            .status,
        StatusCode::NOT_FOUND
    );
    site.get("/").await.lacks("delete me");
    site.impostor
        .wait_for(|ledger| ledger.busy().is_empty())
        .await
        .unwrap();
    site.stop().await;
}

#[tokio::test]
async fn of_a_long_answer_the_beginning_is_shown_and_all_is_at_hand() {
    let middle = std::iter::repeat_n("lorem ipsum ".repeat(5_000), 30);
    let chunks = std::iter::once("begin ".to_owned()).chain(middle);
    let chunks: Vec<_> = chunks.chain(["end".to_owned()]).collect();
    let text = chunks.concat();
    let site = Site::new([Step::chunks(chunks)]).await;
    let (conversation, _) = site.begin("go").await;
    site.ended(conversation).await;
    let page = site.page(conversation).await;
    page.shows(&["begin lorem", "This answer is long"]);
    assert!(page.text.len() < 700 << 10, "{} bytes", page.text.len());
    let address = page.between("shown. <a href=\"", "\"");
    let whole = site.get(&address).await;
    assert_eq!(whole.text, text);
    assert!(
        whole
            .header("content-disposition")
            .starts_with("attachment")
    );
    assert_eq!(whole.header("content-type"), "text/plain; charset=utf-8");
    // Not by way of another conversation.
    let (other, _) = site.begin("other").await;
    if other != conversation {
        let address = address.replace(&conversation.to_string(), &other.to_string());
        assert_eq!(site.get(&address).await.status, StatusCode::NOT_FOUND);
    }
}
