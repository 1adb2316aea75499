//! A database that an earlier version has made, before its tables had a prefix: it is renamed, read, and its turns go on.

use std::sync::Arc;
use std::time::Duration;

use opencode_client::reply::{PersistedPart, View};
use opencode_client::wire::Prompt;
use opencode_client::{PermissionId, wire::PermissionReply};
use opencode_host::budget::{Dollars, Spending, Spent};
use opencode_host::clock::{ManualClock, SystemClock, Timestamp};
use opencode_host::id::TurnId;
use opencode_host::outcome::{Answer, Reason, Usage};
use opencode_host::store::{
    Account, AnswerOutcome, AttachmentSource, Claim, Conversation, ConversationFilter, Effect,
    EffectKind, Finish, Finished, NewAnswer, NewTurn, Page, Phase, ServerName, ServerState,
    SessionRecord, StateRow, Store, StoreError, Tenant, Turn, TurnState, TurnStatus,
};
use opencode_sql::{Dialect, Options, migrations};
use sqlx::migrate::Migrator;
use sqlx::{Connection as _, SqliteConnection};

use crate::fixture::{PostgresDatabase, SqliteFile, on_postgres, open};
use crate::found::are_found;

/// What `sqlite3 host.db .dump` says of a file that the version of schema 3, before answers were rows, has written.
const SCHEMA_3: Made = (3, include_str!("../fixtures/schema-3.sql"));
/// What it says after the version of schema 4 has opened it and taken two answers.
pub(crate) const SCHEMA_4: Made = (4, include_str!("../fixtures/schema-4.sql"));

/// A version of the schema, and a database that has it.
pub(crate) type Made = (i64, &'static str);

/// The steps that made that schema on Postgres.
static UNPREFIXED: Migrator = sqlx::migrate!("tests/fixtures/unprefixed");

/// When that version was killed.
const KILLED: Timestamp = Timestamp(1_790_000_016_000);

pub(crate) async fn made(file: &SqliteFile, (_, dump): Made) {
    let create = format!("{}?mode=rwc", file.url());
    let mut connection = SqliteConnection::connect(&create).await.unwrap();
    sqlx::raw_sql(dump).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(KILLED))
}

/// A turn of the database.
fn turn(id: &str) -> TurnId {
    format!("01a0c450-{id}").parse().unwrap()
}

fn ended_well() -> TurnId {
    turn("6fe8-7657-bf4d-0033301d9b45")
}

fn ended_badly() -> TurnId {
    turn("7ba0-787d-9065-82d1b7bae433")
}

fn queued() -> TurnId {
    turn("8370-79b1-8ca4-eb88724edfa0")
}

fn cancelled_in_the_queue() -> TurnId {
    turn("8758-7a35-9c52-c3384b95f569")
}

fn given_back() -> TurnId {
    turn("9310-712b-ad81-9d617aaf250e")
}

fn not_settled() -> TurnId {
    turn("9ae0-7971-878d-f382f208798a")
}

fn running() -> TurnId {
    turn("a2b0-7f45-a638-26603c6d545b")
}

async fn row(store: &dyn Store, id: TurnId) -> Turn {
    store.turn(id).await.unwrap().unwrap()
}

async fn named(store: &dyn Store, name: &str) -> Conversation {
    store
        .conversation_named(&Tenant::default(), name)
        .await
        .unwrap()
        .unwrap()
}

/// What turns had used is in the ledger: as their messages say, in the time from their first claim to their end.
async fn is_counted(store: &dyn Store) {
    let mut expected = Spent::default();
    for id in [ended_well(), ended_badly(), not_settled()] {
        let turn = row(store, id).await;
        let message = store.message(turn.message).await.unwrap().unwrap();
        let time = turn.finished_at().unwrap();
        let time = time.since(turn.started_at().unwrap());
        expected = expected.plus(Spent::of(&message.answer.usage, time));
    }
    let account = Account::Tenant(Tenant::default());
    let spending = store.spending(&account, Timestamp(0)).await.unwrap();
    assert_eq!(spending, Spending::new(expected, Spent::default()));
    // To the billionth, of 0.1 + 0.2.
    let well = row(store, ended_well()).await;
    let of_one = Account::Conversation(well.conversation);
    let since = well.started_at().unwrap();
    let spending = store.spending(&of_one, since).await.unwrap();
    assert_eq!(spending.used.cost, Dollars::cents(30));
    assert_eq!(spending.used.tokens, 24);
}

pub(crate) async fn is_read(store: &dyn Store, (version, _): Made) {
    is_counted(store).await;
    is_placed(store).await;
    let garden = named(store, "gar\\den").await;
    let mut session = SessionRecord::new("ses_1", 1_790_000_000_001);
    session.directory = Some("/w/garden".to_owned());
    session.policy = Some("fingerprint".to_owned());
    assert_eq!(garden.session, Some(session));
    let listed = store
        .conversations(&ConversationFilter::default(), &Page::newest(10))
        .await
        .unwrap();
    let listed: Vec<_> = listed
        .iter()
        .map(|summary| (summary.conversation.name.as_str(), summary.busy))
        .collect();
    let expected = ["meadow", "well", "mill", "pond", "gar\\den"];
    let expected = expected.map(|name| (name, !["well", "pond"].contains(&name)));
    assert_eq!(listed, expected);

    are_found(store).await;
    // Each turn goes on from the one before it, and all are shown.
    let shown = store.messages(Some(garden.id), None, 100).await.unwrap();
    assert_eq!(shown.len(), 6);
    let mut before = None;
    for message in shown.iter().step_by(2) {
        assert_eq!(row(store, message.turn).await.parent, before);
        assert_eq!(store.versions(message.turn).await.unwrap().len(), 1);
        before = Some(message.turn);
    }

    let turn = row(store, ended_well()).await;
    assert_eq!(
        (turn.started_at(), turn.progress_at(), turn.finished_at()),
        (
            Some(Timestamp(1_790_000_002_000)),
            Some(Timestamp(1_790_000_002_700)),
            Some(Timestamp(1_790_000_003_000))
        )
    );
    let message = store.message(turn.message).await.unwrap().unwrap();
    let answer = &message.answer;
    assert_eq!(answer.content, "Sow it.");
    assert_eq!(answer.reasoning, "Seeds\0?");
    assert_eq!(
        (answer.truncated, answer.reason),
        (true, Some(Reason::Length))
    );
    let usage = Usage {
        cost: 0.1 + 0.2,
        input_tokens: 12,
        output_tokens: 3,
        cache_read_tokens: 4,
        cache_write_tokens: 5,
    };
    assert_eq!(answer.usage, usage);
    let [
        PersistedPart::Reasoning { .. },
        PersistedPart::Tool(tool),
        PersistedPart::Text { .. },
    ] = &answer.parts[..]
    else {
        panic!("{:?}", answer.parts);
    };
    assert_eq!(tool.input.as_ref().unwrap()["content"], "# It's\\n");
    let mut files = store.attachments(turn.user_message).await.unwrap();
    files.extend(store.attachments(turn.message).await.unwrap());
    let files: Vec<_> = files
        .iter()
        .map(|file| (&*file.name, file.source))
        .collect();
    assert_eq!(
        files,
        [
            ("plants.csv", AttachmentSource::Upload),
            ("report.md", AttachmentSource::Transform)
        ]
    );
    let events = store.turn_events(turn.id).await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].payload["status"], "completed");

    let failed = row(store, ended_badly()).await;
    let message = store.message(failed.message).await.unwrap().unwrap();
    assert_eq!(message.answer.error.unwrap().status_code, Some(402));

    assert_eq!(row(store, queued()).await.state, TurnState::Queued);
    assert_eq!(
        row(store, cancelled_in_the_queue()).await.state,
        TurnState::NeverStarted {
            at: Timestamp(1_790_000_009_000),
            settled: false
        }
    );
    let waiting = row(store, given_back()).await;
    assert!(
        matches!(waiting.state, TurnState::GivenBack(_)),
        "{waiting:?}"
    );
    assert_eq!(waiting.prompted.unwrap().session.as_str(), "ses_2");
    let left = row(store, running()).await;
    let mut state = StateRow::new(Phase::Running);
    state.started_at = Some(Timestamp(1_790_000_015_000));
    state.progress_at = Some(Timestamp(1_790_000_015_000));
    state.cancel_requested_at = Some(KILLED);
    assert_eq!(StateRow::from(left.state), state);
    assert_eq!(left.replaced.as_ref().map(|id| id.as_str()), Some("ses_0"));
    let parts = View::from(&left.checkpoint)
        .parts()
        .map(|part| part.part.clone())
        .collect::<Vec<_>>();
    let content = "Half of ".to_owned();
    assert_eq!(parts, [PersistedPart::Text { content }]);
    let answers = store.answers(left.id).await.unwrap();
    let answers: Vec<_> = answers
        .iter()
        .map(|known| (&*known.answer.request, known.answer.by.as_deref()))
        .collect();
    let expected = [("per_1", Some("Ann\\e")), ("per_2", None)];
    assert_eq!(answers, expected[..if version == 4 { 2 } else { 0 }]);
}

/// The hooks of turns that had ended, and were not settled, are to be called.
async fn owes_hooks(store: &dyn Store, as_expected: fn(&Effect) -> bool) {
    for (id, status) in [
        (cancelled_in_the_queue(), TurnStatus::Cancelled),
        (not_settled(), TurnStatus::Completed),
    ] {
        let turn = row(store, id).await;
        let expected = EffectKind::turn_end(turn.conversation, id, turn.message, status);
        let effects = store.effects(99).await.unwrap();
        let mut of_it = effects.iter().filter(|effect| effect.id == id.into());
        let effect = of_it.next().unwrap();
        assert_eq!(effect.kind, expected);
        assert!(as_expected(effect), "{effect:?}");
    }
}

/// A claim of a worker that gives its server no name, as an application with one server does.
fn todays_claim() -> Claim {
    let claim = Claim::new("today's worker", Duration::from_secs(15));
    claim.on(&ServerName::default(), None)
}

/// The conversations that had a session, or a turn that was prompted.
const PLACED: [&str; 3] = ["meadow", "mill", "gar\\den"];

/// What had a session is placed on the one server that there was; the rest is to be placed.
async fn is_placed(store: &dyn Store) {
    let loads = store.servers().await.unwrap();
    let [load] = &loads[..] else {
        panic!("{loads:?}")
    };
    assert_eq!(load.server.name, ServerName::default());
    assert_eq!(load.server.state(), ServerState::Ready);
    let every = ConversationFilter::default();
    let listed = store
        .conversations(&every, &Page::newest(10))
        .await
        .unwrap();
    let placed = listed
        .iter()
        .filter(|listed| listed.conversation.server.is_some());
    let placed: Vec<_> = placed.map(|listed| &*listed.conversation.name).collect();
    assert_eq!(placed, PLACED);
}

/// Claims the next turn, which is this one; ends it if it has not ended; and settles it.
async fn is_next(store: &dyn Store, id: TurnId, ends: Option<TurnStatus>) {
    let claim = todays_claim();
    let claimed = store.claim(&claim).await.unwrap().unwrap();
    assert_eq!(claimed.turn.id, id);
    if let Some(status) = ends {
        let finish = Finish::new(TurnStatus::Completed, Answer::text("Done."), Duration::ZERO);
        let finished = store.finish(&claimed.lease, &finish).await.unwrap();
        assert_eq!(finished, Finished::Stored(status));
    }
    assert!(store.settle(&claimed.lease).await.unwrap());
}

pub(crate) async fn goes_on(store: &dyn Store, clock: &ManualClock) {
    owes_hooks(store, Effect::is_held).await;
    let answer = NewAnswer::permission(&PermissionId::from("per_3"), PermissionReply::Once);
    let answered = store.answer(running(), &answer).await.unwrap();
    assert!(matches!(answered, AnswerOutcome::Taken(_)), "{answered:?}");

    is_next(store, cancelled_in_the_queue(), None).await;
    is_next(store, queued(), Some(TurnStatus::Completed)).await;
    is_next(store, given_back(), Some(TurnStatus::Completed)).await;
    let claim = todays_claim();
    assert!(
        store.claim(&claim).await.unwrap().is_none(),
        "both are leased"
    );
    clock.advance(Duration::from_secs(20));
    is_next(store, not_settled(), None).await;
    // Its person had asked for that.
    is_next(store, running(), Some(TurnStatus::Cancelled)).await;
    owes_hooks(store, |effect| !effect.is_held() && effect.due_at.is_some()).await;
    assert!(store.claim(&claim).await.unwrap().is_none());

    let garden = named(store, "gar\\den").await;
    let mut again = NewTurn::new(garden.id, Prompt::text("Who waters it?"), &SystemClock);
    again.client_key = Some("key \\ of Who waters it?".to_owned());
    let known = store.submit(&again).await.unwrap();
    assert_eq!((known.turn.id, known.created), (queued(), false));
    again.client_key = None;
    let new = store.submit(&again).await.unwrap();
    assert!(new.created);
    is_next(store, new.turn.id, Some(TurnStatus::Completed)).await;
}

#[tokio::test]
async fn a_file_of_an_earlier_version_is_read_and_goes_on() {
    for version in [SCHEMA_3, SCHEMA_4] {
        let (file, clock) = (SqliteFile::new(), clock());
        made(&file, version).await;
        let store = open(&file.url(), &clock).await;
        is_read(&*store, version).await;
        goes_on(&*store, &clock).await;
    }
}

/// The same rows, in the schema that Postgres had then.
async fn made_on_postgres(database: &PostgresDatabase, (version, dump): Made) {
    let mut beside = database.connection().await;
    UNPREFIXED.run_to(version, &mut beside).await.unwrap();
    let rows = dump.lines().filter(|line| {
        line.starts_with("INSERT INTO ")
            && !line.contains(" _sqlx_migrations ")
            && !line.contains(" sqlite_sequence ")
    });
    let mut made = String::new();
    for line in rows {
        let unnumbered = [" conversations ", " sessions ", " answers "];
        let values = if unnumbered.iter().any(|table| line.contains(table)) {
            " VALUES("
        } else {
            " OVERRIDING SYSTEM VALUE VALUES("
        };
        made += &line.replacen(" VALUES(", values, 1);
    }
    for table in ["turns", "messages", "turn_events", "attachments"] {
        let next = format!("SELECT setval(pg_get_serial_sequence('{table}', 'seq'), 100);");
        made += &next;
    }
    let made = sqlx::raw_sql(sqlx::AssertSqlSafe(made));
    made.execute(&mut beside).await.unwrap();
    beside.close().await.unwrap();
}

#[tokio::test]
async fn a_postgres_of_an_earlier_version_is_read_and_goes_on() {
    for version in [SCHEMA_3, SCHEMA_4] {
        on_postgres(async |database| {
            let clock = clock();
            made_on_postgres(database, version).await;
            let store = open(&database.url(), &clock).await;
            is_read(&*store, version).await;
            goes_on(&*store, &clock).await;
        })
        .await;
    }
}

/// What an application has noted in the table of sqlx stays there, and so does the table.
#[tokio::test]
async fn what_an_application_has_noted_beside_the_earlier_version_stays() {
    let note = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                VALUES (20260101000000, 'tickets', true, ";
    let left = "SELECT version FROM _sqlx_migrations";
    let (file, clock) = (SqliteFile::new(), clock());
    made(&file, SCHEMA_4).await;
    let mut beside = file.connection().await;
    let noted = sqlx::raw_sql(sqlx::AssertSqlSafe(format!("{note} x'00', 0)")));
    noted.execute(&mut beside).await.unwrap();
    is_read(&*open(&file.url(), &clock).await, SCHEMA_4).await;
    let versions: Vec<i64> = sqlx::query_scalar(left)
        .fetch_all(&mut beside)
        .await
        .unwrap();
    assert_eq!(versions, [20_260_101_000_000]);

    on_postgres(async |database| {
        made_on_postgres(database, SCHEMA_4).await;
        let mut beside = database.connection().await;
        let noted = sqlx::raw_sql(sqlx::AssertSqlSafe(format!("{note} '\\x00', 0)")));
        noted.execute(&mut beside).await.unwrap();
        is_read(&*open(&database.url(), &clock).await, SCHEMA_4).await;
        let versions: Vec<i64> = sqlx::query_scalar(left)
            .fetch_all(&mut beside)
            .await
            .unwrap();
        assert_eq!(versions, [20_260_101_000_000]);
    })
    .await;
}

/// A program of an earlier version that was started once more: it has made tables of its own.
#[tokio::test]
async fn tables_that_an_earlier_version_has_made_beside_ours_are_told() {
    let file = SqliteFile::new();
    made(&file, SCHEMA_4).await;
    open(&file.url(), &clock()).await;
    made(&file, SCHEMA_4).await;
    let told = is_refused(&file.url()).await;
    assert!(
        told.contains("an earlier version has made tables"),
        "{told}"
    );

    on_postgres(async |database| {
        made_on_postgres(database, SCHEMA_4).await;
        open(&database.url(), &clock()).await;
        made_on_postgres(database, SCHEMA_4).await;
        let told = is_refused(&database.url()).await;
        assert!(
            told.contains("an earlier version has made tables"),
            "{told}"
        );
    })
    .await;
}

async fn is_refused(url: &str) -> String {
    match opencode_sql::connect(url).await {
        Err(StoreError::Configuration(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// What no version writes, or only a newer one: the row is told, in words, and holds up no other conversation.
#[tokio::test]
async fn a_row_that_cannot_be_read_is_told_and_contained() {
    for (set, told) in [
        (
            "started_at = NULL, progress_at = NULL",
            "column state: the turn runs, and has no time at which it started",
        ),
        (
            "started_at = NULL",
            "column state: the turn runs, and has a time of progress, but none at which it started",
        ),
        (
            "finished_at = 7",
            "column state: the turn runs, and has a time at which it ended",
        ),
        (
            "state = 'finished', status = 'completed'",
            "column state: the turn has finished, and has no time at which it ended",
        ),
        (
            "version = 2",
            "column version: 2 is newer than 1, the newest this version reads",
        ),
        (
            r#"checkpoint = '{"parts": [{"part": {"type": "hologram", "content": "?"}}]}'"#,
            "column checkpoint: unknown variant `hologram`",
        ),
        (
            r#"checkpoint = '{"pieces": []}'"#,
            "column checkpoint: missing field `parts`",
        ),
    ] {
        let (file, clock) = (SqliteFile::new(), clock());
        made(&file, SCHEMA_3).await;
        let mut beside = file.connection().await;
        let id = running().to_string();
        let broken = format!("UPDATE turns SET {set} WHERE id = '{id}'");
        let broken = sqlx::raw_sql(sqlx::AssertSqlSafe(broken));
        broken.execute(&mut beside).await.unwrap();
        let store = open(&file.url(), &clock).await;
        clock.advance(Duration::from_secs(20));
        let claim = Claim::new("today's worker", Duration::from_secs(15));
        let mut claimed = Vec::new();
        let mut refused = vec![store.turn(running()).await.map(|_| ()).unwrap_err()];
        loop {
            match store.claim(&claim).await {
                Ok(Some(turn)) => claimed.push(turn.turn.id),
                Ok(None) => break,
                Err(error) => refused.push(error),
            }
        }
        assert_eq!(refused.len(), 2, "{set}: {refused:?}");
        for error in refused {
            let StoreError::Corrupt {
                table,
                id: row,
                detail,
            } = error
            else {
                panic!("{set}: {error:?}");
            };
            assert_eq!((table, &row), ("turns", &id), "{set}");
            assert!(detail.starts_with(told), "{set}: {detail}");
        }
        claimed.sort_unstable();
        let others = [
            queued(),
            cancelled_in_the_queue(),
            given_back(),
            not_settled(),
        ];
        assert_eq!(claimed, others, "{set}");
    }
}

/// A newer version may write more into a checkpoint: what is not known is left out.
#[tokio::test]
async fn a_checkpoint_with_more_in_it_is_read() {
    let file = SqliteFile::new();
    made(&file, SCHEMA_3).await;
    let mut beside = file.connection().await;
    let more = r#"UPDATE turns SET checkpoint = '{"prompt": "msg_30", "mood": "good", "parts": [{"id": "prt_3",
        "weight": 7, "part": {"type": "text", "content": "Half of ", "lang": "en"}}]}' WHERE state = 'running'"#;
    sqlx::raw_sql(more).execute(&mut beside).await.unwrap();
    let store = open(&file.url(), &clock()).await;
    is_read(&*store, SCHEMA_3).await;
}

/// The first steps, two conversations, one of which is named as the other's id, and a turn in the queue.
fn before_tenants(dialect: Dialect, steps: usize) -> String {
    let all = migrations(dialect, &Options::default()).unwrap();
    let made: String = all[..steps].iter().map(|step| step.sql.as_str()).collect();
    let (one, two, checkpoint) = (queued(), running(), r#"{"parts":[]}"#);
    made + &format!(
        r#"INSERT INTO opencode_conversations (id, name, created_at, used_at)
             VALUES ('{one}', '{two}', 1, 1), ('{two}', 'gar\\den', 2, 2);
           INSERT INTO opencode_sessions (conversation) VALUES ('{one}'), ('{two}');
           INSERT INTO opencode_turns (id, version, conversation, user_message, message, prompt, state, checkpoint,
               created_at)
             VALUES ('{one}', 1, '{two}', '{one}', '{two}', '{{"text":"Hello"}}', 'queued', '{checkpoint}', 3);"#
    )
}

async fn has_no_tenant(store: &dyn Store) {
    let nobody = Tenant::default();
    let names = [
        (queued(), running().to_string()),
        (running(), "gar\\den".to_owned()),
    ];
    for (id, name) in names {
        let known = named(store, &name).await;
        assert_eq!(
            (known.id.to_string(), &known.tenant),
            (id.to_string(), &nobody)
        );
        assert!(known.metadata.is_empty());
        assert_eq!(
            store.open_conversation(&nobody, &name).await.unwrap(),
            known
        );
        let other = store
            .open_conversation(&"acme".into(), &name)
            .await
            .unwrap();
        assert_ne!(other.id, known.id);
    }
    assert!(row(store, queued()).await.metadata.is_empty());
    let claim = Claim::new("today's worker", Duration::from_secs(15));
    assert_eq!(
        store.claim(&claim).await.unwrap().unwrap().turn.id,
        queued()
    );
}

#[tokio::test]
async fn conversations_from_before_tenants_are_of_nobody_and_keep_their_names() {
    for steps in 1..=4 {
        let file = SqliteFile::new();
        let create = format!("{}?mode=rwc", file.url());
        let mut beside = SqliteConnection::connect(&create).await.unwrap();
        let made = sqlx::AssertSqlSafe(before_tenants(Dialect::Sqlite, steps));
        sqlx::raw_sql(made).execute(&mut beside).await.unwrap();
        has_no_tenant(&*open(&file.url(), &clock()).await).await;
        on_postgres(async |database| {
            let mut beside = database.connection().await;
            let made = sqlx::AssertSqlSafe(before_tenants(Dialect::Postgres, steps));
            sqlx::raw_sql(made).execute(&mut beside).await.unwrap();
            has_no_tenant(&*open(&database.url(), &clock()).await).await;
        })
        .await;
    }
}
