//! `servers`: which OpenCode servers are on the database, and an operator's word about one.

use std::process::ExitCode;

use opencode_host::Host;
use opencode_host::clock::Timestamp;
use opencode_host::store::{ServerLabel, ServerLoad};
use serde_json::json;

use crate::assembly::open_store;
use crate::cli::ServersArgs;
use crate::exit::Failure;
use crate::ndjson;
use crate::terminal;

/// Does what is said of a server, or lists them.
pub(crate) async fn run(args: ServersArgs) -> Result<ExitCode, Failure> {
    let store = open_store(&args.store).await?;
    let now = store.now().await?;
    let host = Host::builder(store).build();
    if let Some(server) = &args.drain {
        host.drain_server(server).await?;
    } else if let Some(server) = &args.undrain {
        host.undrain_server(server).await?;
    } else if let Some(server) = &args.forget {
        let moved = host.forget_sessions(server).await?;
        terminal::tell(format_args!(
            "conversations that go on in fresh sessions: {moved}"
        ));
    }
    for load in host.servers().await? {
        if args.json {
            print(&load);
        } else {
            terminal::say(told(&load, now));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(load: &ServerLoad) {
    let server = &load.server;
    ndjson::print(&json!({
        "server": server.name,
        "state": server.state(),
        "address": server.address,
        "running": load.running,
        "queued": load.queued,
        "capacity": server.capacity,
        "labels": server.labels,
        "heard_at": server.heard_at,
        "gone_at": server.gone_at,
        "problem": server.problem.as_ref().map(|problem| &problem.message),
    }));
}

/// A server, how it stands and what it has to do, in a line.
pub(super) fn told(load: &ServerLoad, now: Timestamp) -> String {
    let server = &load.server;
    let heard = match server.heard_at {
        Some(_) => format!("heard {} s ago", server.silence(now).as_secs()),
        None => "not heard yet".to_owned(),
    };
    let room = match server.capacity {
        Some(capacity) => format!(", room for {capacity}"),
        None => String::new(),
    };
    let labels = match &*server.labels {
        [] => String::new(),
        labels => {
            let labels: Vec<_> = labels.iter().map(ServerLabel::as_str).collect();
            format!(", labels: {}", labels.join(" "))
        }
    };
    let problem = match &server.problem {
        Some(problem) => format!("; {}", problem.message),
        None => String::new(),
    };
    let (name, address, state) = (&server.name, &server.address, server.state().as_str());
    let (running, queued) = (load.running, load.queued);
    format!(
        "{name} at {address}: {state}, {heard}, turns: {running} running, {queued} queued{room}{labels}{problem}"
    )
}
