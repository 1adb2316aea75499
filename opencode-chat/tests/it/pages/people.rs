//! Users: who signs in, who sees what, and who does not.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use futures_util::StreamExt as _;
use opencode_chat::people::{Accounts, NewUser, Role, User};
use opencode_client::wire::Prompt;
use opencode_host::NewSchedule;
use opencode_host::clock::{ManualClock, Timestamp};
use opencode_host::id::ConversationId;
use opencode_host::store::ConversationFilter;
use opencode_impostor::{Impostor, Script, Step};
use serde_json::{Value, json};

use super::site::{Page, Site, form};

const HTML: &str = "text/html,*/*;q=0.8";
const PASSWORD: &str = "correct horse";

/// Pages with accounts, and a clock that a test moves.
struct House {
    site: Site,
    accounts: Accounts,
    clock: Arc<ManualClock>,
}

impl House {
    async fn of(site: Site) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp(1_800_000_000_000)));
        let accounts = Accounts::with_clock("sqlite::memory:", clock.clone());
        let accounts = accounts.await.unwrap();
        Self {
            site: site.used_by(accounts.clone()),
            accounts,
            clock,
        }
    }

    async fn new() -> Self {
        let impostor = Impostor::scripted(Script::always([Step::text("Hi.")]));
        Self::of(Site::without_worker(impostor.await.unwrap())).await
    }

    async fn add(&self, name: &str) -> User {
        let new = NewUser {
            name: name.to_owned(),
            role: Role::User,
            may_run: false,
            takes_over: false,
        };
        self.accounts.add_user(&new, PASSWORD).await.unwrap()
    }

    /// The cookie of somebody who has just signed in.
    async fn session(&self, name: &str) -> String {
        let known = self.accounts.know(name, PASSWORD, "test").await.unwrap();
        let token = self.accounts.begin_session(&known).await.unwrap();
        format!("chat-session={token}")
    }

    async fn sign_in(&self, name: &str, password: &str) -> Page {
        let fields = [("name", name), ("password", password), ("next", "/")];
        self.site.post("/login", &fields).await
    }

    async fn ask(&self, mut request: Request<Body>, cookie: Option<&str>) -> Page {
        if let Some(cookie) = cookie {
            let cookie = HeaderValue::try_from(cookie).unwrap();
            request.headers_mut().insert(header::COOKIE, cookie);
        }
        self.site.request(request).await
    }

    async fn get(&self, path: &str, cookie: Option<&str>) -> Page {
        self.ask(Request::get(path).body(Body::empty()).unwrap(), cookie)
            .await
    }

    async fn post(&self, path: &str, fields: &[(&str, &str)], cookie: Option<&str>) -> Page {
        self.ask(form(path, fields, HTML), cookie).await
    }
}

/// The cookie that a page sets, and its attributes.
#[track_caller]
fn cookie_of(page: &Page) -> (String, String) {
    let set = page.header("set-cookie");
    let (cookie, attributes) = set.split_once("; ").unwrap_or_else(|| panic!("{page:?}"));
    (cookie.to_owned(), attributes.to_owned())
}

#[tokio::test]
async fn without_a_user_nobody_signs_in_and_with_the_first_everybody_does() {
    let house = House::new().await;
    assert_eq!(house.get("/", None).await.status, StatusCode::OK);
    for path in ["/login", "/password"] {
        assert_eq!(house.get(path, None).await.status, StatusCode::NOT_FOUND);
    }
    let anna = house.add("anna").await;
    let sent = house.get("/?shelf=archived", None).await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER);
    assert_eq!(sent.header("location"), "/login?next=/%3Fshelf%3Darchived");
    // Whoever takes the last user away does not open the pages.
    house.accounts.remove_user(&anna).await.unwrap();
    assert_eq!(house.get("/", None).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn somebody_signs_in_goes_on_and_signs_out() {
    let house = House::new().await;
    house.add("anna").await;
    let login = house.get("/login?next=/conversations/list", None).await;
    login.shows(&[
        "Sign in",
        "name=\"next\" value=\"/conversations/list\"",
        "name=\"password\"",
    ]);
    house
        .get("/login?next=//evil.example", None)
        .await
        .shows(&["name=\"next\" value=\"/\""]);

    for (name, password) in [
        ("anna", "correct house"),
        ("zoe", PASSWORD),
        ("", ""),
        ("<b>", "x"),
    ] {
        let wrong = house.sign_in(name, password).await;
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED, "{name}");
        wrong.shows(&["do not belong together"]);
        wrong.lacks("<b>");
        assert_eq!(wrong.header("set-cookie"), "");
    }

    let fields = [
        ("name", " Anna"),
        ("password", PASSWORD),
        ("next", "/?shelf=archived"),
    ];
    let signed = house.site.post("/login", &fields).await;
    assert_eq!(signed.status, StatusCode::SEE_OTHER);
    assert_eq!(signed.header("location"), "/?shelf=archived");
    let (cookie, attributes) = cookie_of(&signed);
    assert_eq!(
        attributes,
        "Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax"
    );
    let home = house.get("/", Some(&cookie)).await;
    home.shows(&[
        "<summary>anna</summary>",
        "Sign out",
        "It runs no commands.",
    ]);

    // A second login in the same browser ends the first session.
    let again = house
        .ask(form("/login", &fields, HTML), Some(&cookie))
        .await;
    let second = cookie_of(&again).0;
    assert_eq!(
        house.get("/", Some(&cookie)).await.status,
        StatusCode::SEE_OTHER
    );

    let out = house.post("/logout", &[], Some(&second)).await;
    assert_eq!(out.header("location"), "/login");
    assert!(cookie_of(&out).1.contains("Max-Age=0"), "{out:?}");
    assert_eq!(
        house.get("/", Some(&second)).await.status,
        StatusCode::SEE_OTHER
    );
}

#[tokio::test]
async fn a_cookie_is_for_https_alone_where_it_came_so_and_below_the_base_path() {
    let house =
        House::of(Site::without_worker(Impostor::start().await.unwrap()).below("/chat")).await;
    house.add("anna").await;
    let fields = [("name", "anna"), ("password", PASSWORD)];
    let mut request = form("/chat/login", &fields, HTML);
    let https = HeaderValue::from_static("https://localhost:3000");
    request.headers_mut().insert(header::ORIGIN, https);
    let signed = house.ask(request, None).await;
    assert_eq!(signed.header("location"), "/chat/");
    let attributes = cookie_of(&signed).1;
    assert_eq!(
        attributes,
        "Path=/chat; Max-Age=2592000; HttpOnly; SameSite=Lax; Secure"
    );
    let sent = house.get("/chat/conversations/x", None).await;
    assert_eq!(sent.header("location"), "/chat/login?next=/conversations/x");

    // Another site signs nobody in.
    let mut foreign = form("/chat/login", &fields, HTML);
    let evil = HeaderValue::from_static("https://evil.example");
    foreign.headers_mut().insert(header::ORIGIN, evil);
    let foreign = house.ask(foreign, None).await;
    assert_eq!(foreign.status, StatusCode::FORBIDDEN);
    assert_eq!(foreign.header("set-cookie"), "");
}

#[tokio::test]
async fn whoever_guesses_has_to_wait_also_with_many_guesses_at_once() {
    let house = House::new().await;
    house.add("anna").await;
    let guesses = (0..30).map(|_| house.sign_in("anna", "a wrong guess"));
    let guesses = futures_util::future::join_all(guesses).await;
    let looked_at = guesses
        .iter()
        .filter(|guess| guess.status == StatusCode::UNAUTHORIZED)
        .count();
    assert!((1..=6).contains(&looked_at), "{looked_at}");
    let refused = guesses.last().unwrap();
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    refused.shows(&["Too many attempts have failed. Wait"]);
    // Not even the right one is looked at meanwhile; then it is, and all is forgotten.
    let early = house.sign_in("anna", PASSWORD).await;
    assert_eq!(early.status, StatusCode::TOO_MANY_REQUESTS);
    house.clock.advance(Duration::from_secs(61));
    let late = house.sign_in("anna", PASSWORD).await;
    assert_eq!(late.status, StatusCode::SEE_OTHER);
    let wrong = house.sign_in("anna", "a wrong guess").await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);

    // Names that are tried through from one address have to wait too.
    let mut looked_at = 0;
    for name in 0..60 {
        let guess = house.sign_in(&format!("name{name}"), "a wrong guess").await;
        looked_at += usize::from(guess.status == StatusCode::UNAUTHORIZED);
    }
    assert!((10..=21).contains(&looked_at), "{looked_at}");
}

#[tokio::test]
async fn a_session_ends_when_it_is_not_used_and_not_before() {
    let house = House::new().await;
    house.add("anna").await;
    let cookie = house.session("anna").await;
    let day = Duration::from_secs(24 * 3600);
    for _ in 0..3 {
        house.clock.advance(29 * day);
        assert_eq!(house.get("/", Some(&cookie)).await.status, StatusCode::OK);
    }
    house.clock.advance(30 * day);
    assert_eq!(
        house.get("/", Some(&cookie)).await.status,
        StatusCode::SEE_OTHER
    );
}

#[tokio::test]
async fn another_password_ends_the_other_sessions_and_their_streams() {
    let house = House::new().await;
    let anna = house.add("anna").await;
    let (here, elsewhere) = (house.session("anna").await, house.session("anna").await);
    let mut request = Request::get("/conversations/events")
        .body(Body::empty())
        .unwrap();
    let cookie = HeaderValue::try_from(&elsewhere).unwrap();
    request.headers_mut().insert(header::COOKIE, cookie);
    let stream = house.site.respond(request).await;
    assert_eq!(stream.status(), StatusCode::OK);
    let mut stream = stream.into_body().into_data_stream();
    assert!(stream.next().await.is_some());

    let new = "an entirely new one";
    let change = |password, new, again| {
        let house = &house;
        let here = &here;
        async move {
            let fields = [("password", password), ("new", new), ("again", again)];
            house.post("/password", &fields, Some(here)).await
        }
    };
    for (password, new, again, why) in [
        ("not this one", new, new, "not the password that you have"),
        (PASSWORD, new, "another one", "not typed twice"),
        (PASSWORD, "short", "short", "8 to 1024"),
    ] {
        let refused = change(password, new, again).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        refused.shows(&[why]);
    }
    assert_eq!(
        house.get("/", Some(&elsewhere)).await.status,
        StatusCode::OK
    );
    let changed = change(PASSWORD, new, new).await;
    changed.shows(&["You have another password"]);
    let fresh = cookie_of(&changed).0;
    assert_eq!(house.get("/", Some(&fresh)).await.status, StatusCode::OK);
    for cookie in [&here, &elsewhere] {
        assert_eq!(
            house.get("/", Some(cookie)).await.status,
            StatusCode::SEE_OTHER
        );
    }
    let ended = async { while stream.next().await.is_some() {} };
    let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
    ended.expect("the stream of a session that has ended ends");
    assert!(house.accounts.is_password(&anna, new).await.unwrap());
}

/// The routes of the pages, as the router has them.
fn page_routes() -> Vec<String> {
    let router = include_str!("../../../src/web/mod.rs");
    let router = router.split_once("pub fn router(").unwrap().1;
    let routes: Vec<_> = router
        .split(".route(")
        .skip(1)
        .map(|route| route.split('"').nth(1).unwrap().to_owned())
        .collect();
    assert!(routes.len() > 20, "{routes:?}");
    routes
}

/// The routes for programs, with their methods.
fn api_routes() -> Vec<(Method, String)> {
    let described: Value = serde_json::from_str(&opencode_axum::openapi()).unwrap();
    let paths = described["paths"].as_object().unwrap().iter();
    let routes: Vec<_> = paths
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            methods.filter_map(move |method| {
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).ok()?;
                Some((method, format!("/api{path}")))
            })
        })
        .collect();
    assert!(routes.len() > 20, "{routes:?}");
    routes
}

/// A request for an address, with what its form or its body may need.
fn request(method: &Method, path: &str) -> Request<Body> {
    if path.starts_with("/api/") {
        let end = path
            .rsplit('/')
            .find(|word| word.parse::<uuid::Uuid>().is_err());
        let body = match end {
            Some("turns" | "edit") => json!({"prompt": "Hello"}),
            Some("schedules") => {
                json!({"cron": "@yearly", "time_zone": "UTC", "prompt": "Hello"})
            }
            Some("conversations" | "fork") => json!({"name": "x"}),
            Some("per_1") => json!({"type": "permission", "reply": "once"}),
            _ => json!({}),
        };
        let request = Request::builder().method(method).uri(path);
        let request = request
            .header(header::ORIGIN, "http://localhost:3000")
            .header(header::CONTENT_TYPE, "application/json");
        return request.body(Body::from(body.to_string())).unwrap();
    }
    if method == Method::POST {
        let fields = [
            ("prompt", "Hello"),
            ("act", "pin"),
            ("count", "1"),
            ("a0", "yes"),
            ("reply", "once"),
        ];
        return form(path, &fields, HTML);
    }
    Request::builder()
        .method(method)
        .uri(path)
        .body(Body::empty())
        .unwrap()
}

/// The first of what comes.
async fn begins(site: &Site, mut request: Request<Body>, cookie: &str) -> (StatusCode, String) {
    let cookie = HeaderValue::try_from(cookie).unwrap();
    request.headers_mut().insert(header::COOKIE, cookie);
    let response = site.respond(request).await;
    let status = response.status();
    let mut body = response.into_body().into_data_stream();
    let mut text = String::new();
    // A stream goes on.
    while let Ok(Some(piece)) = tokio::time::timeout(Duration::from_millis(200), body.next()).await
    {
        text += &String::from_utf8_lossy(&piece.unwrap());
    }
    (status, text)
}

#[tokio::test]
async fn every_route_is_its_owners_and_nobody_elses() {
    const SECRET: &str = "the garden of anna";
    let site = Site::new([Step::write_file("out.txt", SECRET), Step::text("It grows.")]).await;
    let house = House::of(site).await;
    let anna = house.add("anna").await;
    house.add("ben").await;
    let expired = house.session("anna").await;
    house.clock.advance(Duration::from_secs(31 * 24 * 3600));
    let of_anna = house.session("anna").await;

    let begun = [("prompt", SECRET), ("key", "begin")];
    let begun = house.post("/conversations", &begun, Some(&of_anna)).await;
    let conversation: ConversationId = begun.conversation();
    let store = house.site.host.store();
    let answer = loop {
        let answer = house.site.answer(conversation).await;
        if answer.finished_at.is_some() {
            break answer;
        }
        tokio::task::yield_now().await;
    };
    let file = loop {
        if let [file] = &store.attachments(answer.id).await.unwrap()[..] {
            break file.id;
        }
        tokio::task::yield_now().await;
    };
    let rows = house.site.host.of(&anna.tenant);
    let each_year = NewSchedule::new("@yearly", "UTC", Prompt::text(SECRET));
    let schedule = rows.add_schedule(conversation, each_year).await.unwrap();
    let before = rows.conversation(conversation).await.unwrap();
    assert_eq!(before.tenant, anna.tenant);
    let filled = |path: &str| {
        path.replace("{conversation}", &conversation.to_string())
            .replace("{chat}", &conversation.to_string())
            .replace("{turn}", &answer.turn.to_string())
            .replace("{message}", &answer.id.to_string())
            .replace("{file}", &file.to_string())
            .replace("{schedule}", &schedule.id.to_string())
            .replace("{name}", "out.txt")
            .replace("{question}", "que_1")
            .replace("{permission}", "per_1")
            .replace("{request}", "per_1")
    };
    let of_pages = page_routes()
        .into_iter()
        .flat_map(|path| [Method::GET, Method::POST].map(|method| (method, path.clone())));
    let (mut seen, mut closed) = (0, 0);
    for (method, route) in of_pages.chain(api_routes()) {
        let path = filled(&route);
        assert!(!path.contains('{'), "{path}: say what it is filled with");
        let told = format!("{method} {path}");
        let is_open = ["/login", "/health", "/assets/{file}"].contains(&route.as_str());
        let is_api = path.starts_with("/api/");

        // A chat is a name of the caller's own: everybody has one of each.
        let is_row = route.contains('{') && !route.contains("{chat}") && !is_open;

        // Nobody, and somebody whose session is over.
        for cookie in [None, Some(expired.as_str())]
            .into_iter()
            .filter(|_| !is_open)
        {
            let page = house.ask(request(&method, &path), cookie).await;
            let is_sent = page.status == StatusCode::SEE_OTHER
                && page.header("location").starts_with("/login");
            assert!(
                page.status == StatusCode::UNAUTHORIZED || (is_sent && !is_api),
                "{told} {page:?}"
            );
            page.lacks(SECRET);
        }

        // Somebody else: what has an id is not there, what has none shows nothing of it.
        // One of the routes ends the session.
        let of_ben = house.session("ben").await;
        let (status, text) = begins(&house.site, request(&method, &path), &of_ben).await;
        assert!(
            !text.contains(SECRET) && !text.contains("out.txt"),
            "{told} {text}"
        );
        let refuses = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED];
        if is_row {
            assert!(refuses.contains(&status), "{told}: {status} {text}");
            closed += 1;
        }

        // The owner has what the others have not.
        if method == Method::GET && is_row {
            let (status, _) = begins(&house.site, request(&method, &path), &of_anna).await;
            let is_there = [
                StatusCode::OK,
                StatusCode::NO_CONTENT,
                StatusCode::METHOD_NOT_ALLOWED,
            ];
            assert!(is_there.contains(&status), "{told}: {status}");
            seen += usize::from(status == StatusCode::OK);
        }
    }
    assert!(seen > 12 && closed > 40, "{seen} {closed}");
    assert_eq!(rows.conversation(conversation).await.unwrap(), before);
    assert_eq!(house.site.messages(conversation).await.len(), 2);
    let all = rows
        .conversations(
            ConversationFilter::of(&anna.tenant),
            &opencode_host::store::Page::newest(9),
        )
        .await;
    assert_eq!(all.unwrap().len(), 1);
}

#[tokio::test]
async fn the_agent_of_a_user_may_ask_for_commands_only_where_an_admin_allowed_it() {
    let house = House::new().await;
    let anna = house.add("anna").await;
    assert!(!house.accounts.may_run(&anna.tenant).await.unwrap());
    house
        .accounts
        .set_role(&anna, Role::User, true)
        .await
        .unwrap();
    assert!(house.accounts.may_run(&anna.tenant).await.unwrap());
    house.accounts.remove_user(&anna).await.unwrap();
    assert!(!house.accounts.may_run(&anna.tenant).await.unwrap());
    // The operator, in the terminal.
    assert!(
        house
            .accounts
            .may_run(&opencode_host::store::Tenant::default())
            .await
            .unwrap()
    );
}
