//! The pages below a path of a proxy's.

use axum::http::StatusCode;
use opencode_impostor::Step;

use super::multipart_form::FileForm;
use super::site::{Page, Seen, Site};

const HTML: &str = "text/html,*/*;q=0.8";

/// The addresses of this site that HTML names.
fn addresses(html: &str) -> Vec<String> {
    let attributes = ["href", "src", "action", "formaction", "data-events"];
    let mut found = Vec::new();
    for attribute in attributes {
        for rest in html.split(&format!(" {attribute}=\"")).skip(1) {
            let address = rest.split('"').next().unwrap_or_default();
            if address.starts_with('/') {
                found.push(address.to_owned());
            }
        }
    }
    found
}

#[track_caller]
fn all_below(html: &str) -> Vec<String> {
    let found = addresses(html);
    for address in &found {
        assert!(address.starts_with("/chat/"), "{address}");
    }
    found
}

async fn all_there(site: &Site, page: &Page) {
    assert_eq!(page.status, StatusCode::OK);
    let found = all_below(&page.text);
    assert!(!found.is_empty());
    for address in found {
        // Forms are posted, streams go on.
        let is_page = !address.contains("/turns") && address != "/chat/conversations";
        if is_page {
            let there = site.get(&address).await.status;
            assert_eq!(there, StatusCode::OK, "{address}");
        }
    }
}

#[tokio::test]
async fn every_address_begins_with_the_path() {
    let site = Site::new([
        Step::question("Which?", ["This"]),
        Step::text("Half"),
        Step::gate("hold"),
    ])
    .await
    .below("/chat");
    all_there(&site, &site.get("/chat/").await).await;
    all_there(&site, &site.get("/chat").await).await;
    let form = FileForm::new("hi", "k").file("notes.txt", "text/plain", "some words");
    let begun = site
        .request(form.request("/chat/conversations", HTML))
        .await;
    assert_eq!(begun.status, StatusCode::SEE_OTHER);
    let path = begun.header("location").to_owned();
    assert!(path.starts_with("/chat/conversations/"), "{path}");
    let conversation = path.rsplit('/').next().unwrap().parse().unwrap();
    let turn = site.answer(conversation).await.turn;
    let mut watch = site.watch(turn, None).await;
    let asked = watch.until("Which?").await;
    let html: String = asked.iter().map(Seen::html).collect();
    assert!(
        all_below(&html)
            .iter()
            .any(|address| address.ends_with("/reject")),
        "{html}"
    );
    all_there(&site, &site.get(&path).await).await;

    // A proxy may take the path off.
    let bare = path.strip_prefix("/chat").unwrap();
    let page = site.get(bare).await;
    all_there(&site, &page).await;
    let file = addresses(&page.text)
        .into_iter()
        .find(|address| address.contains("/files/"));
    let preview = site.get(&format!("{}?preview", file.unwrap())).await;
    all_there(&site, &preview).await;

    let stopped = site.post(&format!("/chat/turns/{turn}/cancel"), &[]).await;
    assert_eq!(stopped.header("location"), format!("{path}#end"));
    let events = watch.until_done().await;
    all_below(&events.last().unwrap().html());
    let (_, patches) = site
        .send(
            &format!("{path}/turns"),
            &[("prompt", "more"), ("key", "b")],
        )
        .await;
    all_below(&patches.to_string().replace("\\\"", "\""));
    let problem = site.get("/chat/nowhere").await;
    assert_eq!(problem.status, StatusCode::NOT_FOUND);
    all_below(&problem.text);
    let problem = site.post("/chat/conversations", &[("prompt", " ")]).await;
    assert!(all_below(&problem.text).contains(&"/chat/conversations".to_owned()));
    let (_, patches) = site
        .send("/chat/conversations", &[("prompt", "hi"), ("key", "c")])
        .await;
    assert!(
        patches[0][1]
            .as_str()
            .unwrap()
            .starts_with("/chat/conversations/")
    );
    all_there(&site, &site.get(&format!("{path}/delete")).await).await;
    let deleted = site.post(&format!("{path}/delete"), &[]).await;
    assert_eq!(deleted.header("location"), "/chat/");
    assert_eq!(site.get("/chat/health").await.status, StatusCode::OK);
    assert_eq!(site.get("/health").await.status, StatusCode::OK);
    assert_eq!(site.get("/chatter").await.status, StatusCode::NOT_FOUND);
}
