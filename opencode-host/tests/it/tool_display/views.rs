//! What a tool's input and metadata show.

use opencode_host::tool_display::{TodoStatus, ToolDisplay, ToolStatus};
use serde_json::json;

use super::part;

#[test]
fn status_predicates() {
    let cases = [
        (
            "pending",
            Some(ToolStatus::Pending),
            [true, false, false, false, false, true],
        ),
        (
            "running",
            Some(ToolStatus::Running),
            [false, true, false, false, false, true],
        ),
        (
            "completed",
            Some(ToolStatus::Completed),
            [false, false, true, false, true, false],
        ),
        (
            "error",
            Some(ToolStatus::Error),
            [false, false, false, true, true, false],
        ),
        ("dancing", None, [false; 6]),
    ];
    for (word, status, expected) in cases {
        let part = part("bash", word, &json!({}));
        let display = ToolDisplay::of(&part);
        assert_eq!(display.status(), status);
        let predicates = [
            display.is_pending(),
            display.is_running(),
            display.is_completed(),
            display.is_errored(),
            display.is_terminal(),
            display.is_in_flight(),
        ];
        assert_eq!(predicates, expected, "{word}");
    }
}

#[test]
fn the_terminal_form() {
    let cases = [
        (
            json!({"tool": "read", "status": "running", "input": {"filePath": "/s/c/notes.md"}}),
            "Reading notes.md",
        ),
        (
            json!({"tool": "bash", "status": "completed", "input": {"command": "ls -la"}}),
            "Ran `ls -la`",
        ),
        (
            json!({"tool": "bash", "status": "running", "input": {"command": "cat <<E\n\u{1b}[2Jx\nE"}}),
            "Running command: `cat <<E\\n\\u{1b}[2Jx\\nE`",
        ),
        (
            json!({"tool": "edit", "status": "completed", "input": {"filePath": "/s/c/a.txt"},
                "metadata": {"diff": "d", "filediff": {"additions": 3, "deletions": 1}}}),
            "Edited a.txt (+3 -1)",
        ),
        (
            json!({"tool": "read", "status": "error", "input": {"filePath": "/s/c/no.txt"},
                "error": "\nFile not found: /s/c/no.txt\nDid you mean …"}),
            "Read no.txt failed: File not found: /s/c/no.txt",
        ),
        (json!({"tool": "read", "status": "error"}), "Read failed"),
        (
            json!({"tool": "grep", "status": "completed", "input": {"pattern": "x"}, "metadata": {"matches": 1}}),
            "Searched for x (1 match)",
        ),
        (
            json!({"tool": "glob", "status": "completed", "input": {"pattern": "*"}, "metadata": {"count": 12}}),
            "Searched for * (12 matches)",
        ),
        (
            json!({"tool": "todowrite", "status": "completed"}),
            "Updated plan",
        ),
        (
            json!({"tool": "read", "status": "strange", "input": {"path": "/s/c/d"}}),
            "Reading d",
        ),
    ];
    for (part, line) in cases {
        let display = ToolDisplay::of(&part).relative_to("/s/c");
        assert_eq!(display.to_string(), line);
    }
}

#[test]
fn a_long_command_is_cut_in_titles_only() {
    let command = "é".repeat(10_000);
    let part = part("bash", "running", &json!({"command": command}));
    let display = ToolDisplay::of(&part);
    assert_eq!(display.command(), Some(command.as_str()));
    assert!(display.title().chars().count() < 250);
    assert!(display.title().ends_with('…'));
}

#[test]
fn paths_are_relative_only_inside_the_folder() {
    let cases = [
        ("/s/c/a.txt", "a.txt"),
        ("/s/c/deep/a.txt", "deep/a.txt"),
        ("/s/c//a.txt", "a.txt"),
        ("/s/c", "."),
        ("/s/c/", "."),
        ("/s/other/a.txt", "/s/other/a.txt"),
        ("/s/c2/a.txt", "/s/c2/a.txt"),
        ("/s/c/../x", "/s/c/../x"),
        ("/s/c/a/../../x", "/s/c/a/../../x"),
        ("a.txt", "a.txt"),
    ];
    for (path, shown) in cases {
        let part = part("read", "running", &json!({"filePath": path}));
        let display = ToolDisplay::of(&part);
        assert_eq!(display.target_in("/s/c").unwrap(), shown, "{path}");
        assert_eq!(display.target().unwrap(), path, "raw without a folder");
    }
    // Only paths are paths.
    let command = part("bash", "running", &json!({"command": "/s/c/run.sh"}));
    assert_eq!(
        ToolDisplay::of(&command).target_in("/s/c").unwrap(),
        "/s/c/run.sh"
    );
}

#[test]
fn diffs_of_edits() {
    let patch = "--- a\n+++ a\n@@ -1,2 +1,3 @@\n x\n-old\n+new\n+++plus\n";
    let counted =
        json!({"tool": "edit", "input": {"filePath": "/s/a"}, "metadata": {"diff": patch}});
    let diff = ToolDisplay::of(&counted).diff().unwrap();
    assert_eq!((diff.additions(), diff.deletions()), (2, 1));
    assert_eq!(diff.files()[0].path, Some("/s/a"));
    assert_eq!(diff.to_string(), patch);

    let filediff = json!({"tool": "edit", "metadata": {"filediff": {"file": "/s/b", "patch": patch, "additions": 7, "deletions": 8}}});
    let diff = ToolDisplay::of(&filediff).diff().unwrap();
    assert_eq!((diff.additions(), diff.deletions()), (7, 8));
    assert_eq!(diff.files()[0].path, Some("/s/b"));

    let several = json!({"tool": "multiedit", "input": {"filePath": "/s/a"}, "metadata": {"results": [{"diff": patch}, {}, {"diff": "@@\n+z"}]}});
    let diff = ToolDisplay::of(&several).diff().unwrap();
    assert_eq!(diff.files().len(), 2);
    assert_eq!((diff.additions(), diff.deletions()), (3, 1));
    assert!(diff.to_string().ends_with("+z\n"));

    for none in [
        json!({"tool": "edit", "metadata": {"diff": ""}}),
        json!({"tool": "read", "metadata": {"diff": patch}}),
    ] {
        assert_eq!(ToolDisplay::of(&none).diff(), None);
    }
}

#[test]
fn diffs_and_targets_of_patches() {
    let part = json!({"tool": "apply_patch", "status": "completed", "metadata": {"files": [
        {"filePath": "/s/c/a.md", "relativePath": "s/c/a.md", "type": "add", "patch": "@@\n+1", "additions": 1, "deletions": 0},
        {"filePath": "/s/c/b.md", "movePath": "/s/c/new/b.md", "type": "move", "diff": "@@\n-1\n+2"},
        {"relativePath": "c.md", "type": "delete", "patch": "@@\n-1\n-2"},
    ]}});
    let display = ToolDisplay::of(&part).relative_to("/s/c");
    assert_eq!(
        display.to_string(),
        "Applied changes to a.md, new/b.md, c.md (+2 -3)"
    );
    assert_eq!(display.target().unwrap(), "/s/c/a.md, /s/c/new/b.md, c.md");
    let changes: Vec<_> = display
        .diff()
        .unwrap()
        .files()
        .iter()
        .map(|file| file.change.as_str())
        .collect();
    assert_eq!(changes, ["add", "move", "delete"]);

    // While it runs there is the patch text alone.
    let patch = "*** Begin Patch\n*** Add File: /s/c/a.md\n+x\n*** Update File: b.md\n@@\n-x\n*** End Patch";
    let running =
        json!({"tool": "apply_patch", "status": "running", "input": {"patchText": patch}});
    let display = ToolDisplay::of(&running).relative_to("/s/c");
    assert_eq!(display.title(), "Applying changes: a.md, b.md");
    assert_eq!(display.diff(), None);
}

#[test]
fn todos_are_sorted_and_keep_their_order_within_a_status() {
    let todo = |content: &str, status: &str| json!({"content": content, "status": status});
    let list = json!([
        todo("d1", "completed"), todo("x", "cancelled"), todo("p1", "pending"), todo("a", "in-progress"),
        {"content": "p2"}, {"status": "pending"}, 7, todo("d2", "completed"), todo("b", "in_progress"),
    ]);
    let part = json!({"tool": "todowrite", "input": {"todos": list}});
    let display = ToolDisplay::of(&part);
    let shown: Vec<_> = display.todos().iter().map(|todo| todo.content).collect();
    assert_eq!(shown, ["a", "b", "p1", "p2", "d1", "d2", "x"]);
    assert_eq!(display.todos()[0].status, TodoStatus::InProgress);
    let dropped = TodoStatus::Other("cancelled".to_owned());
    assert_eq!(display.todos()[6].status, dropped);

    let both = json!({"tool": "todoread", "input": {"todos": [todo("old", "pending")]},
        "metadata": {"todos": [todo("new", "pending")]}});
    assert_eq!(ToolDisplay::of(&both).todos()[0].content, "new");
    let other = json!({"tool": "read", "input": {"todos": [todo("x", "pending")]}});
    assert!(ToolDisplay::of(&other).todos().is_empty());
}

#[test]
fn views_of_single_tools() {
    let write = part(
        "write",
        "running",
        &json!({"filePath": "src/Main.RS", "content": ""}),
    );
    let display = ToolDisplay::of(&write);
    assert_eq!(display.file_content(), Some(""));
    assert_eq!(display.language(), Some("rust"));
    assert_eq!(display.command(), None);

    let bash = json!({"tool": "bash", "status": "running",
        "input": {"command": "make", "description": "Build it"}, "metadata": {"output": "cc …"}});
    let display = ToolDisplay::of(&bash);
    assert_eq!(display.command(), Some("make"));
    assert_eq!(display.command_output(), Some("cc …"));
    assert_eq!(display.command_description(), Some("Build it"));
    assert_eq!(display.language(), None);

    let done = json!({"tool": "bash", "status": "completed", "output": "all", "metadata": {"output": "part"}});
    assert_eq!(ToolDisplay::of(&done).command_output(), Some("all"));

    let read = json!({"tool": "read", "metadata": {"display": {"text": "first"}}});
    assert_eq!(ToolDisplay::of(&read).read_preview(), Some("first"));
    let read = json!({"tool": "read", "metadata": {"preview": "p", "matches": 3}});
    assert_eq!(ToolDisplay::of(&read).read_preview(), Some("p"));
    assert_eq!(ToolDisplay::of(&read).match_count(), None);
    for count in [json!(-1), json!("3"), json!(1.5), json!(null)] {
        let grep = json!({"tool": "grep", "metadata": {"matches": count, "count": 9}});
        assert_eq!(ToolDisplay::of(&grep).match_count(), None);
    }
}

#[test]
fn language_hints() {
    let cases = [
        ("/s/a.py", Some("python")),
        ("/s/Dockerfile", Some("dockerfile")),
        ("a.tar.gz", None),
        ("/s/.gitignore", None),
        ("/s/x.d/README", None),
        ("/s/日本.md", Some("markdown")),
        ("a.", None),
    ];
    for (path, language) in cases {
        let part = part("edit", "running", &json!({"filePath": path}));
        assert_eq!(ToolDisplay::of(&part).language(), language, "{path}");
    }
}
