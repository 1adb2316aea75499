//! A help desk: an application with users, tickets and a database of its own, whose customers talk to an agent.
//!
//! `help_desk add-user COMPANY NAME` reads a password from standard input; `help_desk` serves. Its settings are variables:
//! `DATABASE_URL`, `OPENCODE_URL`, `OPENCODE_SERVER_PASSWORD`, `LISTEN`, `DATA`.

mod database;
mod desk;
mod login;
mod web;

use std::env;
use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Result, bail};
use opencode_host::Worker;
use opencode_host::blobs::Blobs;
use opencode_host::budget::{Allowance, Budget, Dollars, Period};
use opencode_host::client::Client;
use opencode_host::sandbox::SandboxRoot;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let setting = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let database =
        database::Database::open(&setting("DATABASE_URL", "sqlite://help_desk.db")).await?;
    let words: Vec<_> = env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {}
        ["add-user", company, name] => {
            let mut password = String::new();
            std::io::stdin().read_to_string(&mut password)?;
            let (company, name) = (company.to_owned(), name.to_owned());
            return login::add_user(
                &database,
                &login::User { name, company },
                password.trim_end(),
            )
            .await;
        }
        _ => bail!("usage: help_desk [add-user COMPANY NAME < PASSWORD]"),
    }

    let data = PathBuf::from(setting("DATA", "help_desk_data"));
    // A ticket may cost 50 cents, and a company 20 dollars a month.
    let [ticket, month] = [50, 2000].map(|cents| Allowance::UNLIMITED.cost(Dollars::cents(cents)));
    let host = database
        .host()
        .blobs(Blobs::in_folder(data.join("blobs"))?)
        .sandboxes(SandboxRoot::open(data.join("sandboxes"))?)
        .budgets(
            Budget::default()
                .conversation(ticket)
                .tenant(month, Period::Month),
        )
        .build();
    let client = Client::builder(setting("OPENCODE_URL", "http://127.0.0.1:4096"));
    let client = match env::var("OPENCODE_SERVER_PASSWORD") {
        Ok(password) => client.password(password),
        Err(_) => client,
    };
    let worker = Worker::builder(client.build()?)
        .product(desk::Desk(database.clone()))
        .build(&host)?;

    // Ctrl-C ends streams, and gives running turns to the next start.
    let stop = CancellationToken::new();
    let working = tokio::spawn({
        let stop = stop.clone();
        async move { worker.run(stop).await }
    });
    let router = web::router(web::App { database, host }, stop.clone());
    let listener = tokio::net::TcpListener::bind(setting("LISTEN", "127.0.0.1:3000")).await?;
    println!("open http://{}", listener.local_addr()?);
    let stopped = async move {
        tokio::signal::ctrl_c().await.ok();
        stop.cancel();
    };
    axum::serve(listener, router)
        .with_graceful_shutdown(stopped)
        .await?;
    Ok(working.await??)
}
