//! A person's answers, where the server or the way to it fails: given once, within seconds, or refused with a word.

use opencode_client::reply::PendingRequest;
use opencode_client::{HubOptions, PermissionId};
use opencode_host::store::{AnswerOutcome, AnswerState, Lease, NewAnswer};
use opencode_host::{AnswerError, Host, HostOptions};
use opencode_impostor::Ledger;

use super::*;

/// What can be answered, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Permission,
    Question,
    Rejection,
}

const KINDS: [Kind; 3] = [Kind::Permission, Kind::Question, Kind::Rejection];

impl Kind {
    fn steps(self) -> Vec<Step> {
        match self {
            Self::Permission => vec![Step::ask_bash("echo hi", "hi\n"), Step::text("Done.")],
            Self::Question | Self::Rejection => {
                vec![Step::question("Go on?", ["Yes"]), Step::text("Done.")]
            }
        }
    }

    fn post(self) -> &'static str {
        match self {
            Self::Permission => "POST /permission/:id/reply",
            Self::Question => "POST /question/:id/reply",
            Self::Rejection => "POST /question/:id/reject",
        }
    }

    fn list(self) -> &'static str {
        match self {
            Self::Permission => "GET /permission",
            Self::Question | Self::Rejection => "GET /question",
        }
    }
}

struct Asked {
    test: Hosting,
    kind: Kind,
    turn: opencode_host::id::TurnId,
    working: tokio::task::JoinHandle<()>,
    request: PendingRequest,
}

impl Asked {
    /// The turn itself waits longer for its server than the person does.
    async fn new(kind: Kind) -> Self {
        Self::with(kind, kind.steps()).await
    }

    /// A permission is asked for, and the turn goes on behind the gate `hold` once it has it.
    async fn held() -> Self {
        let asks = Step::ask_bash("echo hi", "hi\n");
        let steps = vec![asks, Step::gate("hold"), Step::text("Done.")];
        Self::with(Kind::Permission, steps).await
    }

    async fn with(kind: Kind, steps: Vec<Step>) -> Self {
        let impostor = Impostor::scripted(Script::always(steps)).await;
        let mut options = quick();
        options.limits.unreachable = PATIENCE;
        let test = Hosting::with(impostor.unwrap(), options, |builder| builder).await;
        let turn = test.submit("go").await;
        let working = test.work(turn);
        let request = request(&test, turn).await;
        Self {
            test,
            kind,
            turn,
            working,
            request,
        }
    }

    async fn answer(&self) -> Result<(), AnswerError> {
        let (host, turn) = (&self.test.host, self.turn);
        let answering = async {
            match (&self.request, self.kind) {
                (PendingRequest::Question(asked), Kind::Question) => {
                    let answers = [vec!["Yes".to_owned()]];
                    host.answer_question(turn, &asked.id, &answers).await
                }
                (PendingRequest::Question(asked), _) => host.reject_question(turn, &asked.id).await,
                (PendingRequest::Permission(asked), _) => {
                    let once = PermissionReply::Once;
                    host.reply_permission(turn, &asked.id, once, None).await
                }
            }
        };
        let answered = tokio::time::timeout(PATIENCE, answering).await;
        answered.expect("the person waits for ever")
    }

    /// Another process on the same store, without a worker.
    fn elsewhere(&self) -> Host {
        let options = HostOptions {
            poll_interval: Duration::from_millis(50),
            answer_wait: Duration::from_millis(300),
            ..HostOptions::default()
        };
        Host::builder(Arc::clone(&self.test.store))
            .options(options)
            .build()
    }

    fn yes(&self) -> NewAnswer {
        NewAnswer::permission(&self.id(), PermissionReply::Once)
    }

    fn id(&self) -> PermissionId {
        PermissionId::from(self.request.id())
    }

    /// Waits until this became of the answer.
    async fn becomes(&self, state: AnswerState) {
        let looking = async {
            while self.test.store.answers(self.turn).await.unwrap()[0].state != state {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let became = tokio::time::timeout(PATIENCE, looking).await;
        became.unwrap_or_else(|_| panic!("it did not become {state:?}"));
    }

    /// The turn's worker gives it back.
    async fn left(self) -> Self {
        let store = &self.test.store;
        let row = store.turn(self.turn).await.unwrap().unwrap();
        let lease = Lease {
            turn: self.turn,
            generation: row.generation,
        };
        self.working.abort();
        store.release(&lease).await.unwrap();
        self
    }

    /// The turn ends as it does when it was answered.
    async fn ends(self, what: &str) {
        let result = self.test.finished(self.turn, self.working).await;
        let wanted = match self.kind {
            Kind::Rejection => TurnStatus::Cancelled,
            Kind::Permission | Kind::Question => TurnStatus::Completed,
        };
        assert_eq!(result.status, wanted, "{what}: {:?}", result.answer.error);
        self.test.impostor.assert_clean();
    }
}

#[tokio::test]
async fn an_answer_whose_call_is_lost_once_arrives_once() {
    let actions = [
        Action::LoseRequest,
        Action::LoseResponse,
        Action::CutResponse,
        Action::Swallow,
        Action::SwallowResponse,
        Action::html(502),
        Action::AnswerAfter {
            status: 504,
            content_type: "text/html".to_owned(),
            body: "late".to_owned(),
        },
    ];
    for kind in KINDS {
        for call in [kind.list(), kind.post()] {
            for action in actions.clone() {
                let what = format!("{kind:?}: {call}, {action:?}");
                let asked = Asked::new(kind).await;
                let faults = asked.test.impostor.faults();
                faults.request(call, Calls::Nth(1), action);
                let answered = asked.answer().await;
                assert!(answered.is_ok(), "{what}: {answered:?}");
                asked.ends(&what).await;
            }
        }
    }
}

/// Where no event comes, what the agent asks is read from the server's lists.
#[tokio::test]
async fn what_is_asked_is_seen_without_events() {
    for kind in KINDS {
        for silent in [false, true] {
            let what = format!("{kind:?}, silent: {silent}");
            let steps = [&[Step::gate("looked")][..], &kind.steps()].concat();
            let impostor = Impostor::scripted(Script::always(steps)).await;
            let hub = HubOptions {
                connect_timeout: Duration::from_millis(200),
                ..HubOptions::default()
            };
            let test = Hosting::with(impostor.unwrap(), quick(), |builder| {
                builder.worker(|worker| worker.hub_options(hub))
            });
            let test = test.await;
            let faults = test.impostor.faults();
            if silent {
                faults.silent_streams();
            } else {
                faults.request("GET /global/event", Calls::FirstOfLife(1), Action::Swallow);
            }
            // The lists were read before it asks.
            let asks = async {
                test.impostor.gate("looked").reached().await.unwrap();
                let listed =
                    |ledger: &Ledger| (ledger.requests_of(kind.list()).len() >= 2).then_some(());
                test.impostor.wait_until(listed).await.unwrap();
                test.impostor.gate("looked").open();
            };
            let turn = test.submit("go").await;
            let working = test.work(turn);
            asks.await;
            let asked = Asked {
                request: request(&test, turn).await,
                test,
                kind,
                turn,
                working,
            };
            asked.answer().await.unwrap();
            asked.ends(&what).await;
        }
    }
}

#[tokio::test]
async fn a_server_out_of_reach_is_said_to_be_so_within_seconds() {
    for kind in KINDS {
        let asked = Asked::new(kind).await;
        asked.test.impostor.kill().await;
        let refused = asked.answer().await.unwrap_err();
        assert!(matches!(refused, AnswerError::Upstream(_)), "{refused:?}");
        let words = refused.to_string();
        assert!(
            words.contains("cannot reach OpenCode") && words.contains("Answer again"),
            "{words}"
        );

        // It does not answer: it has the request, and not the answer.
        let asked = Asked::new(kind).await;
        let faults = asked.test.impostor.faults();
        let deaf = faults.swallow(kind.list(), Calls::All);
        let refused = asked.answer().await.unwrap_err();
        assert!(matches!(refused, AnswerError::Upstream(_)), "{refused:?}");
        faults.remove(deaf);
        // It may have the answer.
        let deaf = faults.swallow(kind.post(), Calls::All);
        let refused = asked.answer().await.unwrap_err();
        assert!(
            matches!(refused, AnswerError::Unconfirmed(_)),
            "{refused:?}"
        );
        let words = refused.to_string();
        assert!(
            words.contains("not known whether") && words.contains("Answer again"),
            "{words}"
        );
        faults.remove(deaf);
        asked.answer().await.unwrap();
        asked.ends("again").await;
    }
}

/// What is refused is not tried again.
#[tokio::test]
async fn an_answer_that_is_refused_is_told_at_once() {
    let asked = Asked::new(Kind::Permission).await;
    asked.test.impostor.faults().request(
        Kind::Permission.post(),
        Calls::Nth(1),
        Action::error(400, "BadRequest", "no such reply"),
    );
    let refused = asked.answer().await.unwrap_err();
    assert!(refused.to_string().contains("no such reply"), "{refused}");
    let posts = asked.test.impostor.ledger().count(Kind::Permission.post());
    assert_eq!(posts, 1);
    asked.answer().await.unwrap();
    asked.ends("again").await;
}

#[tokio::test]
async fn the_first_answer_wins_whichever_process_it_comes_from() {
    let asked = Asked::held().await;
    let (one, other) = (asked.elsewhere(), &asked.test.host);
    let waiting = HostOptions::default().answer_wait;
    assert_eq!(waiting, Duration::from_secs(15));
    // Kept; the worker of the other process sends it.
    one.answer(asked.turn, asked.yes().by("ada"))
        .await
        .or_else(unsent)
        .unwrap();
    asked.becomes(AnswerState::Arrived).await;
    asked.test.impostor.gate("hold").reached().await.unwrap();
    let no = NewAnswer::permission(&asked.id(), PermissionReply::Reject).by("bob");
    for host in [&one, other] {
        match host.answer(asked.turn, no.clone()).await {
            Err(AnswerError::AlreadyAnswered { by, .. }) => assert_eq!(by.as_deref(), Some("ada")),
            told => panic!("{told:?}"),
        }
    }
    let posts = asked.test.impostor.ledger().count(Kind::Permission.post());
    assert_eq!(posts, 1);
    asked.test.impostor.gate("hold").open();
    let host = other.clone();
    let turn = asked.turn;
    asked.ends("answered").await;
    let kept = host.store().answers(turn).await.unwrap();
    assert_eq!(kept[0].answer.by.as_deref(), Some("ada"));
}

/// On a slow machine the word of the other process comes late.
fn unsent(error: AnswerError) -> Result<(), AnswerError> {
    match error {
        AnswerError::Unsent | AnswerError::Unconfirmed(_) => Ok(()),
        other => Err(other),
    }
}

#[tokio::test]
async fn an_answer_that_the_agent_does_not_wait_for_any_more_is_told_so_in_any_process() {
    let asked = Asked::held().await;
    let client = asked.test.worker.client();
    let once = PermissionReply::Once;
    client
        .reply_permission(&asked.id(), once, None)
        .await
        .unwrap();
    asked.test.impostor.gate("hold").reached().await.unwrap();
    let options = HostOptions {
        answer_wait: PATIENCE,
        ..HostOptions::default()
    };
    let elsewhere = Host::builder(Arc::clone(&asked.test.store))
        .options(options)
        .build();
    let late = elsewhere.answer(asked.turn, asked.yes()).await;
    assert!(matches!(late, Err(AnswerError::NotWaiting)), "{late:?}");
    let never = NewAnswer::permission(&"per_never".into(), once);
    let never = elsewhere.answer(asked.turn, never).await;
    assert!(matches!(never, Err(AnswerError::NotWaiting)), "{never:?}");
    assert_eq!(asked.test.store.answers(asked.turn).await.unwrap(), []);
    asked.test.impostor.gate("hold").open();
    asked.ends("answered").await;
}

#[tokio::test]
async fn an_answer_that_no_worker_sends_is_kept_for_the_next() {
    let mut asked = Asked::held().await.left().await;
    let elsewhere = asked.elsewhere();
    let kept = elsewhere.answer(asked.turn, asked.yes()).await.unwrap_err();
    assert!(matches!(kept, AnswerError::Unsent), "{kept:?}");
    let again = elsewhere.answer(asked.turn, asked.yes()).await;
    assert!(
        matches!(again, Err(AnswerError::AlreadyAnswered { .. })),
        "{again:?}"
    );
    asked.working = asked.test.work(asked.turn);
    asked.becomes(AnswerState::Arrived).await;
    asked.test.impostor.gate("hold").open();
    asked.ends("by the next worker").await;
}

/// The worker died between the post and the word that it arrived: the next one finds no request, and knows why.
#[tokio::test]
async fn an_answer_whose_sender_died_has_arrived_where_the_request_is_gone() {
    let mut asked = Asked::held().await.left().await;
    let store = &asked.test.store;
    let taken = store.answer(asked.turn, &asked.yes()).await.unwrap();
    assert!(matches!(taken, AnswerOutcome::Taken(_)), "{taken:?}");
    let row = store.turn(asked.turn).await.unwrap().unwrap();
    let lease = Lease {
        turn: asked.turn,
        generation: row.generation,
    };
    let sent = store.answered(&lease, asked.request.id(), Some(&AnswerState::Sent));
    sent.await.unwrap();
    let client = asked.test.worker.client();
    let once = PermissionReply::Once;
    client
        .reply_permission(&asked.id(), once, None)
        .await
        .unwrap();
    asked.working = asked.test.work(asked.turn);
    asked.becomes(AnswerState::Arrived).await;
    let posts = asked.test.impostor.ledger().count(Kind::Permission.post());
    assert_eq!(posts, 1);
    asked.test.impostor.gate("hold").open();
    asked.ends("by the next worker").await;
}
