//! Files that a prompt shows the model: read when the prompt comes, as the server does (1.18.33).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// How the pictures begin that the server decodes: PNG, JPEG, GIF, WebP.
const PICTURES: [&[u8]; 4] = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"RIFF"];

/// The parts of a prompt with the files that it names by `file:` read: each becomes words that say so, and the file as a
/// `data:` URL. The error is what the session reports in the place of the whole prompt.
pub(crate) fn read(parts: &[Value]) -> Result<Vec<Value>, String> {
    let mut read = Vec::new();
    for part in parts {
        let path = part["url"]
            .as_str()
            .and_then(|url| url.strip_prefix("file://"));
        let (Some(path), "file") = (path, part["type"].as_str().unwrap_or_default()) else {
            read.push(part.clone());
            continue;
        };
        let path = unescaped(path);
        let bytes = std::fs::read(&path)
            .map_err(|_| format!("PlatformError: NotFound: FileSystem.readFile ({path})"))?;
        let mime = part["mime"].as_str().unwrap_or_default();
        if mime.starts_with("image/") && !PICTURES.iter().any(|start| bytes.starts_with(start)) {
            return Err("ImageDecodeError: Image could not be decoded".to_owned());
        }
        let input = json!({"filePath": path});
        let said = format!("Called the Read tool with the following input: {input}");
        read.push(json!({"type": "text", "synthetic": true, "text": said}));
        let mut file = part.clone();
        file["url"] = format!("data:{mime};base64,{}", STANDARD.encode(bytes)).into();
        read.push(file);
    }
    Ok(read)
}

/// The path of a URL without its percent signs.
fn unescaped(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let hex = behind.get(..2).filter(|_| first == b'%');
        let hex = hex.and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => {
                bytes.push(first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_and_one_that_cannot_be_shown_is_the_prompts_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        };
        file("a b.png", PICTURES[0]);
        file("bad.png", b"no picture");
        let part = |name: &str| {
            let url = format!("file://{}/{name}", folder.path().display());
            json!({"type": "file", "id": "prt_1", "mime": "image/png", "filename": name, "url": url})
        };
        let words = json!({"type": "text", "text": "Look"});
        let parts = read(&[words.clone(), part("a%20b.png")]).unwrap();
        assert_eq!((parts.len(), &parts[0]), (3, &words));
        assert!(parts[1]["text"].as_str().unwrap().contains("/a b.png"));
        assert_eq!(parts[2]["url"], "data:image/png;base64,iVBORw0KGgo=");
        assert!(read(&[part("gone.png")]).unwrap_err().contains("NotFound"));
        assert!(
            read(&[part("bad.png")])
                .unwrap_err()
                .contains("ImageDecodeError")
        );
    }
}
