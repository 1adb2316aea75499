//! Many turns of one tenant hold up no other: simulated workers, on a clock of the test's.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use opencode_host::clock::{Clock as _, ManualClock};
use opencode_host::outcome::Answer;
use opencode_host::store::{Claim, Finish, Lease, MemoryStore, Store, Tenant, TurnStatus};

use sqlx::{AssertSqlSafe, Executor as _};

use crate::fixture::{PostgresDatabase, SqliteFile, clock, new_turn, on_postgres, open};

const TENANTS: usize = 100;
/// How many turns run at once, and how long each does.
const PLACES: usize = 16;
const RUNS: Duration = Duration::from_secs(1);

/// Of the tenant that has one turn queued, so many more, as copies of it: the rows that claims look at.
const COPIES: &str = "
    INSERT INTO opencode_conversations (id, tenant, name, created_at, used_at FORMER)
      SELECT REPLACE(id, SUBSTR(id, 1, 8), NUMBERED), tenant, 'copy ' || n, created_at, used_at VALUE
      FROM opencode_conversations, numbers WHERE tenant = '0' AND name = '0';
    INSERT INTO opencode_sessions (conversation) SELECT id FROM opencode_conversations WHERE name LIKE 'copy %';
    INSERT INTO opencode_turns (id, version, conversation, user_message, message, prompt, state, checkpoint, created_at, tenant)
      SELECT REPLACE(t.id, SUBSTR(t.id, 1, 8), SUBSTR(c.id, 1, 8)), t.version, c.id, t.user_message, t.message, t.prompt, t.state,
        t.checkpoint, t.created_at, t.tenant
      FROM opencode_turns AS t, opencode_conversations AS c WHERE t.tenant = '0' AND c.name LIKE 'copy %';
    INSERT INTO opencode_arrivals (conversation, due_at) SELECT id, 0 FROM opencode_conversations WHERE name LIKE 'copy %';
    DROP TABLE numbers;
";

async fn copy_on_sqlite(file: &SqliteFile, copies: usize) {
    let numbers = format!(
        "CREATE TABLE numbers AS WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < {copies}) \
         SELECT n FROM r; {COPIES}"
    );
    let sql = numbers
        .replace("NUMBERED", "printf('%08x', n)")
        .replace(" FORMER", ", former_name")
        .replace(" VALUE", ", 'copy ' || n");
    let mut on = file.connection().await;
    on.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
}

async fn copy_on_postgres(database: &PostgresDatabase, copies: usize) {
    let numbers = format!(
        "CREATE TABLE numbers AS SELECT n FROM generate_series(1, {copies}) AS n; {COPIES}"
    );
    let sql = numbers
        .replace("NUMBERED", "lpad(to_hex(n), 8, '0')")
        .replace(" FORMER", "")
        .replace(" VALUE", "");
    let mut on = database.connection().await;
    on.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
}

/// Queues turns of one tenant, each in a conversation of its own.
async fn queue(store: &Arc<dyn Store>, tenant: usize, turns: usize) {
    let tenant = Tenant::from(tenant.to_string());
    for number in 0..turns {
        let opened = store.open_conversation(&tenant, &number.to_string()).await;
        store.submit(&new_turn(opened.unwrap().id)).await.unwrap();
    }
}

/// Queues, works until all turns of all tenants but the first have ended, and says how long these waited: on average, and at
/// most.
async fn waits(
    store: &Arc<dyn Store>,
    clock: &ManualClock,
    of_others: usize,
) -> (Duration, Duration) {
    join_all((1..TENANTS).map(|tenant| queue(store, tenant, of_others))).await;
    let (began, mut waited) = (clock.now(), Vec::new());
    let mut running: VecDeque<Lease> = VecDeque::new();
    let mut served: BTreeMap<String, usize> = BTreeMap::new();
    while waited.len() < (TENANTS - 1) * of_others {
        while running.len() < PLACES {
            let claim = Claim::new("worker", Duration::from_secs(60));
            let claimed = store.claim(&claim).await.unwrap();
            let Some(claimed) = claimed else { break };
            running.push_back(claimed.lease);
            let tenant = claimed.conversation.tenant.as_str().to_owned();
            if tenant != "0" {
                waited.push(clock.now().since(began));
            }
            *served.entry(tenant).or_default() += 1;
        }
        clock.advance(RUNS);
        for lease in running.drain(..) {
            let end = Finish::new(TurnStatus::Completed, Answer::text("Hi"), RUNS);
            store.finish(&lease, &end).await.unwrap();
            assert!(store.settle(&lease).await.unwrap());
        }
    }
    // Nobody is left out: the many have had their turns among the others'.
    assert_eq!(served.len(), TENANTS);
    assert!(
        served.values().all(|turns| *turns + 1 >= of_others),
        "{served:?}"
    );
    let most = waited.iter().max().copied().unwrap();
    let all: Duration = waited.iter().sum();
    (all / u32::try_from(waited.len()).unwrap(), most)
}

fn assert_hardly_longer(without: (Duration, Duration), with: (Duration, Duration)) {
    for (without, with) in [(without.0, with.0), (without.1, with.1)] {
        assert!(with * 10 <= without * 11, "{with:?} against {without:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nine_thousand_turns_of_one_tenant_hold_up_no_other_on_sqlite() {
    let mut waited = Vec::new();
    for copies in [9, 8999] {
        let (file, clock) = (SqliteFile::new(), clock());
        let store = open(&file.url(), &clock).await;
        // The many are there first.
        queue(&store, 0, 1).await;
        copy_on_sqlite(&file, copies).await;
        waited.push(waits(&store, &clock, 5).await);
    }
    assert_hardly_longer(waited[0], waited[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nine_thousand_turns_of_one_tenant_hold_up_no_other_on_postgres() {
    let mut waited = Vec::new();
    for copies in [9, 8999] {
        on_postgres(async |database| {
            let clock = clock();
            let store = open(&database.url(), &clock).await;
            queue(&store, 0, 1).await;
            copy_on_postgres(database, copies).await;
            waited.push(waits(&store, &clock, 2).await);
        })
        .await;
    }
    assert_hardly_longer(waited[0], waited[1]);
}

/// Fewer: it looks at all of them with each claim.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_turns_of_one_tenant_hold_up_no_other_in_memory() {
    let mut waited = Vec::new();
    for of_first in [10, 900] {
        let clock = clock();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
        queue(&store, 0, of_first).await;
        waited.push(waits(&store, &clock, 2).await);
    }
    assert_hardly_longer(waited[0], waited[1]);
}
