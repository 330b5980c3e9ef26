//! Embeds the committed build of the page.
//!
//! Walks `web/dist`, compresses each file once with gzip into `OUT_DIR` and writes a table `path → (content type, ETag, bytes)`
//! that `src/assets.rs` includes. It runs neither Node nor the network, so a clone builds with cargo alone. Without
//! `web/dist/index.html` it embeds a page that says how to make one, and warns, instead of failing the whole workspace.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};

/// What is served when the page was never built.
const NOTICE: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Freshet</title>\
<h1>Freshet is running; its page is not in this binary.</h1>\
<p>It was built without <code>dashboards/web/dist</code>. Run <code>make ui</code> and build again. \
The HTTP API works: try <code>POST /druid/v2/sql</code>.</p></html>";

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?);
    let out = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?);
    let dist = root.join("web/dist");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=web/dist");

    let mut files = BTreeMap::new();
    if dist.join("index.html").is_file() {
        collect(&dist, &dist, &mut files)?;
    } else {
        println!(
            "cargo:warning=dashboards/web/dist/index.html is missing: a notice is embedded instead of the page; run `make ui`"
        );
        files.insert("index.html".to_owned(), NOTICE.as_bytes().to_vec());
    }

    let mut table = String::from("&[\n");
    for (number, (path, bytes)) in files.iter().enumerate() {
        let packed = format!("asset-{number}.gz");
        let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
        encoder.write_all(bytes)?;
        fs::write(out.join(&packed), encoder.finish()?)?;
        let mut hash = String::new();
        for byte in &Sha256::digest(bytes)[..16] {
            write!(hash, "{byte:02x}").map_err(io::Error::other)?;
        }
        writeln!(
            table,
            "    File {{ path: {path:?}, content_type: {:?}, etag: \"\\\"{hash}\\\"\", \
             gzip: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{packed}\")) }},",
            content_type(path)
        )
        .map_err(io::Error::other)?;
    }
    table.push_str("]\n");
    fs::write(out.join("assets.rs"), table)
}

/// Adds each file below `folder`, under its path relative to `dist` with `/` between the parts.
fn collect(dist: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    println!("cargo:rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(dist, &path, files)?;
            continue;
        }
        println!("cargo:rerun-if-changed={}", path.display());
        let inside = path.strip_prefix(dist).map_err(io::Error::other)?;
        let parts: Vec<_> = inside.components().map(|part| part.as_os_str().to_string_lossy()).collect();
        let name = parts.join("/");
        if name != "SOURCES.sha256" {
            files.insert(name, fs::read(&path)?);
        }
    }
    Ok(())
}

include!("src/content_type.rs");
