//! A database that is damaged, taken away, or has a row that nobody can read.

use opencode_impostor::{Impostor, Script, Step};
use serde_json::Value;
use sqlx::{Connection as _, SqliteConnection};

use crate::support::{Chat, PATIENCE};

async fn connection(chat: &Chat) -> SqliteConnection {
    let url = format!("sqlite://{}", chat.database().display());
    SqliteConnection::connect(&url).await.unwrap()
}

/// What is wrong with the database, as `doctor` says.
async fn doctor(chat: &Chat) -> (i32, Value) {
    let ran = chat.run(&["doctor", "--json"]).await;
    let lines = ran.lines();
    let found = lines.into_iter().find(|line| line["check"] == "database");
    (ran.code, found.unwrap_or_else(|| panic!("{ran:?}")))
}

async fn told(turns: usize) -> (Impostor, Chat) {
    let impostor = Impostor::scripted(Script::always([Step::Echo]))
        .await
        .unwrap();
    let chat = Chat::with(&impostor);
    for turn in 0..turns {
        chat.turn(&format!("prompt {turn}"), &[])
            .await
            .ended(0, "completed");
    }
    (impostor, chat)
}

#[tokio::test]
async fn the_doctor_fails_on_a_damaged_database() {
    let (_impostor, chat) = told(1).await;
    assert_eq!(doctor(&chat).await.0, 0);
    let mut beside = connection(&chat).await;
    let query = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)");
    query.execute(&mut beside).await.unwrap();
    beside.close().await.unwrap();
    let sound = std::fs::read(chat.database()).unwrap();
    for page in 1..sound.len() / 4096 {
        let mut spoilt = sound.clone();
        spoilt[4096 * page..4096 * (page + 1)].fill(0xA5);
        std::fs::write(chat.database(), &spoilt).unwrap();
        let (code, found) = doctor(&chat).await;
        assert_eq!(
            (code, &found["status"]),
            (2, &Value::from("broken")),
            "page {page}: {found}"
        );
        assert!(
            found["advice"].as_str().unwrap().contains("backup"),
            "{found}"
        );
        assert!(
            std::fs::read(chat.database()).unwrap() == spoilt,
            "it was written to"
        );
        if page == 4 {
            break;
        }
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_read_hides_no_other() {
    let (_impostor, chat) = told(3).await;
    let all = chat.show().await;
    assert_eq!(all.len(), 6);
    let damages = [
        "UPDATE opencode_messages SET parts = '{not json' WHERE id = $1",
        "UPDATE opencode_messages SET status = 'odd' WHERE id = $1",
        "UPDATE opencode_messages SET id = 'no id' WHERE id = $1",
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let id = all[2 * number + 1]["message_id"].as_str().unwrap();
        let mut beside = connection(&chat).await;
        let keys = sqlx::query("PRAGMA foreign_keys = OFF");
        keys.execute(&mut beside).await.unwrap();
        let spoiling = sqlx::query(damage).bind(id).execute(&mut beside).await;
        assert_eq!(spoiling.unwrap().rows_affected(), 1);
        beside.close().await.unwrap();
    }
    let ran = chat.run(&["show", "--json"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("3 of 6 messages"), "{ran:?}");
    let lines = ran.lines();
    assert_eq!(lines.len(), 6, "{ran:?}");
    for (number, line) in lines.iter().enumerate() {
        if number % 2 == 0 {
            assert_eq!(line, &all[number]);
        } else {
            assert!(
                line["unreadable"].as_str().unwrap().contains("messages"),
                "{line}"
            );
        }
    }
    let ran = chat.run(&["show"]).await;
    assert_eq!((ran.code, ran.stdout.lines().count()), (1, 6), "{ran:?}");
    let (code, found) = doctor(&chat).await;
    assert_eq!(
        (code, &found["status"]),
        (2, &Value::from("broken")),
        "{found}"
    );
    assert!(
        found["detail"].as_str().unwrap().contains("3 messages"),
        "{found}"
    );
}

#[tokio::test]
async fn a_database_that_is_taken_away_is_told_of() {
    let (_impostor, chat) = told(0).await;
    let mut running = chat.start(&["serve", "--listen", "127.0.0.1:0"]);
    let address = running.address().await;
    let health = async || {
        let request =
            format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        super::super::proxied::ask(&address, &request).await
    };
    assert_eq!(health().await.0, "200");
    let aside = chat.data().join("aside.db");
    std::fs::rename(chat.database(), &aside).unwrap();
    let (status, answer) = health().await;
    assert_eq!(status, "503");
    assert!(answer.contains("was removed"), "{answer}");
    // The worker says so too, and claims nothing.
    running.logs("was removed").await;
    assert!(!chat.database().exists());
    std::fs::rename(&aside, chat.database()).unwrap();
    let back = async {
        while health().await.0 != "200" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, back).await.unwrap();
}
