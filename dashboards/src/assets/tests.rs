use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use sha2::{Digest, Sha256};

use super::*;

const WEB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/web");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// The inputs of the build, as `vite.config.ts` lists them: `src/**` without tests, `public/**` and the files beside them
/// that shape it.
fn sources() -> BTreeMap<String, String> {
    fn walk(folder: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if !path.to_string_lossy().ends_with(".test.ts") {
                let name = path.strip_prefix(WEB).unwrap().to_str().unwrap().replace('\\', "/");
                found.insert(name, hex(&Sha256::digest(fs::read(&path).unwrap())));
            }
        }
    }
    let mut found = BTreeMap::new();
    for folder in ["src", "public"] {
        walk(&Path::new(WEB).join(folder), &mut found);
    }
    for file in ["index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts"] {
        found.insert(file.to_owned(), hex(&Sha256::digest(fs::read(Path::new(WEB).join(file)).unwrap())));
    }
    found
}

#[test]
fn the_committed_build_was_made_from_these_sources() {
    let text = fs::read_to_string(Path::new(WEB).join("dist/SOURCES.sha256")).expect("dist was built by `make ui`");
    let built: BTreeMap<String, String> = text
        .lines()
        .map(|line| line.split_once("  ").expect("each line is `sha256  path`"))
        .map(|(hash, path)| (path.to_owned(), hash.to_owned()))
        .collect();
    let now = sources();
    let mut stale: Vec<&str> = Vec::new();
    for path in built.keys().chain(now.keys()) {
        if built.get(path) != now.get(path) && !stale.contains(&path.as_str()) {
            stale.push(path);
        }
    }
    assert!(stale.is_empty(), "web/dist is stale, run `make ui` and commit it; changed since the build: {stale:?}");
}

#[test]
fn every_embedded_file_inflates_to_the_file_of_the_build() {
    let mut count = 0;
    for path in paths() {
        let asset = asset(path).unwrap();
        let plain = fs::read(Path::new(WEB).join("dist").join(path)).unwrap();
        assert_eq!(asset.inflate(), plain, "{path}");
        assert_eq!(asset.etag, format!("\"{}\"", &hex(&Sha256::digest(&plain))[..32]), "{path}");
        count += 1;
    }
    assert!(count >= 3, "script, styles and fonts are embedded, found {count} files");
}

#[test]
fn the_entry_points_named_by_the_page_are_embedded() {
    let page = String::from_utf8(index("abc")).unwrap();
    let mut named = 0;
    for part in page.split('"').filter(|part| part.starts_with("/ui/")) {
        assert!(asset(part.trim_start_matches("/ui/")).is_some(), "{part} is named by index.html and not embedded");
        named += 1;
    }
    assert!(named >= 2, "index.html names its script and its styles: {page}");
    assert_eq!(asset("assets/index.js").unwrap().content_type, "text/javascript; charset=utf-8");
    assert_eq!(asset("/assets/index.js"), asset("assets/index.js"));
    assert_eq!(asset("assets/nothing.js"), None);
    assert_eq!(asset("index.html"), None, "only index() knows the nonce");
    assert_eq!(asset("SOURCES.sha256"), None);
}

#[test]
fn the_nonce_is_in_the_page_and_in_the_policy_and_cannot_break_out() {
    let page = String::from_utf8(index("r4nd0m+/=")).unwrap();
    assert!(page.contains("nonce=\"r4nd0m+/=\""), "{page}");
    assert!(!page.contains(NONCE_MARK));
    assert!(content_security_policy("r4nd0m+/=").contains("style-src 'self' 'nonce-r4nd0m+/='; "));

    let evil = "x\"><script>alert(1)</script>'; script-src *";
    assert!(!String::from_utf8(index(evil)).unwrap().contains("<script>alert"));
    assert!(content_security_policy(evil).contains("'nonce-xscriptalert1/scriptscript-src'; img-src"));
}

#[test]
fn the_policy_allows_nothing_from_elsewhere() {
    let policy = content_security_policy("n");
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; "));
    for forbidden in ["http:", "https:", "*", "unsafe-inline", "unsafe-eval"] {
        assert!(!policy.contains(forbidden), "{policy}");
    }
    assert!(HEADERS.contains(&("x-content-type-options", "nosniff")));
    assert!(HEADERS.contains(&("cache-control", "no-cache")));
}

#[test]
fn a_folder_serves_its_files_and_nothing_beside_it() {
    let folder = Folder::open(Path::new(WEB).join("dist")).unwrap();
    assert_eq!(folder.index("abc").unwrap(), index("abc"));
    let script = folder.asset("assets/index.js").unwrap().unwrap();
    assert_eq!(script.bytes, asset("assets/index.js").unwrap().inflate());
    assert_eq!(script.content_type, "text/javascript; charset=utf-8");
    for outside in ["../package.json", "assets/../../package.json", "//etc/passwd", "assets", "nothing.js"] {
        assert_eq!(folder.asset(outside).unwrap(), None, "{outside}");
    }
    let missing = Folder::open(Path::new(WEB).join("src")).unwrap_err();
    assert!(missing.to_string().contains("make ui"), "{missing}");
}
