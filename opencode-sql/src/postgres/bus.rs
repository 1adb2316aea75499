//! Nodes tell each other of running turns: rows that are kept for a minute, and notifications that there are some.
//!
//! The tables are not logged: their commits wait for no disk, and a server that crashes loses them, which watchers make up
//! for. Each call is one statement without a transaction, whoever's the pool is.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use opencode_host::clock::Clock;
use opencode_host::id::TurnId;
use opencode_host::live::{
    BusError, Hint, Interest, LiveBus, LiveMessage, MAX_LIVE_MESSAGE, MessagePlace, NodeId, Read,
};
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};

use super::listen::{self, Heard};
use crate::names::Names;

/// The most bytes that one call reads, but for the last message.
const MAX_READ: i64 = 16 << 20;

/// The time by the clock that all nodes share, or the one of a test.
macro_rules! now {
    ($given:literal) => {
        concat!(
            "COALESCE(CAST($",
            $given,
            " AS BIGINT), CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT))"
        )
    };
}

/// A message that is there already was sent by somebody who does not know that it was.
const PUBLISH: &str = concat!(
    "WITH sent AS (INSERT INTO opencode_live (turn, generation, number, at, body) SELECT turn, generation, number, ",
    now!("7"),
    ", body FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[]) AS m(turn, generation, number, body) \
       ON CONFLICT DO NOTHING) SELECT pg_notify($5, $6)"
);
/// What is too large stays in the database.
const READ: &str = "SELECT turn, generation, number, size, CASE WHEN size <= $4 THEN body END AS body FROM (\
       SELECT l.turn, l.generation, l.number, l.body, octet_length(l.body)::bigint AS size, \
         sum(octet_length(l.body)) OVER (ORDER BY l.turn, l.generation, l.number) AS total \
       FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS r(turn, generation, number) \
       JOIN opencode_live AS l ON l.turn = r.turn AND (l.generation, l.number) > (r.generation, r.number)) AS found \
     WHERE total - size < $5 ORDER BY turn, generation, number";
const WATCH: &str = concat!(
    "WITH said AS (INSERT INTO opencode_watched (turn, node, asked, expires_at) SELECT turn, $3, asked, ",
    now!("7"),
    " + $4 FROM unnest($1::text[], $2::bigint[]) AS i(turn, asked) ORDER BY turn \
       ON CONFLICT (turn, node) DO UPDATE SET asked = EXCLUDED.asked, expires_at = EXCLUDED.expires_at) \
     SELECT pg_notify($5, $6)"
);
const WATCHED: &str = concat!(
    "SELECT turn, node, asked FROM opencode_watched WHERE turn = ANY($1) AND node <> $2 AND expires_at > ",
    now!("3")
);
const SWEEP: &str = concat!(
    "WITH ended AS (DELETE FROM opencode_watched WHERE expires_at <= ",
    now!("2"),
    ") DELETE FROM opencode_live WHERE at <= ",
    now!("2"),
    " - $1"
);

/// The bus of a store on Postgres.
#[derive(Clone, Debug)]
pub(super) struct PostgresBus {
    pub(super) pool: PgPool,
    pub(super) names: Arc<Names>,
    /// The server's clock without one.
    pub(super) clock: Option<Arc<dyn Clock>>,
    pub(super) place: Arc<str>,
}

impl PostgresBus {
    fn now(&self) -> Option<i64> {
        self.clock.as_ref().map(|clock| clock.now().0)
    }

    fn error(&self, error: &sqlx::Error) -> BusError {
        BusError::new(format_args!("{}: {error}", self.place))
    }
}

#[async_trait]
impl LiveBus for PostgresBus {
    async fn publish(&self, messages: &[LiveMessage]) -> Result<(), BusError> {
        let mut rows = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for message in messages {
            let Ok(text) = message.text() else { continue };
            let place = message.place();
            rows.0.push(message.turn.to_string());
            rows.1.push(place.generation.cast_signed());
            rows.2.push(place.number.cast_signed());
            rows.3.push(text);
        }
        let (channel, schema) = listen::address(&self.names, Heard::Live);
        let publishing = sqlx::query(self.names.statement(PUBLISH))
            .bind(rows.0)
            .bind(rows.1)
            .bind(rows.2)
            .bind(rows.3)
            .bind(channel)
            .bind(schema)
            .bind(self.now())
            .execute(&self.pool);
        publishing.await.map_err(|error| self.error(&error))?;
        Ok(())
    }

    async fn read(&self, turns: &[Read]) -> Result<Vec<LiveMessage>, BusError> {
        let ids: Vec<_> = turns.iter().map(|read| read.turn.to_string()).collect();
        let after = turns.iter().map(|read| read.after);
        let generations: Vec<_> = after
            .clone()
            .map(|after| after.generation.cast_signed())
            .collect();
        let numbers: Vec<_> = after.map(|after| after.number.cast_signed()).collect();
        let reading = sqlx::query(self.names.statement(READ))
            .bind(ids)
            .bind(generations)
            .bind(numbers)
            .bind(MAX_LIVE_MESSAGE as i64)
            .bind(MAX_READ)
            .fetch_all(&self.pool);
        let rows = reading.await.map_err(|error| self.error(&error))?;
        // A row that is none of ours is passed over.
        Ok(rows.iter().filter_map(|row| message(row).ok()).collect())
    }

    async fn watch(
        &self,
        node: NodeId,
        turns: &[Interest],
        length: Duration,
    ) -> Result<(), BusError> {
        let ids: Vec<_> = turns.iter().map(|of| of.turn.to_string()).collect();
        let asked: Vec<_> = turns.iter().map(|of| of.asked.cast_signed()).collect();
        let (channel, schema) = listen::address(&self.names, Heard::Watched);
        let saying = sqlx::query(self.names.statement(WATCH))
            .bind(ids)
            .bind(asked)
            .bind(node.to_string())
            .bind(i64::try_from(length.as_millis()).unwrap_or(i64::MAX))
            .bind(channel)
            .bind(schema)
            .bind(self.now())
            .execute(&self.pool);
        saying.await.map_err(|error| self.error(&error))?;
        Ok(())
    }

    async fn watched(
        &self,
        node: NodeId,
        turns: &[TurnId],
    ) -> Result<Vec<(NodeId, Interest)>, BusError> {
        let ids: Vec<_> = turns.iter().map(TurnId::to_string).collect();
        let asking = sqlx::query(self.names.statement(WATCHED))
            .bind(ids)
            .bind(node.to_string())
            .bind(self.now())
            .fetch_all(&self.pool);
        let rows = asking.await.map_err(|error| self.error(&error))?;
        Ok(rows.iter().filter_map(|row| interest(row).ok()).collect())
    }

    async fn sweep(&self, age: Duration) -> Result<(), BusError> {
        let sweeping = sqlx::query(self.names.statement(SWEEP))
            .bind(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
            .bind(self.now())
            .execute(&self.pool);
        sweeping.await.map_err(|error| self.error(&error))?;
        Ok(())
    }

    async fn listen(&self, heard: &(dyn Fn(Hint) + Send + Sync)) {
        let wake = |what| match what {
            Heard::Live => heard(Hint::Published),
            Heard::Watched => heard(Hint::Watched),
            Heard::Queue => {}
        };
        let both = [Heard::Live, Heard::Watched];
        listen::listen(&self.pool, &self.names, &self.place, &both, &wake).await;
    }
}

/// What is wrong with a row.
type Odd = Box<dyn std::error::Error + Send + Sync>;

fn message(row: &PgRow) -> Result<LiveMessage, Odd> {
    let turn = row.try_get::<&str, _>("turn")?.parse()?;
    let place = MessagePlace {
        generation: row.try_get::<i64, _>("generation")?.try_into()?,
        number: row.try_get::<i64, _>("number")?.try_into()?,
    };
    Ok(match row.try_get::<Option<String>, _>("body")? {
        Some(text) => LiveMessage::new(turn, place, text),
        None => {
            let size = row.try_get::<i64, _>("size")?.try_into()?;
            LiveMessage::too_large(turn, place, size)
        }
    })
}

fn interest(row: &PgRow) -> Result<(NodeId, Interest), Odd> {
    let node = row.try_get::<&str, _>("node")?.parse()?;
    let interest = Interest {
        turn: row.try_get::<&str, _>("turn")?.parse()?,
        asked: row.try_get::<i64, _>("asked")?.try_into()?,
    };
    Ok((node, interest))
}
