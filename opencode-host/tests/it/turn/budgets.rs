//! What turns, conversations and tenants may use up.

use opencode_client::wire::Prompt;
use opencode_host::Host;
use opencode_host::budget::{Allowance, Budget, Dollars, Period, Spending, Spent};
use opencode_host::budgets::{Budgets, Spender};
use opencode_host::clock::{ManualClock, Timestamp};
use opencode_host::id::{ConversationId, TurnId};
use opencode_host::outcome::Reason;
use opencode_host::store::{
    Account, Claim, MemoryStore, Note, Reserved, Store, StoreError, Tenant,
};
use tokio_util::sync::CancellationToken;

use super::*;

fn cents(cents: u64) -> Allowance {
    Allowance::UNLIMITED.cost(Dollars::cents(cents))
}

/// Each step of the model costs 40 cents and 70 tokens.
async fn thrifty(budgets: impl Budgets, script: Script) -> Hosting {
    let builder = Impostor::builder().script(script);
    let impostor = builder.usage(0.4, 50, 20).start().await.unwrap();
    Hosting::with(impostor, quick(), |builder| builder.budgets(budgets)).await
}

/// Steps of the model that call a tool, and one more that never ends.
fn long(steps: u64) -> Script {
    let mut script = vec![Step::text("Half.")];
    for _ in 0..steps {
        script.push(Step::tool("bash", json!({"command": "id"}), "root"));
        script.push(Step::reasoning("What now?"));
    }
    script.push(Step::gate("more"));
    Script::always(script)
}

impl Hosting {
    /// What everybody has used, and what is reserved.
    async fn spending(&self) -> Spending {
        let account = Account::Tenant(Tenant::default());
        let store = self.host.store();
        store.spending(&account, Timestamp(0)).await.unwrap()
    }

    async fn submit_to(&self, conversation: ConversationId) -> Result<TurnId, SubmitError> {
        let options = SubmitOptions::default();
        let submitted = self
            .host
            .submit(conversation, Prompt::text("go"), options)
            .await?;
        Ok(submitted.turn.id)
    }

    async fn open(&self, name: &str) -> ConversationId {
        let opened = self.host.open_conversation(&Tenant::default(), name).await;
        opened.unwrap().id
    }
}

#[tokio::test]
async fn a_turn_that_uses_up_its_budget_is_stopped_and_its_half_is_kept() {
    let none = Allowance::UNLIMITED;
    let (first, second) = (1, 2);
    for (allowance, steps, told) in [
        (cents(40), first, "0.40 of 0.40 US dollars are used"),
        (cents(41), second, "0.80 of 0.41 US dollars are used"),
        (cents(900).tokens(60), first, "70 of 60 tokens are used"),
    ] {
        for budget in [
            Budget::default().turn(allowance),
            Budget::default().conversation(allowance),
            Budget::default().tenant(allowance, Period::Month),
        ] {
            let test = thrifty(budget, long(steps)).await;
            let result = test.turn("go").await;
            assert_ended(&result, TurnStatus::Error, Some("budget"), "Half.");
            let error = result.answer.error.unwrap().message;
            assert!(error.contains(told), "{error}");
            let session = result.session.unwrap();
            assert!(!test.impostor.ledger().is_busy(session.as_str()));
            let spending = test.spending().await;
            assert_eq!(spending.used.cost, Dollars::cents(40 * steps));
            assert_eq!(spending.used.tokens, 70 * steps);
            assert_eq!(spending.reserved, Spent::default());
        }
    }
    let budget = Budget::default().turn(none.time(Duration::from_millis(300)));
    let test = thrifty(budget, long(0)).await;
    let result = test.turn("go").await;
    assert_ended(&result, TurnStatus::Error, Some("budget"), "Half.");
    let used = test.spending().await.used.time;
    assert!(used >= Duration::from_millis(300), "{used:?}");
}

#[tokio::test]
async fn an_answer_that_was_complete_when_its_budget_was_used_up_is_one() {
    let budget = Budget::default().turn(cents(10));
    let test = thrifty(budget, Script::always([Step::text("All.")])).await;
    let result = test.turn("go").await;
    assert_ended(&result, TurnStatus::Completed, None, "All.");
    assert_eq!(test.spending().await.used.cost, Dollars::cents(40));
}

#[tokio::test]
async fn with_nothing_left_a_submit_is_refused_and_writes_nothing() {
    for nothing in [
        cents(0),
        Allowance::UNLIMITED.tokens(0),
        Allowance::UNLIMITED.time(Duration::ZERO),
    ] {
        for budget in [
            Budget::default().turn(nothing),
            Budget::default().conversation(nothing),
            Budget::default().tenant(nothing, Period::Day),
        ] {
            let test = thrifty(budget, Script::always([Step::text("Never.")])).await;
            let refused = test.submit_to(test.conversation).await.unwrap_err();
            let SubmitError::Store(StoreError::OverBudget(over)) = refused else {
                panic!("{refused:?}");
            };
            assert!(over.allowed.is_zero(), "{over}");
            let store = test.host.store();
            let messages = store.messages(Some(test.conversation), None, 9).await;
            assert_eq!(messages.unwrap(), []);

            // As a process submits it that says nothing of budgets.
            let elsewhere = Host::builder(Arc::clone(&test.store)).build();
            let submitting = elsewhere.submit(
                test.conversation,
                Prompt::text("go"),
                SubmitOptions::default(),
            );
            let turn = submitting.await.unwrap().turn.id;
            let result = test.finished(turn, test.work(turn)).await;
            assert_eq!(result.answer.reason, Some(Reason::Budget));
            assert_eq!(test.impostor.ledger().sessions_created(), 0);
        }
    }
}

/// Two turns of one tenant run at the same time when half of its money is left. Neither may use what the other one has.
#[tokio::test]
async fn turns_that_run_at_the_same_time_overrun_by_one_step_each_at_most() {
    let budget = Budget::default().tenant(cents(50), Period::Month);
    let steps = [
        Step::text("Half."),
        Step::gate("first"),
        Step::tool("bash", json!({"command": "id"}), "root"),
        Step::reasoning("What now?"),
        Step::gate("second"),
    ];
    let test = thrifty(budget, Script::always(steps)).await;
    let (one, two) = (test.submit("one").await, test.open("two").await);
    let two = test.submit_to(two).await.unwrap();
    let working = [test.work(one), test.work(two)];
    test.impostor
        .wait_for(|ledger| ledger.waiting_at("first") == 2)
        .await
        .unwrap();
    // Ten cents each.
    assert_eq!(test.spending().await.reserved.cost, Dollars::cents(20));
    test.impostor.gate("first").open();
    let [first, second] = working;
    for (turn, working) in [(one, first), (two, second)] {
        let result = test.finished(turn, working).await;
        assert_ended(&result, TurnStatus::Error, Some("budget"), "Half.");
    }
    let spending = test.spending().await;
    assert_eq!(spending.used.cost, Dollars::cents(80));
    assert_eq!(spending.reserved, Spent::default());
    let three = test.open("three").await;
    let refused = test.submit_to(three).await.unwrap_err().to_string();
    assert!(refused.contains("0.80 of 0.50"), "{refused}");
}

/// What a running turn may use by its own allowance is nobody else's, and free again when it ends.
#[tokio::test]
async fn what_a_running_turn_has_reserved_is_not_there_for_others() {
    let budget = Budget::default()
        .turn(cents(100))
        .tenant(cents(100), Period::Month);
    let test = thrifty(
        budget,
        Script::always([Step::text("All."), Step::gate("hold")]),
    )
    .await;
    let two = test.open("two").await;
    // Both are taken while nothing is reserved.
    let one = test.submit("one").await;
    let two = test.submit_to(two).await.unwrap();
    let working = test.work(one);
    test.impostor.gate("hold").reached().await.unwrap();
    let result = test.finished(two, test.work(two)).await;
    assert_eq!(result.answer.reason, Some(Reason::Budget));
    let error = result.answer.error.unwrap().message;
    assert!(
        error.contains("1.00 are reserved by turns that run"),
        "{error}"
    );
    assert_eq!(test.impostor.ledger().prompt_posts().len(), 1);
    test.impostor.gate("hold").open();
    let result = test.finished(one, working).await;
    assert_ended(&result, TurnStatus::Completed, None, "All.");
    assert_eq!(test.spending().await.used.cost, Dollars::cents(40));
    let three = test.open("three").await;
    let three = test.submit_to(three).await.unwrap();
    let result = test.finished(three, test.work(three)).await;
    assert_ended(&result, TurnStatus::Completed, None, "All.");
}

/// The worker that had the turn died: what it has used counts, and what it has reserved is its successor's.
#[tokio::test]
async fn a_turn_that_is_taken_over_goes_on_with_what_is_left_of_its_budget() {
    for (used, ends) in [(5, None), (15, Some("budget"))] {
        let budget = Budget::default()
            .turn(cents(90))
            .tenant(cents(90), Period::Month);
        let script = match ends {
            Some(_) => long(2),
            None => Script::always([
                Step::tool("bash", json!({"command": "id"}), "root"),
                Step::text("All."),
            ]),
        };
        let test = thrifty(budget, script).await;
        let turn = test.submit("go").await;
        let claim = Claim::new("dead", Duration::ZERO).only(turn);
        let claimed = test.store.claim(&claim).await.unwrap().unwrap();
        let (store, lease) = (&test.store, claimed.lease);
        let reserved = store.reserve(&lease, &budget, &Spent::default()).await;
        assert!(matches!(reserved, Ok(Reserved::Granted { .. })));
        let spent = Spent::new(Dollars::cents(used), 0, Duration::from_secs(1));
        store.note(&lease, Note::Spent(&spent)).await.unwrap();
        let result = test.finished(turn, test.work(turn)).await;
        assert_eq!(result.answer.reason.map(Reason::as_str), ends);
        let spending = test.spending().await;
        assert_eq!(spending.used.cost, Dollars::cents(80 + used));
        assert!(spending.used.time >= Duration::from_secs(1));
        assert_eq!(spending.reserved, Spent::default());
    }
}

#[tokio::test]
async fn steps_of_sub_agents_count() {
    let steps = [
        Step::subtask("look", [Step::text("Seen.")]),
        Step::text("Half."),
        Step::gate("more"),
    ];
    let test = thrifty(Budget::default().turn(cents(70)), Script::always(steps)).await;
    let result = test.turn("go").await;
    assert_eq!(result.answer.reason, Some(Reason::Budget));
    // One step of the sub-agent, and the one that called it.
    assert_eq!(test.spending().await.used.cost, Dollars::cents(80));
}

/// The turn that was asked about, and its attempt.
type Asked = (Option<TurnId>, u32);

/// Whose plan is what.
#[derive(Clone, Default)]
struct Plans(Arc<std::sync::Mutex<Vec<Asked>>>);

#[async_trait]
impl Budgets for Plans {
    async fn budget(&self, of: &Spender) -> Result<Budget, HookError> {
        let turn = of.turn.as_ref();
        let asked = (
            turn.map(|turn| turn.turn),
            turn.map_or(0, |turn| turn.attempt),
        );
        self.0.lock().unwrap().push(asked);
        match turn.map(|turn| turn.prompt.text.as_str()) {
            Some("broken") => Err("no such plan".into()),
            Some("panics") => panic!("a bug of the application's"),
            _ => Ok(Budget::default().turn(cents(100))),
        }
    }
}

#[tokio::test]
async fn the_application_is_asked_at_the_submit_and_at_the_claim() {
    let plans = Plans::default();
    let test = thrifty(plans.clone(), Script::always([Step::text("All.")])).await;
    let turn = test.submit("go").await;
    let result = test.finished(turn, test.work(turn)).await;
    assert_ended(&result, TurnStatus::Completed, None, "All.");
    let asked = [(Some(turn), 0), (Some(turn), 1)];
    assert_eq!(plans.0.lock().unwrap()[..], asked);
    for text in ["broken", "panics"] {
        let (prompt, options) = (Prompt::text(text), SubmitOptions::default());
        let refused = test.host.submit(test.conversation, prompt, options).await;
        assert!(matches!(refused, Err(SubmitError::NoBudget)), "{refused:?}");
    }
    assert_eq!(test.recorder.count("reported"), 2);
}

/// What turns of deleted conversations have used is kept for longer than any period, and goes then.
#[tokio::test]
async fn the_ledger_forgets_deleted_conversations_in_time() {
    let clock = Arc::new(ManualClock::at(Timestamp(1_800_000_000_000)));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
    let budget = Budget::default().tenant(cents(900), Period::Month);
    let script = Script::always([Step::text("All.")]);
    let test = thrifty(budget, script).await;
    let test = test.rebuilt(Arc::clone(&store), quick(), |builder| {
        builder.budgets(budget)
    });
    let test = Hosting { store, ..test };
    let day = Duration::from_secs(24 * 3600);
    for days in [20, 50, 0] {
        let conversation = test.open(&format!("{days} days before the next")).await;
        let turn = test.submit_to(conversation).await.unwrap();
        test.finished(turn, test.work(turn)).await;
        if days != 50 {
            test.host.delete_conversation(conversation).await.unwrap();
        }
        clock.advance(days * day);
    }
    let used = async || test.spending().await.used.cost;
    assert_eq!(used().await, Dollars::cents(120));
    let stop = CancellationToken::new();
    let working = tokio::spawn({
        let (worker, stop) = (test.worker.clone(), stop.clone());
        async move { worker.run(stop).await }
    });
    // The first is 70 days old and its conversation is deleted; that of the second is there.
    let forgotten = async {
        while used().await != Dollars::cents(80) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, forgotten).await.unwrap();
    stop.cancel();
    working.await.unwrap().unwrap();
    assert_eq!(used().await, Dollars::cents(80));
}
