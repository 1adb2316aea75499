//! Where the agents of a host work must be said.

use std::sync::Arc;

use opencode_client::Client;
use opencode_host::BuildError;
use opencode_host::sandbox::SandboxRoot;
use opencode_host::store::{MemoryStore, Store, TurnStatus};
use opencode_impostor::Impostor;

use crate::hosting::{Builder, Hosting, quick};

fn builder() -> Builder {
    let client = Client::builder("http://127.0.0.1:9").build().unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    Builder::new(client, store)
}

#[test]
fn a_host_without_folders_is_not_built() {
    let error = builder().build().unwrap_err();
    assert_eq!(error, BuildError::NoFolders);
    let told = error.to_string();
    for way in ["sandboxes(root)", "product_folders()", "shared_folder()"] {
        assert!(told.contains(way), "{told}");
    }
    let home = tempfile::tempdir().unwrap();
    let root = SandboxRoot::open(home.path().join("sandboxes")).unwrap();
    assert!(builder().sandboxes(root).build().is_ok());
    assert!(builder().product_folders().build().is_ok());
    assert!(builder().shared_folder().build().is_ok());
}

#[tokio::test]
async fn a_product_that_names_no_folder_gets_no_session_where_it_was_to_name_one() {
    let impostor = Impostor::start().await.unwrap();
    let hosting = Hosting::with(impostor, quick(), Builder::product_folders).await;
    let result = hosting.turn("hello").await;
    assert_eq!(result.status, TurnStatus::Error);
    let told = result.answer.error.unwrap().message;
    assert!(told.contains("names no folder"), "{told}");
    assert_eq!(hosting.impostor.ledger().sessions_created(), 0);
}
