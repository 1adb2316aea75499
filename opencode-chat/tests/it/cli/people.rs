//! Users, added and removed as an operator does.

use opencode_chat::people::{Accounts, Role};
use opencode_impostor::{Impostor, Script, Step};
use sqlx::{Connection as _, SqliteConnection};

use super::typed::Terminal;
use crate::nodes::on_postgres;
use crate::support::Chat;

const PASSWORD: &str = "correct horse";

async fn accounts(chat: &Chat) -> Accounts {
    let url = format!("sqlite://{}", chat.database().display());
    Accounts::open(&url).await.unwrap()
}

async fn is_password(accounts: &Accounts, name: &str, password: &str) -> bool {
    let user = accounts.user_named(name).await.unwrap();
    accounts.is_password(&user, password).await.unwrap()
}

#[tokio::test]
async fn users_are_added_listed_changed_and_removed() {
    let chat = Chat::new();
    let none = chat.run(&["user", "list"]).await;
    assert_eq!((none.code, none.stdout.as_str()), (0, ""));
    assert!(none.stderr.contains("no accounts"), "{none:?}");

    let add = ["user", "add", "Anna", "--admin"];
    let added = chat.run_with_input(&add, "correct horse\n").await;
    assert_eq!(added.code, 0, "{added:?}");
    assert!(added.stderr.contains("ask for a login"), "{added:?}");
    let add = ["user", "add", "ben@example.org"];
    let added = chat.run_with_input(&add, "another one\r\n").await;
    assert_eq!(added.code, 0, "{added:?}");

    let accounts = accounts(&chat).await;
    assert!(is_password(&accounts, "ANNA", PASSWORD).await);
    assert!(!is_password(&accounts, "anna", "correct horse\n").await);
    assert!(is_password(&accounts, "ben@example.org", "another one").await);

    let listed = chat.run(&["user", "list", "--json"]).await;
    let told: Vec<_> = listed
        .lines()
        .iter()
        .map(|user| {
            (
                user["name"].clone(),
                user["admin"].clone(),
                user["allow_shell"].clone(),
            )
        })
        .collect();
    let user = |name: &str, admin: bool| (name.into(), admin.into(), false.into());
    assert_eq!(told, [user("anna", true), user("ben@example.org", false)]);

    let set = ["user", "set", "anna", "--admin=false", "--allow-shell=true"];
    let set = chat.run(&set).await;
    assert!(
        set.stdout.starts_with("anna (may allow commands)"),
        "{set:?}"
    );
    let anna = accounts.user_named("anna").await.unwrap();
    assert_eq!((anna.role, anna.may_run), (Role::User, true));

    let args = ["user", "password", "anna"];
    let changed = chat.run_with_input(&args, "a third password").await;
    assert_eq!(changed.code, 0, "{changed:?}");
    assert!(is_password(&accounts, "anna", "a third password").await);
    assert!(!is_password(&accounts, "anna", PASSWORD).await);

    let removed = chat.run(&["user", "remove", "anna"]).await;
    assert_eq!(removed.code, 0, "{removed:?}");
    let listed = chat.run(&["user", "list"]).await.stdout;
    assert!(listed.starts_with("ben@example.org, since 20"), "{listed}");
}

#[tokio::test]
async fn no_password_is_kept_in_clear() {
    let chat = Chat::new();
    let added = chat
        .run_with_input(&["user", "add", "anna"], PASSWORD)
        .await;
    assert_eq!(added.code, 0, "{added:?}");
    let url = format!("sqlite://{}", chat.database().display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let query = "SELECT password_hash FROM chat_users";
    let hash: String = sqlx::query_scalar(query)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert!(
        hash.starts_with("$argon2id$") && !hash.contains(PASSWORD),
        "{hash}"
    );
}

#[tokio::test]
async fn what_cannot_be_is_said_and_changes_nothing() {
    let chat = Chat::new();
    let refused = async |args: &[&str], input: &str, why: &str| {
        chat.run_with_input(args, input).await.refused(why);
    };
    for name in ["", "-x", "a b", "ännä", &"x".repeat(65)] {
        refused(
            &["user", "add", "--", name],
            PASSWORD,
            "cannot be a user's name",
        )
        .await;
    }
    refused(&["user", "add", "anna"], "", "no password").await;
    refused(&["user", "add", "anna"], "short", "8 to 1024 bytes").await;
    refused(
        &["user", "add", "anna"],
        &"x".repeat(1025),
        "8 to 1024 bytes",
    )
    .await;
    refused(
        &["user", "add", "anna", PASSWORD],
        "",
        "unexpected argument",
    )
    .await;
    let file = chat.data().join("password");
    std::fs::write(&file, "two\nlines are not a password").unwrap();
    let file = file.to_str().unwrap();
    refused(
        &["user", "add", "anna", "--password-file", file],
        "",
        "more than one line",
    )
    .await;
    for args in [
        &["user", "remove", "anna"][..],
        &["user", "password", "anna"],
    ] {
        refused(args, PASSWORD, "no user named \"anna\"").await;
    }
    assert!(!accounts(&chat).await.are_used().await.unwrap());

    std::fs::write(file, format!("{PASSWORD}\n")).unwrap();
    let add = [
        "user",
        "add",
        "anna",
        "--take-over",
        "--password-file",
        file,
    ];
    let added = chat.run(&add).await;
    assert_eq!(added.code, 0, "{added:?}");
    refused(&["user", "add", "ANNA"], PASSWORD, "named \"anna\" already").await;
    refused(
        &["user", "add", "ben", "--take-over"],
        PASSWORD,
        "belongs to \"anna\"",
    )
    .await;
}

#[tokio::test]
async fn what_a_removed_user_has_said_goes_or_stays_as_is_said() {
    let impostor = Impostor::scripted(Script::always([Step::text("Hi.")]));
    let impostor = impostor.await.unwrap();
    let chat = Chat::with(&impostor);
    chat.turn("Hello", &[]).await.ended(0, "completed");
    let added = chat.run_with_input(&["user", "add", "zoe"], PASSWORD).await;
    assert!(added.stderr.contains("nobody's now"), "{added:?}");
    let args = ["user", "add", "anna", "--take-over"];
    let added = chat.run_with_input(&args, PASSWORD).await;
    assert_eq!(added.code, 0, "{added:?}");

    chat.run(&["user", "remove", "anna"])
        .await
        .refused("has conversations");
    let removed = chat
        .run(&["user", "remove", "anna", "--keep-conversations"])
        .await;
    assert_eq!(removed.code, 0, "{removed:?}");
    assert_eq!(chat.show().await.len(), 2);

    let added = chat.run_with_input(&args, PASSWORD).await;
    assert_eq!(added.code, 0, "{added:?}");
    let args = ["user", "remove", "anna", "--delete-conversations"];
    let removed = chat.run(&args).await;
    assert!(removed.stdout.contains("deleted: 1"), "{removed:?}");
    assert!(chat.show().await.is_empty());
}

#[tokio::test]
async fn a_password_that_is_typed_is_not_shown() {
    let chat = Chat::new();
    let mut terminal = Terminal::start(&chat, &["user", "add", "anna"]);
    terminal.shows("Password for anna: ").await;
    terminal.types("correct horse\n");
    let before = terminal.shows("Once more: ").await;
    terminal.types("correct house\n");
    let between = terminal.shows("not the same").await;
    assert!(!before.contains("correct") && !between.contains("correct"));
    assert_eq!(terminal.ends().await.0, 2);

    let mut terminal = Terminal::start(&chat, &["user", "add", "anna"]);
    for question in ["Password for anna: ", "Once more: "] {
        terminal.shows(question).await;
        terminal.types("correct horse\n");
    }
    let (code, told) = terminal.ends().await;
    assert_eq!(code, 0);
    assert!(told.starts_with("anna, since"), "{told}");
    assert!(is_password(&accounts(&chat).await, "anna", PASSWORD).await);
}

#[tokio::test]
async fn accounts_are_kept_on_postgres_too() {
    on_postgres(async |url| {
        let chat = Chat::new().variable("OPENCODE_CHAT_DATABASE", url);
        for name in ["anna", "ben"] {
            let added = chat.run_with_input(&["user", "add", name], PASSWORD).await;
            assert_eq!(added.code, 0, "{added:?}");
        }
        chat.run_with_input(&["user", "add", "anna"], PASSWORD)
            .await
            .refused("named \"anna\" already");
        let accounts = Accounts::open(url).await.unwrap();
        assert!(is_password(&accounts, "anna", PASSWORD).await);
        let removed = chat.run(&["user", "remove", "anna"]).await;
        assert_eq!(removed.code, 0, "{removed:?}");
        let listed = chat.run(&["user", "list"]).await.stdout;
        assert!(listed.starts_with("ben, since 20"), "{listed}");
    })
    .await;
}

#[tokio::test]
async fn processes_that_start_at_once_make_the_tables_once() {
    let chat = Chat::new();
    chat.run(&["user", "list"]).await;
    let url = format!("sqlite://{}", chat.database().display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let drop = "DROP TABLE chat_sessions; DROP TABLE chat_attempts; DROP TABLE chat_users; DROP TABLE chat_migrations";
    sqlx::raw_sql(drop).execute(&mut connection).await.unwrap();
    let opening = (0..8).map(|_| Accounts::open(&url));
    for opened in futures_util::future::join_all(opening).await {
        opened.unwrap();
    }
    let newer = "INSERT INTO chat_migrations (version) VALUES (1000)";
    sqlx::raw_sql(newer).execute(&mut connection).await.unwrap();
    chat.run(&["user", "list"]).await.refused("a newer version");
}

#[tokio::test]
async fn users_are_in_a_backup_with_their_passwords() {
    let chat = Chat::new();
    let add = ["user", "add", "Anna", "--admin"];
    assert_eq!(chat.run_with_input(&add, "correct horse\n").await.code, 0);
    let before = accounts(&chat).await.user_named("anna").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chat.tar");
    let file = file.to_str().unwrap();
    let made = chat.run(&["backup", file]).await;
    assert!(
        made.stdout.contains(": 1 users, 0 conversations"),
        "{made:?}"
    );

    let is_there = async |there: &Chat, accounts: Accounts| {
        let listed = there.run(&["user", "list", "--json"]).await;
        assert_eq!(
            listed.lines(),
            chat.run(&["user", "list", "--json"]).await.lines()
        );
        // The same tenant, so that what is theirs still is.
        assert_eq!(accounts.user_named("anna").await.unwrap(), before);
        assert!(is_password(&accounts, "anna", PASSWORD).await);
    };
    let there = Chat::new();
    assert_eq!(there.run(&["restore", file]).await.code, 0);
    is_there(&there, accounts(&there).await).await;
    on_postgres(async |url| {
        let there = Chat::new().variable("OPENCODE_CHAT_DATABASE", url);
        let ran = there.run(&["restore", file]).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        is_there(&there, Accounts::open(url).await.unwrap()).await;
    })
    .await;
}
