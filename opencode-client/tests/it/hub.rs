//! The event hub, against the impostor.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use opencode_client::event::EventBody;
use opencode_client::wire::{NewSession, Prompt};
use opencode_client::{
    Backoff, Client, Error, EventHub, GapReason, HubOptions, Reply, SessionId, Signal, Subscription,
};
use opencode_impostor::{Action, Calls, Impostor, Script, Step, UNICODE_TEXT};

const PATIENCE: Duration = Duration::from_secs(10);

fn client(impostor: &Impostor) -> Client {
    Client::builder(impostor.url())
        .timeout(Duration::from_secs(5))
        .build()
        .unwrap()
}

fn options() -> HubOptions {
    HubOptions {
        connect_timeout: Duration::from_secs(2),
        backoff: Backoff::new(Duration::from_millis(10), Duration::from_millis(50)),
        ..HubOptions::default()
    }
}

async fn session(client: &Client) -> SessionId {
    client
        .create_session(&NewSession::default())
        .await
        .unwrap()
        .id
}

async fn prompt(client: &Client, session: &SessionId) {
    let ids = client.mint_prompt_ids(session, 7).await.unwrap();
    client
        .prompt_async(session, &ids, &Prompt::text("go"))
        .await
        .unwrap();
}

/// Reads signals until `wanted` finds something.
async fn until<T>(
    subscription: &mut Subscription,
    mut wanted: impl FnMut(&Signal<'_>) -> Option<T>,
) -> T {
    let reading = async {
        loop {
            let signal = subscription.next().await;
            if let Some(found) = wanted(&signal) {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading)
        .await
        .expect("the signal did not come")
}

fn is_idle(signal: &Signal<'_>) -> Option<()> {
    match signal {
        Signal::Event(event) if event.body == EventBody::SessionIdle => Some(()),
        _ => None,
    }
}

async fn text() -> Impostor {
    Impostor::scripted(Script::always([Step::text(UNICODE_TEXT)]))
        .await
        .unwrap()
}

#[tokio::test]
async fn many_turns_share_one_connection_and_hear_only_their_own() {
    let impostor = text().await;
    let client = client(&impostor);
    let hub = EventHub::new(client.clone(), options());
    let mut listening = Vec::new();
    for _ in 0..20 {
        let session = session(&client).await;
        let mut subscription = hub.subscribe(&session, None).await.unwrap();
        let own = session.clone();
        listening.push(tokio::spawn(async move {
            let mut foreign = 0;
            until(&mut subscription, |signal| {
                if let Signal::Event(event) = signal {
                    foreign += usize::from(event.session != Some(own.as_str()));
                }
                is_idle(signal)
            })
            .await;
            foreign
        }));
        prompt(&client, &session).await;
    }
    for listener in listening {
        assert_eq!(listener.await.unwrap(), 0);
    }
    assert_eq!(impostor.ledger().streams_opened("/global/event"), 1);
}

#[tokio::test]
async fn without_a_global_stream_each_directory_has_one() {
    let impostor = text().await;
    impostor.faults().no_global_event();
    let hub = EventHub::new(client(&impostor), options());
    for directory in ["/one", "/two", "/one"] {
        let client = client(&impostor).in_directory(directory);
        let session = session(&client).await;
        let mut subscription = hub.subscribe(&session, Some(directory)).await.unwrap();
        prompt(&client, &session).await;
        until(&mut subscription, is_idle).await;
    }
    assert_eq!(impostor.ledger().streams_opened("/event"), 2);
    assert_eq!(
        impostor.ledger().count("GET /global/event"),
        1,
        "asked for once, not for each turn"
    );
}

#[tokio::test]
async fn every_reconnect_is_told_as_a_gap() {
    let impostor = text().await;
    let client = client(&impostor);
    let session = session(&client).await;
    let hub = EventHub::new(client.clone(), options());
    let mut subscription = hub.subscribe(&session, None).await.unwrap();
    for _ in 0..3 {
        assert_eq!(impostor.drop_streams(), 1);
        until(&mut subscription, |signal| {
            matches!(signal, Signal::Disconnected).then_some(())
        })
        .await;
        until(&mut subscription, |signal| {
            matches!(signal, Signal::Gap(GapReason::Reconnected)).then_some(())
        })
        .await;
    }
    prompt(&client, &session).await;
    until(&mut subscription, is_idle).await;
}

#[tokio::test]
async fn a_server_that_dies_and_comes_back_is_found_again() {
    let impostor = text().await;
    let client = client(&impostor);
    let session = session(&client).await;
    let hub = EventHub::new(client.clone(), options());
    let mut subscription = hub.subscribe(&session, None).await.unwrap();
    impostor.kill().await;
    until(&mut subscription, |signal| {
        matches!(signal, Signal::Disconnected).then_some(())
    })
    .await;
    impostor.restart().await.unwrap();
    until(&mut subscription, |signal| {
        matches!(signal, Signal::Gap(_)).then_some(())
    })
    .await;
    prompt(&client, &session).await;
    until(&mut subscription, is_idle).await;
}

#[tokio::test]
async fn a_subscription_waits_for_a_stream_that_is_refused_at_first() {
    let impostor = text().await;
    impostor.faults().refuse_streams(3);
    let client = client(&impostor);
    let session = session(&client).await;
    let hub = EventHub::new(client.clone(), options());
    let mut subscription = hub.subscribe(&session, None).await.unwrap();
    prompt(&client, &session).await;
    until(&mut subscription, is_idle).await;
}

#[tokio::test]
async fn heartbeats_are_passed_on() {
    let impostor = text().await;
    let client = client(&impostor);
    let session = session(&client).await;
    let mut subscription = EventHub::new(client, options())
        .subscribe(&session, None)
        .await
        .unwrap();
    impostor.heartbeat();
    until(&mut subscription, |signal| {
        matches!(signal, Signal::Heartbeat).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_had_is_told() {
    let impostor = Impostor::builder().password("right").start().await.unwrap();
    let session = SessionId::from("ses_1");
    let wrong = Client::builder(impostor.url())
        .password("wrong")
        .build()
        .unwrap();
    let refused = EventHub::new(wrong, options())
        .subscribe(&session, None)
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::Unauthorized { .. }), "{refused}");
    assert!(!refused.to_string().contains("wrong"));
    let right = Client::builder(impostor.url())
        .password("right")
        .build()
        .unwrap();
    assert!(
        EventHub::new(right, options())
            .subscribe(&session, None)
            .await
            .is_ok()
    );

    let nobody = Client::builder("http://127.0.0.1:1").build().unwrap();
    let patience = HubOptions {
        connect_timeout: Duration::from_millis(200),
        ..options()
    };
    let unreachable = EventHub::new(nobody, patience)
        .subscribe(&session, None)
        .await
        .unwrap_err();
    assert!(
        matches!(unreachable, Error::Connection { .. }),
        "{unreachable}"
    );
}

#[tokio::test]
async fn a_gateways_header_and_a_hosts_own_http_client_serve_calls_and_streams() {
    let impostor = Impostor::builder().password("right").start().await.unwrap();
    let basic = "Basic b3BlbmNvZGU6cmlnaHQ=";
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(rustls::RootCertStore::empty())
    .with_no_client_auth();
    let own = || reqwest::Client::builder().tls_backend_preconfigured(tls.clone());
    let headers = [("authorization".parse().unwrap(), basic.parse().unwrap())];
    let by_header = Client::builder(impostor.url())
        .password("wrong")
        .header("Authorization", basic);
    let by_header_and_own = Client::builder(impostor.url())
        .header("Authorization", basic)
        .http(own());
    let by_own =
        Client::builder(impostor.url()).http(own().default_headers(headers.into_iter().collect()));
    for builder in [by_header, by_header_and_own, by_own] {
        let client = builder.timeout(Duration::from_secs(5)).build().unwrap();
        let session = session(&client).await;
        let hub = EventHub::new(client.clone(), options());
        let mut subscription = hub.subscribe(&session, None).await.unwrap();
        prompt(&client, &session).await;
        until(&mut subscription, |signal| {
            matches!(signal, Signal::Event(event) if matches!(event.body, EventBody::SessionIdle))
                .then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn malformed_and_oversized_frames_are_reported_and_the_stream_goes_on() {
    let problems = Arc::new(Mutex::new(Vec::new()));
    let impostor = text().await;
    let client = client(&impostor);
    let session = session(&client).await;
    let heard = Arc::clone(&problems);
    let options = HubOptions {
        on_problem: Some(Arc::new(move |problem| {
            heard.lock().unwrap().push(problem.to_string())
        })),
        ..options()
    };
    let hub = EventHub::new(client.clone(), options);
    let mut subscription = hub.subscribe(&session, None).await.unwrap();
    let other = SessionId::from("ses_other");
    let mut bystander = hub.subscribe(&other, None).await.unwrap();
    impostor.send_raw("data: {nonsense}\n\n");
    let huge = "x".repeat(17 << 20);
    impostor.send_raw(format!(
        "data: {{\"payload\":{{\"type\":\"note\",\"properties\":{{\"sessionID\":\"{session}\",\"text\":\"{huge}\"}}}}}}\n\n"
    ));
    until(&mut subscription, |signal| {
        matches!(signal, Signal::Gap(GapReason::FrameDropped)).then_some(())
    })
    .await;
    prompt(&client, &session).await;
    until(&mut subscription, is_idle).await;
    // The frame was the other session's: nothing is missing here.
    assert!(
        tokio::time::timeout(Duration::ZERO, bystander.next())
            .await
            .is_err()
    );
    let problems = problems.lock().unwrap();
    assert!(
        problems.iter().any(|problem| problem.contains("malformed")),
        "{problems:?}"
    );
    assert!(
        problems.iter().any(|problem| problem.contains("dropped")),
        "{problems:?}"
    );
}

#[tokio::test]
async fn a_childs_events_are_heard_from_its_first() {
    let steps = [
        Step::subtask("sub work", [Step::text("Nested.")]),
        Step::text("Done."),
    ];
    let impostor = Impostor::scripted(Script::new().on("go", steps))
        .await
        .unwrap();
    let client = client(&impostor);
    let session = session(&client).await;
    let mut subscription = EventHub::new(client.clone(), options())
        .subscribe(&session, None)
        .await
        .unwrap();
    prompt(&client, &session).await;
    let mut nested = 0;
    until(&mut subscription, |signal| {
        if let Signal::Event(event) = signal
            && event.session != Some(session.as_str())
        {
            assert!(
                nested > 0 || matches!(event.body, EventBody::Session(_)),
                "its birth comes first"
            );
            nested += 1;
        }
        match signal {
            Signal::Event(event) if event.session == Some(session.as_str()) => is_idle(signal),
            _ => None,
        }
    })
    .await;
    assert!(nested > 5);
}

/// The loop of the crate's front page.
#[tokio::test]
async fn a_prompt_is_followed_to_its_result() {
    let impostor = text().await;
    let client = client(&impostor);
    let session = session(&client).await;
    let hub = EventHub::new(client.clone(), options());
    let mut events = hub.subscribe(&session, None).await.unwrap();
    let ids = client.mint_prompt_ids(&session, 1).await.unwrap();
    let prompt = Prompt::text("go");
    client.prompt_async(&session, &ids, &prompt).await.unwrap();
    let mut reply = Reply::new(session.clone(), ids.message.clone());
    let followed = async {
        loop {
            match events.next().await {
                Signal::Event(event) => reply.apply(&event),
                Signal::Gap(_) | Signal::Disconnected => reply.gap(),
                _ => {}
            }
            if reply.take_idle() {
                let known = reply.message_count();
                let exchange = client
                    .exchange(&session, &ids.message, known)
                    .await
                    .unwrap();
                reply.reconcile(&exchange);
                if exchange.is_complete() {
                    return;
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, followed)
        .await
        .expect("in time");
    assert!(reply.changes() > 3);
    assert_eq!(reply.result().full_text, UNICODE_TEXT);
    impostor.assert_clean();
}

#[tokio::test]
async fn errors_are_told_apart() {
    let impostor = text().await;
    let client = client(&impostor);
    let unknown = SessionId::from("ses_unknown");
    let of = async |action: Action| {
        impostor.faults().clear();
        impostor
            .faults()
            .request("GET /session/status", Calls::All, action);
        client.statuses().await.unwrap_err()
    };
    assert!(
        matches!(client.session(&unknown).await, Err(Error::SessionNotFound { session }) if session == unknown)
    );
    assert!(matches!(
        of(Action::html(502)).await,
        Error::Server { status: 502, .. }
    ));
    assert!(matches!(
        of(Action::garbage()).await,
        Error::Server { status: 200, .. }
    ));
    assert!(
        matches!(of(Action::error(400, "BadRequest", "no such thing")).await,
        Error::BadRequest { status: 400, message, .. } if message == "no such thing")
    );
    assert!(matches!(
        of(Action::error(401, "x", "y")).await,
        Error::Unauthorized { .. }
    ));
    assert!(matches!(
        of(Action::LoseResponse).await,
        Error::Connection { .. }
    ));
    let long = of(Action::error(500, "x", &"very long ".repeat(100))).await;
    assert!(long.to_string().len() < 400, "{long}");

    impostor.faults().clear();
    impostor.faults().request(
        "GET /session/status",
        Calls::All,
        Action::Hold("never".to_owned()),
    );
    let hasty = Client::builder(impostor.url())
        .timeout(Duration::from_millis(50))
        .build()
        .unwrap();
    assert!(matches!(hasty.statuses().await, Err(Error::Timeout { .. })));
}

#[tokio::test]
async fn an_unknown_message_is_absent_and_not_an_error() {
    let impostor = text().await;
    let client = client(&impostor);
    let known = session(&client).await;
    let message = "msg_202c805cc001nTL6Z3LOkj8cIc".into();
    assert!(client.message(&known, &message).await.unwrap().is_none());
    let unknown = SessionId::from("ses_unknown");
    assert!(matches!(
        client.message(&unknown, &message).await,
        Err(Error::SessionNotFound { .. })
    ));
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused() {
    for url in [
        "",
        "127.0.0.1:4096",
        "ftp://x",
        "http://",
        "http://user:secret@127.0.0.1:1",
    ] {
        let error = Client::builder(url).build().unwrap_err();
        assert!(matches!(error, Error::Configuration(_)), "{url}");
        assert!(!error.to_string().contains("secret"));
    }
}

/// No reset, no byte, no answer: what a firewall or a server that hangs does.
#[tokio::test]
async fn a_server_that_neither_speaks_nor_answers_is_told_of_and_its_return_too() {
    let impostor = text().await;
    let client = client(&impostor);
    let session = session(&client).await;
    let options = HubOptions {
        silence: Duration::from_millis(50),
        ..options()
    };
    let hub = EventHub::new(client, options);
    let mut subscription = hub.subscribe(&session, None).await.unwrap();
    let other = SessionId::from("ses_other");
    let mut other = hub.subscribe(&other, None).await.unwrap();
    // It says nothing for long, and is there.
    let asked = |ledger: &opencode_impostor::Ledger| ledger.count("GET /global/health") >= 2;
    impostor.wait_for(asked).await.unwrap();
    let told = tokio::time::timeout(Duration::ZERO, subscription.next()).await;
    assert!(told.is_err(), "{told:?}");

    let hole = impostor.faults().swallow("/**", Calls::All);
    let since = std::time::Instant::now();
    for listener in [&mut subscription, &mut other] {
        until(listener, |signal| {
            matches!(signal, Signal::Unreachable).then_some(())
        })
        .await;
    }
    // 1.55 s on an idle machine.
    assert!(
        since.elapsed() < Duration::from_secs(5),
        "{:?}",
        since.elapsed()
    );
    impostor.faults().remove(hole);
    until(&mut subscription, |signal| {
        matches!(signal, Signal::Reachable).then_some(())
    })
    .await;
    let streams = impostor.ledger().streams_opened("/global/event");
    assert_eq!(streams, 1, "the connection stayed");
    // Told once for each, however long it lasts.
    impostor.faults().swallow("/**", Calls::All);
    let mut seen = 0;
    until(&mut subscription, |signal| {
        seen += usize::from(matches!(signal, Signal::Unreachable));
        (seen == 1).then_some(())
    })
    .await;
    impostor.heartbeat();
    let next = until(&mut subscription, |signal| Some(format!("{signal:?}"))).await;
    assert!(
        ["Heartbeat", "Reachable"].contains(&next.as_str()),
        "{next}"
    );
}
