//! Where somebody goes on who has signed in: a page of our own, and no other site's.

use super::base_path::BasePath;

/// The longest address that is gone on to.
const LONGEST: usize = 1024;

/// The page to sign in, which goes on to this address of ours, as it is without the base path.
pub(crate) fn login(base: &BasePath, wanted: &str) -> String {
    match checked(wanted) {
        Some(wanted) if wanted != "/" => {
            let escaped: String = wanted
                .bytes()
                .map(|byte| match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => {
                        char::from(byte).to_string()
                    }
                    byte => format!("%{byte:02X}"),
                })
                .collect();
            format!("{base}/login?next={escaped}")
        }
        _ => format!("{base}/login"),
    }
}

/// Where to go on, as browsers see it.
pub(crate) fn after(base: &BasePath, wanted: &str) -> String {
    format!("{base}{}", checked(wanted).unwrap_or("/"))
}

/// An address of ours. Whatever a browser could take for another site's is none.
pub(crate) fn checked(wanted: &str) -> Option<&str> {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    let is_own = wanted.starts_with('/') && !wanted.starts_with("//");
    (is_own && wanted.len() <= LONGEST && wanted.bytes().all(is_plain)).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_signs_in_goes_on_here_and_nowhere_else() {
        let base: BasePath = "/chat".parse().unwrap();
        for (wanted, next) in [
            ("/", "/chat/"),
            ("/conversations/1?all=1", "/chat/conversations/1?all=1"),
            ("", "/chat/"),
            ("//evil.example", "/chat/"),
            ("/\\evil.example", "/chat/"),
            ("/\t/evil.example", "/chat/"),
            ("https://evil.example/", "/chat/"),
            ("javascript:alert(1)", "/chat/"),
            ("/a\r\nSet-Cookie: x=y", "/chat/"),
        ] {
            assert_eq!(after(&base, wanted), next, "{wanted}");
        }
        assert_eq!(
            login(&base, "/conversations/1?all=1&x"),
            "/chat/login?next=/conversations/1%3Fall%3D1%26x"
        );
        assert_eq!(login(&BasePath::default(), "/"), "/login");
    }
}
