//! Where the `opencode` program is.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::exit::Failure;

/// The variable that names the program, before any other place.
pub(crate) const VARIABLE: &str = "OPENCODE_BIN";

/// A program that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The program itself, never a launcher script where that can be helped.
    pub(crate) program: PathBuf,
    /// Where it was looked for.
    pub(crate) place: Place,
}

/// A place where the program is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// [`VARIABLE`].
    Variable,
    /// `PATH`.
    Path,
    /// The tools folder below the data folder.
    Tools,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Variable => "named by OPENCODE_BIN",
            Self::Path => "on PATH",
            Self::Tools => "in the tools folder",
        })
    }
}

/// Looks at [`VARIABLE`], `PATH` and `tools`, in this order.
pub(crate) fn locate(tools: &Path) -> Result<Option<Found>, Failure> {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
        let program = PathBuf::from(named);
        if !is_program(&program) {
            return Err(Failure::configuration(format!(
                "{VARIABLE} names {}, which is no program: correct it, or unset it",
                program.display()
            )));
        }
        return Ok(Some(Found {
            program,
            place: Place::Variable,
        }));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    Ok(on_path(std::env::split_paths(&path)).or_else(|| in_tools(tools)))
}

fn on_path(folders: impl Iterator<Item = PathBuf>) -> Option<Found> {
    // A relative entry would mean another program in another folder.
    let programs = folders
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join("opencode"));
    let program = programs.into_iter().find(|program| is_program(program))?;
    Some(Found {
        program: beyond_launcher(program),
        place: Place::Path,
    })
}

/// What `npm install --prefix TOOLS opencode-ai` puts there, or a program laid there by hand.
fn in_tools(tools: &Path) -> Option<Found> {
    // The server is started from another folder.
    let tools = std::path::absolute(tools).ok()?;
    let modules = tools.join("node_modules");
    let launchers =
        ["node_modules/.bin/opencode", "bin/opencode", "opencode"].map(|name| tools.join(name));
    let program = platform_program(&modules).or_else(|| {
        launchers
            .into_iter()
            .find(|program| is_program(program))
            .map(beyond_launcher)
    })?;
    Some(Found {
        program,
        place: Place::Tools,
    })
}

/// The program of this platform that a launcher of the npm package `opencode-ai` stands for. The launcher works
/// only after the package's install script has run (1.18: until then it is a script that says so), and up to 1.14
/// it is a script that needs Node.js and is another process to stop.
fn beyond_launcher(program: PathBuf) -> PathBuf {
    let package = fs::canonicalize(&program)
        .ok()
        .and_then(|real| Some(real.parent()?.parent()?.to_owned()));
    let Some(package) = package.filter(|package| package.ends_with("node_modules/opencode-ai"))
    else {
        return program;
    };
    // npm puts the platform's package beside it, or inside it for a global install.
    let nested = platform_program(&package.join("node_modules"));
    nested
        .or_else(|| platform_program(package.parent()?))
        .unwrap_or(program)
}

/// The program in the first fitting package in this `node_modules`.
fn platform_program(modules: &Path) -> Option<PathBuf> {
    let names = platform_packages(
        std::env::consts::OS,
        std::env::consts::ARCH,
        has_avx2(),
        is_musl(),
    );
    names
        .iter()
        .map(|name| modules.join(name).join("bin/opencode"))
        .find(|program| is_program(program))
}

/// The packages that may hold the program for a platform, best first: the plain x64 build needs AVX2, and each
/// Linux build its C library.
fn platform_packages(os: &str, arch: &str, avx2: bool, musl: bool) -> Vec<String> {
    let os = if os == "macos" { "darwin" } else { os };
    let (arch, speeds): (_, &[&str]) = match (arch, avx2) {
        ("x86_64", true) => ("x64", &["", "-baseline"]),
        ("x86_64", false) => ("x64", &["-baseline"]),
        ("aarch64", _) => ("arm64", &[""]),
        (other, _) => (other, &[""]),
    };
    let libraries: &[&str] = match (os, musl) {
        ("linux", false) => &["", "-musl"],
        ("linux", true) => &["-musl", ""],
        _ => &[""],
    };
    let variants = libraries
        .iter()
        .flat_map(|library| speeds.iter().map(move |speed| (speed, library)));
    variants
        .map(|(speed, library)| format!("opencode-{os}-{arch}{speed}{library}"))
        .collect()
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    std::is_x86_feature_detected!("avx2")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx2() -> bool {
    false
}

/// Whether programs built for the GNU C library do not start here.
fn is_musl() -> bool {
    let loaders = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
    cfg!(target_os = "linux") && !loaders.iter().any(|loader| Path::new(loader).exists())
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    /// Makes a program, and the folders it lies in.
    fn make(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn here() -> String {
        let packages = platform_packages(
            std::env::consts::OS,
            std::env::consts::ARCH,
            has_avx2(),
            is_musl(),
        );
        format!("{}/bin/opencode", packages[0])
    }

    #[test]
    fn the_first_program_on_the_path_wins() {
        let folder = tempfile::tempdir().unwrap();
        let folders = ["a", "b", "c"].map(|name| folder.path().join(name));
        fs::create_dir(&folders[0]).unwrap();
        fs::write(folders[0].join("opencode"), "not executable").unwrap();
        make(&folders[1].join("opencode"));
        make(&folders[2].join("opencode"));
        let found = on_path(folders.clone().into_iter()).unwrap();
        assert_eq!(
            found,
            Found {
                program: folders[1].join("opencode"),
                place: Place::Path
            }
        );
        assert_eq!(
            on_path([PathBuf::from("."), folders[0].clone()].into_iter()),
            None
        );
    }

    #[test]
    fn a_launcher_of_npm_is_passed_over_for_the_program() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        let launcher = root.join("lib/node_modules/opencode-ai/bin/opencode.exe");
        make(&launcher);
        fs::create_dir(root.join("bin")).unwrap();
        symlink(&launcher, root.join("bin/opencode")).unwrap();
        let found = || on_path([root.join("bin")].into_iter()).unwrap().program;
        assert_eq!(found(), root.join("bin/opencode"));
        let beside = root.join("lib/node_modules").join(here());
        make(&beside);
        assert_eq!(found(), beside);
        let nested = root
            .join("lib/node_modules/opencode-ai/node_modules")
            .join(here());
        make(&nested);
        assert_eq!(found(), nested);
    }

    #[test]
    fn the_tools_folder_holds_an_npm_install_or_a_program() {
        let folder = tempfile::tempdir().unwrap();
        let tools = folder.path();
        assert_eq!(in_tools(tools), None);
        let by_hand = tools.join("opencode");
        make(&by_hand);
        assert_eq!(in_tools(tools).unwrap().program, by_hand);
        let installed = tools.join("node_modules").join(here());
        make(&installed);
        assert_eq!(
            in_tools(tools).unwrap(),
            Found {
                program: installed,
                place: Place::Tools
            }
        );
    }

    #[test]
    fn packages_are_chosen_by_platform() {
        let names = |os, arch, avx2, musl| platform_packages(os, arch, avx2, musl).join(" ");
        assert_eq!(
            names("linux", "x86_64", true, false),
            "opencode-linux-x64 opencode-linux-x64-baseline opencode-linux-x64-musl opencode-linux-x64-baseline-musl"
        );
        assert_eq!(
            names("linux", "x86_64", false, true),
            "opencode-linux-x64-baseline-musl opencode-linux-x64-baseline"
        );
        assert_eq!(
            names("linux", "aarch64", false, false),
            "opencode-linux-arm64 opencode-linux-arm64-musl"
        );
        assert_eq!(
            names("macos", "aarch64", false, false),
            "opencode-darwin-arm64"
        );
        assert_eq!(
            names("macos", "x86_64", false, false),
            "opencode-darwin-x64-baseline"
        );
    }
}
