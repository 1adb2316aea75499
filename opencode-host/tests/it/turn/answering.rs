//! A person's answers, where the server or the way to it fails: given once, within seconds, or refused with a word.

use opencode_client::reply::PendingRequest;
use opencode_host::AnswerError;

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
        let impostor = Impostor::scripted(Script::always(kind.steps())).await;
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

    /// The turn ends as it does when it was answered.
    async fn ends(self, what: &str) {
        let result = self.test.finished(self.turn, self.working).await;
        let wanted = match self.kind {
            Kind::Rejection => TurnStatus::Cancelled,
            Kind::Permission | Kind::Question => TurnStatus::Completed,
        };
        assert_eq!(result.status, wanted, "{what}: {:?}", result.error);
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
