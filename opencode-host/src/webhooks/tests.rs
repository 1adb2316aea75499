//! Signatures by the specification's example, and what may be connected to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use tokio::net::TcpListener;

use super::resolver::Lookup;
use super::signature::sign;
use super::*;
use crate::clock::Timestamp;

/// Of the specification's reference libraries.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const SENT: &str = "1614265330";
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

fn secret(text: &str) -> WebhookSecret {
    text.parse().unwrap()
}

fn other_secret() -> WebhookSecret {
    secret("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
}

#[test]
fn signatures_are_those_of_the_specification() {
    let key = secret(SECRET);
    assert_eq!(sign(std::slice::from_ref(&key), ID, SENT, BODY), SIGNATURE);
    let received = Received {
        id: ID,
        timestamp: SENT,
        signature: SIGNATURE,
        body: BODY,
    };
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    let now = at(1_614_265_330);
    assert_eq!(received.verify(&key, now), Ok(()));
    let changed = [
        Received {
            id: "msg_2",
            ..received
        },
        Received {
            timestamp: "1614265331",
            ..received
        },
        Received {
            body: b"{}",
            ..received
        },
        Received {
            signature: "",
            ..received
        },
        Received {
            signature: "v1,",
            ..received
        },
        Received {
            signature: "v1a,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            ..received
        },
    ];
    for changed in changed {
        let verified = changed.verify(&key, now);
        assert_eq!(verified, Err(VerifyError::Signature), "{changed:?}");
    }
    assert_eq!(
        received.verify(&other_secret(), now),
        Err(VerifyError::Signature)
    );
    for (seconds, verified) in [
        (1_614_265_330 - 300, Ok(())),
        (1_614_265_330 - 301, Err(VerifyError::Time)),
        (1_614_265_330 + 300, Ok(())),
        (1_614_265_330 + 301, Err(VerifyError::Time)),
    ] {
        assert_eq!(received.verify(&key, at(seconds)), verified, "{seconds}");
    }
    for timestamp in ["", "now", "-1", "99999999999999999999"] {
        let odd = Received {
            timestamp,
            ..received
        };
        let verified = odd.verify(&key, now);
        assert_eq!(verified, Err(VerifyError::Header("webhook-timestamp")));
    }
    let odd = Received { id: "", ..received };
    assert_eq!(
        odd.verify(&key, now),
        Err(VerifyError::Header("webhook-id"))
    );
}

#[test]
fn receivers_with_either_secret_can_verify_while_they_change() {
    let secrets = [other_secret(), secret(SECRET)];
    let signature = sign(&secrets, ID, SENT, BODY);
    assert!(signature.ends_with(SIGNATURE), "{signature}");
    let received = Received {
        id: ID,
        timestamp: SENT,
        signature: &signature,
        body: BODY,
    };
    let now = UNIX_EPOCH + Duration::from_secs(1_614_265_330);
    for secret in &secrets {
        assert_eq!(received.verify(secret, now), Ok(()));
    }
}

#[test]
fn what_is_no_secret_is_refused_without_being_said() {
    for (text, expected) in [
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", BadSecret::Prefix),
        ("whsec_MfKQ9r8GKYqr!", BadSecret::Base64),
        ("whsec_", BadSecret::Length { bytes: 0 }),
        ("whsec_c2VjcmV0", BadSecret::Length { bytes: 6 }),
    ] {
        let refused = text.parse::<WebhookSecret>().unwrap_err();
        assert_eq!(refused, expected);
        assert!(!refused.to_string().contains("MfKQ"), "{refused}");
    }
    let webhook = Webhook::new(
        "billing",
        "https://hooks.example/T0/B0/token",
        secret(SECRET),
    );
    let shown = format!("{:?}", webhook.unwrap());
    assert!(
        !shown.contains("MfKQ") && !shown.contains("token"),
        "{shown}"
    );
}

#[test]
fn an_endpoint_is_at_https_or_on_this_machine() {
    let new = |url: &str| Webhook::new("billing", url, secret(SECRET));
    for url in [
        "https://hooks.example/a?b=c",
        "https://10.0.0.7",
        "http://localhost:8080/",
        "http://127.0.0.1",
        "http://127.1",
        "http://[::1]:1",
    ] {
        assert!(new(url).is_ok(), "{url}");
    }
    for url in [
        "http://hooks.example",
        "http://10.0.0.7",
        "http://localhost.example",
        "ftp://localhost",
        "ws://hooks.example",
    ] {
        let refused = new(url).unwrap_err();
        assert!(matches!(refused, WebhookError::NotHttps { .. }), "{url}");
    }
    for url in [
        "",
        "hooks.example",
        "https://",
        "data:text/plain,x",
        "/hooks",
    ] {
        let refused = new(url).unwrap_err();
        assert!(matches!(refused, WebhookError::Url { .. }), "{url}");
    }
    for url in [
        "https://user@hooks.example",
        "https://:hunter2@hooks.example",
    ] {
        let refused = new(url).unwrap_err();
        assert!(matches!(refused, WebhookError::Credentials { .. }), "{url}");
        assert!(!refused.to_string().contains("hunter2"), "{refused}");
    }
    let long = "x".repeat(201);
    for name in ["", &long] {
        let refused = Webhook::new(name, "https://hooks.example", secret(SECRET));
        assert_eq!(refused.unwrap_err(), WebhookError::Name);
    }
}

/// A server that notes that somebody has connected to it, and answers nothing.
async fn nobody() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Names of `.test` lead to these addresses, one after the other.
fn leading_to(addresses: &'static [&'static str]) -> (Lookup, Arc<AtomicU32>) {
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let lookup: Lookup = Arc::new(move |host| {
        assert!(host.contains(".test"), "{host}");
        let number = count.fetch_add(1, Ordering::SeqCst) as usize;
        let address = addresses[number.min(addresses.len() - 1)];
        Box::pin(async move { Ok(vec![format!("{address}:0").parse().unwrap()]) })
    });
    (lookup, asked)
}

async fn sent(webhooks: &Webhooks, url: &str) -> Result<(), NotDelivered> {
    let webhook = Webhook::new("billing", url, secret(SECRET)).unwrap();
    let outgoing = Outgoing {
        id: "1".to_owned(),
        at: Timestamp(0),
        body: b"{}",
    };
    webhooks.send(&webhook, &outgoing).await
}

#[tokio::test]
async fn an_address_that_is_not_public_is_not_connected_to() {
    let (listener, port) = nobody().await;
    let (lookup, _) = leading_to(&["127.0.0.1"]);
    let webhooks = Webhooks::builder(Vec::new()).lookup(lookup);
    let webhooks = webhooks
        .timeout(Duration::from_millis(500))
        .build()
        .unwrap();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0.0.0.0",
        "[::ffff:127.0.0.1]",
        "[::1]",
        "[::]",
        "rebound.test",
    ] {
        let refused = sent(&webhooks, &format!("https://{host}:{port}/")).await;
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, NotDelivered::NotPublic(_)),
            "{host}: {refused}"
        );
    }
    let accepted = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(accepted.is_err(), "{accepted:?}");
}

/// The check is of the addresses that the connection uses: there is no second look at the name, which could lead elsewhere by
/// then.
#[tokio::test]
async fn a_name_is_asked_for_once_for_each_connection() {
    let (listener, port) = nobody().await;
    let (lookup, asked) = leading_to(&["127.0.0.1"]);
    let webhooks = Webhooks::builder(Vec::new())
        .lookup(lookup)
        .allow_private("allowed.test")
        .timeout(Duration::from_millis(500));
    let webhooks = webhooks.build().unwrap();
    let refused = sent(&webhooks, &format!("https://other.test:{port}/")).await;
    assert!(matches!(refused, Err(NotDelivered::NotPublic(_))));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let accepting = tokio::spawn(async move { listener.accept().await.is_ok() });
    let unanswered = sent(&webhooks, &format!("https://ALLOWED.test:{port}/")).await;
    assert!(
        !matches!(unanswered, Err(NotDelivered::NotPublic(_))),
        "{unanswered:?}"
    );
    assert!(
        accepting.await.unwrap(),
        "what is allowed by name is connected to"
    );
    assert_eq!(
        asked.load(Ordering::SeqCst),
        2,
        "asked once for each connection"
    );
}

#[tokio::test]
async fn localhost_is_this_machine_whatever_a_name_server_says() {
    let lookup: Lookup =
        Arc::new(|_| Box::pin(async { Ok(vec!["93.184.216.34:0".parse().unwrap()]) }));
    let webhooks = Webhooks::builder(Vec::new()).lookup(lookup);
    let webhooks = webhooks.allow_private("localhost").build().unwrap();
    let refused = sent(&webhooks, "http://localhost:9/").await.unwrap_err();
    assert!(matches!(refused, NotDelivered::NotPublic(_)), "{refused}");
}

#[tokio::test]
async fn why_nothing_was_delivered_says_neither_address_nor_secret() {
    let (listener, port) = nobody().await;
    drop(listener);
    let webhooks = Webhooks::builder(Vec::new()).allow_private("localhost");
    let webhooks = webhooks.build().unwrap();
    let url = format!("http://localhost:{port}/T0/B0/token?key=hunter2");
    let failed = sent(&webhooks, &url).await.unwrap_err();
    let said = format!("{failed} {failed:?}");
    assert!(said.contains("refused"), "{said}");
    for secret in ["token", "hunter2", "MfKQ", "T0"] {
        assert!(!said.contains(secret), "{said}");
    }
}
