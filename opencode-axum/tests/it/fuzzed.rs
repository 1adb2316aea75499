//! Thousands of requests that schemathesis makes of the description: each is answered as it says.
//!
//! `OPENCODE_HOST_SCHEMATHESIS` names the program; `cargo xtask test` installs it and names it.

use std::path::Path;

use opencode_client::wire::Prompt;
use opencode_host::NewSchedule;
use opencode_host::clock::{Clock as _, SystemClock};
use opencode_host::id::AttachmentId;
use opencode_host::store::{AttachmentSource, NewAttachment};
use opencode_impostor::Step;
use tokio::process::Command;

use crate::site::Site;

/// Requests of each kind for each route: with those that are not made by chance, over 2,000 in both tests.
const CASES: &str = "60";

/// Ids of what is there, for who says so in a request's path. What is deleted is never there.
async fn known(site: &Site) -> String {
    let turn = site.turn("What grows?").await;
    site.host.settled(turn).await.unwrap();
    let row = site.host.store().turn(turn).await.unwrap().unwrap();
    let kept = site.host.blobs().unwrap().put(&b"a,b"[..], 3).await;
    let file = NewAttachment::new(
        AttachmentId::from_uuid(SystemClock.new_uuid()),
        row.message,
        "table.csv",
        kept.unwrap().digest,
        3,
        "text/csv",
        AttachmentSource::Sandbox,
    );
    let file = site.store.attach(&file).await.unwrap().attachment;
    let new = NewSchedule::new("0 0 1 1 *", "UTC", Prompt::text("What grows?"));
    let schedule = site.host.add_schedule(row.conversation, new).await;
    format!(
        "[parameters]\n\"path.conversation\" = \"{}\"\n\"path.message\" = \"{}\"\n\"path.turn\" = \"{turn}\"\n\
         \"path.file\" = \"{}\"\n\"path.schedule\" = \"{}\"\n\n\
         [[operations]]\ninclude-operation-id = \"delete_conversation\"\n\
         parameters = {{ \"path.conversation\" = \"01890a5d-ac96-774b-bcce-b302099a8057\" }}\n\n\
         [[operations]]\ninclude-operation-id = \"delete_schedule\"\n\
         parameters = {{ \"path.schedule\" = \"01890a5d-ac96-774b-bcce-b302099a8057\" }}\n",
        row.conversation,
        row.message,
        file.id,
        schedule.unwrap().id
    )
}

/// What a schema does not say: whether a message has words in any of its parts, what is a cron expression and a time zone,
/// what has a word in it, and which bytes a file has.
const UNSAID: &str = "
[[operations]]
include-operation-id = [\"send_ui_message\", \"run_ag_ui\", \"add_schedule\"]
checks.positive_data_acceptance.enabled = false

[[operations]]
include-operation-id = \"list_conversations\"
checks.positive_data_acceptance.expected-statuses = [\"2xx\", \"400\"]

[[operations]]
include-operation-id = \"download_file\"
checks.positive_data_acceptance.expected-statuses = [\"2xx\", \"304\", \"404\", \"416\"]
";

async fn run(site: &Site, configuration: &str) {
    let program = std::env::var_os("OPENCODE_HOST_SCHEMATHESIS");
    let program = program
        .filter(|program| Path::new(program).is_file())
        .expect("OPENCODE_HOST_SCHEMATHESIS names no program: run `cargo xtask test`");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("schemathesis.toml");
    std::fs::write(&path, configuration.to_owned() + UNSAID).unwrap();
    let address = site.serve().await;
    let ran = Command::new(program)
        .current_dir(folder.path())
        .arg("--config-file")
        .arg(&path)
        .args(["run", &format!("http://{address}/api/openapi.json")])
        .args(["--url", &format!("http://{address}/api")])
        .args(["--header", "Authorization: Bearer acme ada all"])
        .args(["--max-examples", CASES, "--seed", "7", "--no-color"])
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--generation-database", "none", "--workers", "1"])
        .kill_on_drop(true)
        .output();
    let ran = ran.await.unwrap();
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{told}");
    println!("{told}");
    let made = told.lines().find(|line| line.contains(" generated, "));
    let made = made.and_then(|line| line.split_whitespace().next());
    let made: u32 = made.and_then(|made| made.parse().ok()).expect(&told);
    assert!(made > 1000, "{made} requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_what_is_there_are_answered_as_the_description_says() {
    let site = Site::new([Step::text("Hi.")]).await;
    let known = known(&site).await;
    run(&site, &known).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_anything_are_answered_as_the_description_says() {
    let site = Site::new([Step::text("Hi.")]).await;
    run(&site, "").await;
}
