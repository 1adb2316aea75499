//! `--file` and `--artifacts`: files in with the prompt, files out with the answer.

use opencode_impostor::{Impostor, Script, Step};
use serde_json::{Value, json};

use crate::support::Chat;

const REPORT: &str = "# Report\n";

async fn answering() -> Impostor {
    let steps = [Step::Echo, Step::write_file("report.md", REPORT)];
    Impostor::scripted(Script::always(steps)).await.unwrap()
}

#[tokio::test]
async fn files_go_in_and_come_out() {
    let impostor = answering().await;
    let chat = Chat::with(&impostor);
    let home = tempfile::tempdir().unwrap();
    let (one, two) = (
        home.path().join("Sales 2026.csv"),
        home.path().join("notes.md"),
    );
    std::fs::write(&one, "item,sold\n").unwrap();
    std::fs::write(&two, "").unwrap();
    let out = home.path().join("new/out");
    let (one, two, folder) = (
        one.to_str().unwrap(),
        two.to_str().unwrap(),
        out.to_str().unwrap(),
    );
    let more = ["--file", one, "--file", two, "--artifacts", folder];
    let result = chat
        .turn("What sold best?", &more)
        .await
        .ended(0, "completed");
    let content = result["content"].as_str().unwrap();
    assert!(
        content.contains("2 files were uploaded") && content.contains("`Sales-2026.csv`"),
        "{content}"
    );

    let artifact = &result["artifacts"][0];
    assert_eq!(result["artifacts"].as_array().unwrap().len(), 1);
    let digest = artifact["digest"].as_str().unwrap();
    assert_eq!(digest.len(), 64);
    let expected = json!({
        "name": "report.md", "size": REPORT.len(), "mime_type": "text/markdown", "digest": digest, "source": "tool",
    });
    assert_eq!(artifact, &expected);
    assert_eq!(
        std::fs::read_to_string(out.join("report.md")).unwrap(),
        REPORT
    );

    let shown = chat.show().await;
    assert_eq!(shown[0]["content"], "What sold best?");
    let names = |line: &Value| -> Vec<(Value, Value)> {
        let files = line["artifacts"].as_array().unwrap();
        files
            .iter()
            .map(|file| (file["name"].clone(), file["source"].clone()))
            .collect()
    };
    let uploads = [("Sales 2026.csv", "upload"), ("notes.md", "upload")];
    assert_eq!(
        names(&shown[0]),
        uploads.map(|(name, source)| (name.into(), source.into()))
    );
    assert_eq!(shown[1]["artifacts"], result["artifacts"]);
}

#[tokio::test]
async fn what_is_in_the_folder_is_not_overwritten() {
    let impostor = answering().await;
    let chat = Chat::with(&impostor);
    let out = tempfile::tempdir().unwrap();
    let secret = out.path().join("secret");
    std::fs::write(&secret, "mine").unwrap();
    std::os::unix::fs::symlink(&secret, out.path().join("report.md")).unwrap();
    let folder = out.path().to_str().unwrap();
    // The second run finds the same file there already.
    for _ in 0..2 {
        let ran = chat.run(&["turn", "please", "--artifacts", folder]).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(
            ran.stderr.contains("saved ") && ran.stderr.contains("report (2).md"),
            "{ran:?}"
        );
    }
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "mine");
    assert_eq!(
        std::fs::read_to_string(out.path().join("report (2).md")).unwrap(),
        REPORT
    );
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 3);
}

#[tokio::test]
async fn what_is_no_file_is_told_before_anything_is_stored() {
    let impostor = answering().await;
    let chat = Chat::with(&impostor);
    let home = tempfile::tempdir().unwrap();
    let large = home.path().join("large.bin");
    std::fs::File::create(&large)
        .unwrap()
        .set_len(50 * 1024 * 1024 + 1)
        .unwrap();
    let taken = home.path().join("taken");
    std::fs::write(&taken, "a file").unwrap();
    for (option, path, told) in [
        ("--file", home.path().join("missing.csv"), "No such file"),
        ("--file", home.path().to_owned(), "no plain file"),
        ("--file", "/dev/zero".into(), "no plain file"),
        ("--file", large, "larger than 52428800 bytes"),
        ("--artifacts", taken, "--artifacts"),
    ] {
        let ran = chat.turn("please", &[option, path.to_str().unwrap()]).await;
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(
            ran.stderr.contains(told) && ran.stderr.contains(option),
            "{ran:?}"
        );
    }
    let refused = chat.run(&["turn", "please", "--blobs", "ftp://x"]).await;
    assert!(
        refused.code == 2 && refused.stderr.contains("--blobs"),
        "{refused:?}"
    );
    assert_eq!(chat.show().await, Vec::<Value>::new());
}

#[tokio::test]
async fn sizes_are_the_persons_to_set() {
    let impostor = answering().await;
    let chat = Chat::with(&impostor);
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("data.bin");
    std::fs::write(&file, vec![7; 2048]).unwrap();
    let file = file.to_str().unwrap();
    for (option, size, told) in [
        ("--max-upload", "2047", "larger than 2047 bytes"),
        ("--upload-quota", "1K", "another conversation"),
        ("--max-upload", "much", "such as 1048576, 500K, 50M or 2G"),
    ] {
        let ran = chat
            .run(&["turn", "please", "--file", file, option, size])
            .await;
        ran.refused(told);
        let ran = chat
            .run(&["submit", "please", "--file", file, option, size])
            .await;
        ran.refused(told);
    }
    assert_eq!(chat.show().await, Vec::<Value>::new());
    let ran = chat
        .run(&["turn", "please", "--file", file, "--max-upload", "2K"])
        .await;
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[tokio::test]
async fn files_are_queued_without_a_server() {
    let chat = Chat::new();
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("notes.md");
    std::fs::write(&file, "notes").unwrap();
    let file = file.to_str().unwrap();
    for key in ["one", "one", "two"] {
        let ran = chat
            .run(&["submit", "read it", "--file", file, "--client-key", key])
            .await;
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    let shown = chat.show().await;
    assert_eq!(shown.len(), 4);
    assert_eq!(shown[0]["content"], "read it");
    assert_eq!(shown[0]["artifacts"][0]["name"], "notes.md");
    let sandboxes = std::fs::read_dir(chat.data().join("sandboxes")).unwrap();
    let mut names = sandboxes.map(|folder| folder.unwrap().path().join("notes.md"));
    assert!(names.any(|name| name.exists()));
}
