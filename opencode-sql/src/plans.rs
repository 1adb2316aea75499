//! Every statement finds its rows by an index: what a turn costs does not grow
//! with the number of turns before it.

use sqlx::{Connection as _, Executor as _, PgConnection, Row as _, SqliteConnection};

use crate::engine::Sql;
use crate::options::Dialect;
use crate::schema::STEPS;
use crate::tables::{
    answers, arrivals, attachments, backlog, claims, conversations, effects, endings, forks,
    leases, ledger, messages, progress, schedules, servers, tenants, turns, versions, words,
};

/// A statement, the index it is to use, and the types of its parameters.
type Expected = (Sql, &'static str, &'static str);

const LISTED: &str = "bigint, bigint, bigint, text, bigint, bigint, text, text, bigint";
const NEXT_ON: &str = "bigint, bigint, bigint, bigint, text, text";
const LISTED_OF_TENANT: &str =
    "bigint, bigint, bigint, text, bigint, bigint, text, text, bigint, text";

const FOUND: &str =
    "bigint, bigint, bigint, text, bigint, bigint, text, text, bigint, text, text, bigint";
const FOUND_OF_TENANT: &str =
    "bigint, bigint, bigint, text, bigint, bigint, text, text, bigint, text, text, bigint, text";

const EXPECTED: &[Expected] = &[
    (arrivals::TAKE, "arrivals_by_due", "bigint"),
    (arrivals::SET_FIRST, "turns_open", "text, bigint"),
    (arrivals::ADD_AGAIN, "turns_open", "text, bigint"),
    (arrivals::NEXT_DUE, "arrivals_by_due", "bigint"),
    (answers::OF_TURN, "(turn", "text"),
    (answers::BY_REQUEST, "(turn", "text, text"),
    (attachments::BY_ID, "attachments_id", "text"),
    (attachments::BY_NAME, "attachments_by_name", "text, text"),
    (attachments::OF_MESSAGE, "attachments_by_name", "text"),
    (
        attachments::NEWEST,
        "attachments_by_conversation",
        "text, bigint",
    ),
    (attachments::UPLOADED, "attachments_by_conversation", "text"),
    (attachments::IN_USE, "attachments_by_digest", "text"),
    (
        claims::TAKE_LEFT_BEHIND,
        "turns_by_lease_end",
        "text, bigint, bigint, bigint",
    ),
    (
        claims::TAKE_QUEUED,
        "turns_next",
        "text, bigint, bigint, bigint, text, text",
    ),
    (
        claims::TAKE_ONLY_LEFT_BEHIND,
        "(id",
        "text, bigint, bigint, bigint, text",
    ),
    (
        claims::TAKE_ONLY_QUEUED,
        "turns_open",
        "text, bigint, bigint, bigint, text",
    ),
    (
        claims::TAKE_LEFT_BEHIND_ON,
        "turns_by_lease_end",
        "text, bigint, bigint, bigint, text",
    ),
    (
        claims::TAKE_ONLY_LEFT_BEHIND_ON,
        "(id",
        "text, bigint, bigint, bigint, text, text",
    ),
    (
        claims::TAKE_ONLY_QUEUED_ON,
        "(id",
        "text, bigint, bigint, bigint, text, text",
    ),
    (backlog::QUEUED, "turns_by_server", "bigint, bigint"),
    (backlog::RUNNING, "turns_by_server", "bigint"),
    (claims::CUT_FUTURE_LEASES, "turns_by_lease_start", "bigint"),
    (conversations::BY_ID, "(id", "text"),
    (
        conversations::BY_NAME,
        "conversations_by_name",
        "text, text",
    ),
    (conversations::NEWEST, "conversations_by_use", LISTED),
    (conversations::NEWEST, "turns_open", LISTED),
    (conversations::NEWEST, "messages_by_conversation", LISTED),
    (conversations::OLDEST, "conversations_by_use", LISTED),
    (
        conversations::NEWEST_OF_TENANT,
        "conversations_by_tenant",
        LISTED_OF_TENANT,
    ),
    (
        conversations::OLDEST_OF_TENANT,
        "conversations_by_tenant",
        LISTED_OF_TENANT,
    ),
    (effects::TAKE, "effects_due", "bigint, bigint, text"),
    (effects::TAKE_THIS, "(id", "bigint, bigint, text"),
    (effects::IS_DUE, "effects_due", "text, bigint"),
    (effects::IS_AHEAD, "effects_due", "text, bigint"),
    // It has no parameter: the type is there for the form of `PREPARE`.
    (effects::LANES, "effects_due", "bigint"),
    (effects::OLDEST, "effects_by_age", "bigint"),
    (effects::GIVEN_UP, "effects_given_up", "bigint"),
    (endings::SETTLE, "(id", "text, bigint"),
    (leases::RENEW, "(id", "text, bigint, bigint"),
    (leases::CHECK, "(id", "text"),
    (progress::SET, "(id", "text, bigint"),
    (progress::ADD, "(id", "text, bigint"),
    (progress::ARE_RUNNING, "(id", "text"),
    (progress::FORGET, "(growths", "text"),
    (progress::UNFOLDED, "(id", "text"),
    (progress::FORGET_ONE, "(growths", "text"),
    (leases::RECORD_REPLACEMENT, "(id", "text, bigint, text"),
    (ledger::BY_TURN, "(ledger", "text"),
    (ledger::OF_TENANT, "ledger_by_tenant", "text, bigint, text"),
    (
        ledger::OF_CONVERSATION,
        "ledger_by_conversation",
        "text, bigint, text",
    ),
    (ledger::CLOSE, "ledger_by_conversation", "text"),
    (ledger::PRUNE, "ledger_deleted", "bigint, bigint"),
    (messages::BY_ID, "(id", "text"),
    (messages::PAGE, "(seq", "bigint, bigint"),
    (
        messages::PAGE_OF_CONVERSATION,
        "messages_by_conversation",
        "bigint, bigint, text",
    ),
    (messages::INDEX, "(seq", "bigint, bigint"),
    (
        messages::INDEX_OF_CONVERSATION,
        "messages_by_conversation",
        "bigint, bigint, text",
    ),
    (
        messages::BEFORE,
        "messages_by_conversation",
        "bigint, text, bigint",
    ),
    (schedules::BY_ID, "(id", "text"),
    (
        schedules::OF_CONVERSATION,
        "schedules_by_conversation",
        "text",
    ),
    (schedules::DUE, "schedules_due", "bigint, bigint"),
    (schedules::NEXT_DUE, "schedules_due", "bigint"),
    (schedules::SWAP, "(id", "text, bigint, bigint, text"),
    (schedules::PUT_OFF, "(id", "text, bigint, bigint"),
    (schedules::DELETE, "(id", "text"),
    (servers::BY_NAME, "(server", "text"),
    (servers::ON_GONE, "turns_by_server", "bigint"),
    (
        servers::PLACED_ON,
        "conversations_by_server",
        "text, bigint",
    ),
    (servers::SESSIONS, "conversations_by_server", "text, bigint"),
    (servers::UNPLACED, "turns_unplaced", "text, bigint, bigint"),
    (servers::PLACE_TURNS, "turns_open", "text, text"),
    (servers::DISPLACE_TURNS, "turns_open", "text"),
    (servers::RUNNING, "turns_by_server", "text, bigint"),
    (servers::UNFINISHED, "turns_by_server", "text, bigint"),
    (tenants::BY_TENANT, "(tenant", "text"),
    (tenants::RUNNING, "turns_at_work", "text"),
    (tenants::NEXT_ON, "tenant_queues_next", NEXT_ON),
    (tenants::NEXT_ON, "turns_next", NEXT_ON),
    (tenants::NEXT_ON, "turns_at_work", NEXT_ON),
    (tenants::EMPTY, "tenant_queues_next", "text"),
    (tenants::EMPTY, "turns_next", "text"),
    (tenants::NEWEST, "tenant_queues_used", "text"),
    (tenants::FREE_AT, "tenants_by_free_at", "bigint"),
    (effects::OF_LANE, "effects_due", "text, bigint"),
    (turns::ACTIVE, "turns_open", "text, bigint"),
    (turns::AHEAD, "turns_open", "text"),
    (turns::BY_ID, "(id", "text"),
    (turns::BY_IDS, "(id", "text"),
    (turns::STANDINGS, "(id", "text"),
    (turns::BY_CLIENT_KEY, "turns_by_client_key", "text, text"),
    (turns::EVENTS, "turn_events_by_turn", "text"),
    (turns::UNFINISHED, "turns_open", "text"),
    (turns::OLDEST_UNFINISHED, "turns_open", "text"),
    (
        conversations::BY_NAME_BESIDE,
        "conversations_by_name",
        "text, text",
    ),
    (forks::PLACE, "(id", "text"),
    (forks::FILES, "attachments_by_conversation", "text"),
    (versions::LAST_SHOWN, "messages_by_conversation", "text"),
    (versions::PLACE, "(id", "text"),
    (versions::VERSIONS, "turns_by_parent", "text"),
    (conversations::FOUND_NEWEST, "messages_words", FOUND),
    (conversations::FOUND_OLDEST, "messages_words", FOUND),
    (
        conversations::FOUND_NEWEST_OF_TENANT,
        "conversations_by_tenant",
        FOUND_OF_TENANT,
    ),
    (
        conversations::FOUND_OLDEST_OF_TENANT,
        "messages_words",
        FOUND_OF_TENANT,
    ),
    (words::DUE, "messages_due", "bigint, bigint"),
    (
        words::DUE_OF_CONVERSATION,
        "messages_due",
        "bigint, bigint, text",
    ),
    (words::IS_DUE, "conversations_due", "bigint"),
    // Postgres has few rows to look at in one conversation.
    (words::FOUND, "words_of_one", "text, text, bigint"),
    (versions::NEWEST_BEHIND, "turns_by_parent", "text, text"),
];

/// 20,000 conversations with two settled turns each; one more turn is queued, one runs. And many servers, with turns
/// that are queued there.
const OLD_TURNS: &str = "
    INSERT INTO opencode_servers (name, address, labels, created_at) SELECT 's' || n, '', '[]', n FROM numbers WHERE n < 1000;
    INSERT INTO opencode_conversations (id, name, created_at, used_at) SELECT 'c' || n, 'c' || n, n, n FROM numbers WHERE n < 20000;
    INSERT INTO opencode_sessions (conversation, session) SELECT id, '{}' FROM opencode_conversations;
    INSERT INTO opencode_turns (id, version, conversation, user_message, message, prompt, client_key, state, status, settled,
        checkpoint, created_at)
      SELECT 't' || n, 1, 'c' || (n % 20000), 'u' || n, 'a' || n, '{}', 'k' || n, 'finished', 'completed', 1, '{}', n
      FROM numbers;
    INSERT INTO opencode_turns (id, version, conversation, user_message, message, prompt, state, checkpoint, created_at, server,
        tenant, is_first)
      SELECT 'w' || n, 1, 'c' || (n + 2), 'u', 'a', '{}', 'queued', '{}', 1, 's' || (n % 8), 'o' || (n % 100), 1
      FROM numbers WHERE n < 2000;
    INSERT INTO opencode_tenants (tenant, is_set, weight, concurrency, free_at) SELECT 'o' || n, 1, 1, 2, n FROM numbers WHERE n < 10000;
    INSERT INTO opencode_tenant_queues (server, tenant, waiting, used_from, used_to)
      SELECT 's' || (n % 8), 'o' || n, CASE WHEN n < 100 THEN 1 ELSE 0 END, n, n + 1 FROM numbers WHERE n < 10000;
    INSERT INTO opencode_arrivals (conversation, due_at) SELECT 'c' || n, n FROM numbers WHERE n < 10000;
    INSERT INTO opencode_turns (id, version, conversation, user_message, message, prompt, state, checkpoint, created_at, worker,
        leased_at, lease_expires_at, server, tenant)
      SELECT 'x' || n, 1, 'c' || (n + 2002), 'u', 'a', '{}', 'running', '{}', 1, 'w', 1, 2, 's' || (n % 8), 'o' || (n % 100)
      FROM numbers WHERE n < 2000;
    INSERT INTO opencode_turns (id, version, conversation, user_message, message, prompt, state, checkpoint, created_at)
      VALUES ('q', 1, 'c0', 'u', 'a', '{}', 'queued', '{}', 1);
    INSERT INTO opencode_turns (id, version, conversation, user_message, message, prompt, state, checkpoint, created_at, worker,
        leased_at, lease_expires_at)
      VALUES ('r', 1, 'c1', 'u', 'a', '{}', 'running', '{}', 1, 'w', 1, 2);
    INSERT INTO opencode_messages (id, conversation, turn, role, status, content, parts, reasoning, cost, input_tokens,
        output_tokens, cache_read_tokens, cache_write_tokens, truncated, created_at)
      SELECT 'm' || n, 'c' || (n % 20000), 't' || n, 'user', 'completed', '', '[]', '', 0, 0, 0, 0, 0, 0, n FROM numbers;
    INSERT INTO opencode_attachments (id, message, conversation, name, digest, size, mime_type, source, trust, created_at)
      SELECT 'f' || n, 'm' || n, 'c' || (n % 20000), 'report.md', 'd' || n, 1, 'text/markdown', 'tool', '{}', n FROM numbers;
    INSERT INTO opencode_answers (turn, request, given, given_at, state, open) SELECT 't' || n, 'per', '{}', 1, '{}', 0 FROM numbers;
    INSERT INTO opencode_effects (id, tenant, kind, created_at, set_at, due_at, attempts, lane)
      SELECT 'e' || n, '', '{}', n, 1, n, 0, CASE n % 2 WHEN 0 THEN 'hooks' ELSE 'deletion' END FROM numbers;
    INSERT INTO opencode_effects (id, tenant, kind, created_at, set_at, attempts, lane)
      SELECT 'g' || n, '', '{}', n, 1, 20, 'hooks' FROM numbers WHERE n < 100;
    INSERT INTO opencode_ledger (turn, conversation, tenant, at, cost, tokens, millis, deleted)
      SELECT 't' || n, 'c' || (n % 20000), 'o' || (n % 100), n, 1, 1, 1, CASE n % 1000 WHEN 0 THEN 1 ELSE 0 END FROM numbers;
    INSERT INTO opencode_growths (turn, generation, number, at, growth) SELECT 't' || n, 1, 1, 1, '{}' FROM numbers;
    INSERT INTO opencode_schedules (id, conversation, next_at, record) SELECT 's' || n, 'c' || (n % 1000), n, '{}' FROM numbers;
    INSERT INTO opencode_turn_events (turn, name, payload, at) SELECT 't' || n, 'turn.finished', '{}', 1 FROM numbers;
";

/// What is no look-up: a table, or an index that does not follow the question, from end to end.
fn scans(line: &str) -> bool {
    let ordered = [
        "turns_unplaced",
        "effects_by_age",
        "effects_given_up",
        "conversations_by_use",
        // Of rows whose words are to be written: few, as a rule.
        "messages_due",
        "conversations_due",
        // Not a table: what the statement has found so far.
        "SCAN lanes",
        "SCAN counted",
        "USING INTEGER PRIMARY KEY",
    ];
    let whole =
        line.contains("Seq Scan") || (line.starts_with("SCAN ") && !line.contains("VIRTUAL TABLE"));
    whole && !line.contains("CONSTANT ROW") && !ordered.iter().any(|index| line.contains(index))
}

fn check(sql: &str, plan: &[String], index: &str) {
    let plan_text = plan.join("\n");
    assert!(
        plan_text.contains(index),
        "{sql}\ndoes not use {index}:\n{plan_text}"
    );
    assert!(
        !plan.iter().any(|line| scans(line)),
        "{sql}\nscans:\n{plan_text}"
    );
}

#[tokio::test]
async fn sqlite_uses_its_indexes() {
    let mut on = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    for step in STEPS {
        on.execute(step.text(Dialect::Sqlite)).await.unwrap();
    }
    on.execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY) STRICT")
        .await
        .unwrap();
    on.execute(
        "INSERT INTO numbers WITH RECURSIVE r(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM r WHERE n < 39999) SELECT n FROM r",
    )
    .await
    .unwrap();
    // A column that only SQLite has.
    let old = OLD_TURNS.replace(
        "(id, name, created_at, used_at) SELECT 'c' || n,",
        "(id, name, created_at, used_at, former_name) SELECT 'c' || n,",
    );
    let old = old.replace(
        "n, n FROM numbers WHERE n < 20000",
        "n, n, n FROM numbers WHERE n < 20000",
    );
    on.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(old)))
        .await
        .unwrap();
    // Once as SQLite plans by itself, once by what it learns when a person runs ANALYZE.
    for analyze in [false, true] {
        if analyze {
            on.execute("ANALYZE").await.unwrap();
        }
        for (sql, index, _) in EXPECTED {
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", sql.sqlite));
            let rows = sqlx::query(explain).fetch_all(&mut on).await.unwrap();
            let plan: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
            let index = match *index {
                "(id" | "attachments_id" => "(id=?",
                "(ledger" | "(growths" => "(turn=?",
                "(server" => "(name=?",
                "(tenant" => "(tenant=?",
                "(seq" => "(rowid>?",
                "messages_words" | "words_of_one" => "VIRTUAL TABLE INDEX 0:M1",
                index => index,
            };
            check(sql.sqlite, &plan, index);
        }
    }
}

#[tokio::test]
async fn postgres_uses_its_indexes() {
    let server = std::env::var("OPENCODE_HOST_TEST_POSTGRES").expect(
        "OPENCODE_HOST_TEST_POSTGRES is not set: run `cargo xtask test`, \
         or `cargo xtask pg --run cargo test -p opencode-sql`",
    );
    let mut on = PgConnection::connect(&server).await.unwrap();
    // All in one transaction, which is not committed.
    let mut on = on.begin().await.unwrap();
    on.execute("CREATE SCHEMA plans; SET LOCAL search_path TO plans; SET LOCAL plan_cache_mode = force_generic_plan")
        .await
        .unwrap();
    for step in STEPS {
        on.execute(step.text(Dialect::Postgres)).await.unwrap();
    }
    on.execute("CREATE TABLE numbers AS SELECT n FROM generate_series(0, 39999) AS n")
        .await
        .unwrap();
    on.execute(OLD_TURNS).await.unwrap();
    // As long as messages are.
    on.execute(
        "UPDATE opencode_messages SET due = 0, words = array_to_tsvector(ARRAY['word', 'w' || id]), content = repeat(id, 200)",
    )
    .await
    .unwrap();
    on.execute("UPDATE opencode_conversations SET words = '', server = 's' || (used_at % 8)")
        .await
        .unwrap();
    on.execute("ANALYZE").await.unwrap();
    for (number, (sql, index, types)) in EXPECTED.iter().enumerate() {
        let prepare = format!("PREPARE p{number}({types}) AS {}", sql.postgres);
        on.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(prepare)))
            .await
            .unwrap();
        let sample = types
            .split(", ")
            .map(|kind| if kind == "bigint" { "1" } else { "'[]'" });
        let sample: Vec<_> = sample.collect();
        let explain = format!("EXPLAIN EXECUTE p{number}({})", sample.join(", "));
        let rows = on
            .fetch_all(sqlx::raw_sql(sqlx::AssertSqlSafe(explain)))
            .await
            .unwrap();
        let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let index = match *index {
            "(id" => "Index Cond: (id = ",
            "(turn" => "opencode_answers_pkey",
            "(growths" => "opencode_growths_pkey",
            "(ledger" => "opencode_ledger_pkey",
            "words_of_one" => "messages_by_conversation",
            "(server" => "opencode_servers_pkey",
            "(tenant" => "opencode_tenants_pkey",
            "(seq" => "opencode_messages_pkey",
            "attachments_id" => "opencode_attachments_id_key",
            index => index,
        };
        check(sql.postgres, &plan, index);
    }
}
