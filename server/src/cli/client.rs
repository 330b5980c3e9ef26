//! `freshet sql`, `freshet push` and `freshet files`: small clients of the HTTP API.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use flate2::read::MultiGzDecoder;
use reqwest::blocking::{Client, Response};
use serde_json::{Value, json};

use crate::error::ServerError;

/// Bytes of one push request; well below the server's limit.
const BATCH_BYTES: usize = 4 << 20;
/// How often a push is sent again when the server asks to come back later.
const ATTEMPTS_MAX: u32 = 30;
/// Rejected rows shown at the end.
const ERRORS_SHOWN_MAX: usize = 10;

/// Where the server is.
#[derive(Debug, Args)]
struct Server {
    /// Address of the server
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8888")]
    url: String,
}

/// Arguments of `freshet sql`.
#[derive(Debug, Args)]
pub(super) struct Sql {
    /// The query
    query: String,
    #[command(flatten)]
    server: Server,
    /// How rows are printed
    #[arg(long, value_enum, default_value = "table")]
    format: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Aligned columns
    Table,
    /// Comma-separated values with a header
    Csv,
    /// An array of objects
    Json,
}

/// Arguments of `freshet push`.
#[derive(Debug, Args)]
pub(super) struct Push {
    /// The table; it is made when it is not there
    table: String,
    /// Rows, one JSON object a line or one JSON array; gzip when it ends in .gz; - is the standard input
    file: PathBuf,
    #[command(flatten)]
    server: Server,
    /// The field that holds the time of a row [default: __time, timestamp, time, ts or @timestamp]
    #[arg(long, value_name = "FIELD")]
    timestamp_column: Option<String>,
    /// Store the other rows when some cannot be read
    #[arg(long)]
    skip_bad_rows: bool,
}

/// Arguments of `freshet files`.
#[derive(Debug, Args)]
pub(super) struct Files {
    /// The table
    table: String,
    #[command(flatten)]
    server: Server,
    /// How files are printed: their paths, one a line; a table; or the server's answer
    #[arg(long, value_enum, default_value = "paths")]
    format: List,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum List {
    /// One path or URL a line
    Paths,
    /// Aligned columns
    Table,
    /// The server's answer
    Json,
}

impl Server {
    fn path(&self, path: &str) -> String {
        format!("{}{path}", self.url.trim_end_matches('/'))
    }

    fn client() -> Result<Client, ServerError> {
        // No proxy: the server is this machine.
        Client::builder()
            .no_proxy()
            .timeout(None)
            .build()
            .map_err(|error| ServerError::Client(format!("no HTTP client: {error}")))
    }

    fn unreachable(&self, error: &reqwest::Error) -> ServerError {
        let mut text = format!("no answer from {}", self.url);
        let mut cause: Option<&dyn std::error::Error> = Some(error);
        while let Some(inner) = cause {
            cause = inner.source();
            if cause.is_none() {
                text.push_str(&format!(": {inner}"));
            }
        }
        text.push_str("; start the server with `freshet`, or name another with --url");
        ServerError::Client(text)
    }
}

impl Sql {
    pub(super) fn run(&self) -> Result<(), ServerError> {
        let format = match self.format {
            Form::Table => "array",
            Form::Csv => "csv",
            Form::Json => "object",
        };
        let body = json!({"query": self.query, "resultFormat": format, "header": self.format != Form::Json});
        let sent = Server::client()?
            .post(self.server.path("/druid/v2/sql"))
            .header("content-type", "application/json")
            .body(body.to_string())
            .send();
        let mut answer = accepted(sent.map_err(|error| self.server.unreachable(&error))?)?;
        let cut = |error: std::io::Error| ServerError::Client(format!("the answer was cut short: {error}"));
        let mut out = BufWriter::new(std::io::stdout().lock());
        match self.format {
            Form::Json => {
                std::io::copy(&mut answer, &mut out).map_err(cut)?;
            }
            Form::Csv => {
                // The empty line at the end shows that nothing was cut; it is not part of the rows.
                let mut lines = BufReader::new(answer);
                let mut line = Vec::new();
                let mut complete = false;
                while lines.read_until(b'\n', &mut line).map_err(cut)? > 0 {
                    complete = line == b"\n";
                    if !complete {
                        out.write_all(&line).map_err(cut)?;
                    }
                    line.clear();
                }
                if !complete {
                    return Err(ServerError::Client("the answer was cut short; the server's log says why".to_owned()));
                }
            }
            Form::Table => {
                let mut text = String::new();
                answer.read_to_string(&mut text).map_err(cut)?;
                let rows: Vec<Vec<Value>> = serde_json::from_str(&text)
                    .map_err(|error| ServerError::Client(format!("the answer was cut short: {error}")))?;
                write_table(&rows, &mut out).map_err(cut)?;
            }
        }
        out.flush().map_err(cut)
    }
}

/// Columns as wide as their widest cell, numbers to the right.
fn write_table(rows: &[Vec<Value>], out: &mut impl Write) -> std::io::Result<()> {
    let text = |cell: &Value| match cell {
        Value::Null => "NULL".to_owned(),
        Value::String(text) => text.replace(['\n', '\r', '\t'], " "),
        other => other.to_string(),
    };
    let Some((header, data)) = rows.split_first() else { return Ok(()) };
    let texts: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(text).collect()).collect();
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            texts.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let numeric: Vec<bool> = (0..header.len())
        .map(|column| {
            let mut cells = data.iter().filter_map(|row| row.get(column)).filter(|cell| !cell.is_null()).peekable();
            cells.peek().is_some() && cells.all(Value::is_number)
        })
        .collect();
    for (index, row) in texts.iter().enumerate() {
        let mut line = String::new();
        for ((cell, width), numeric) in row.iter().zip(&widths).zip(&numeric) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            let fill = " ".repeat(width.saturating_sub(cell.chars().count()));
            let (left, right) = if *numeric { (fill.as_str(), "") } else { ("", fill.as_str()) };
            line.extend([left, cell, right]);
        }
        writeln!(out, "{}", line.trim_end())?;
        if index == 0 {
            let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            writeln!(out, "{}", rule.join("  "))?;
        }
    }
    let noun = if data.len() == 1 { "row" } else { "rows" };
    writeln!(out, "({} {noun})", data.len())
}

impl Files {
    pub(super) fn run(&self) -> Result<(), ServerError> {
        let table = percent_encoding::utf8_percent_encode(&self.table, percent_encoding::NON_ALPHANUMERIC);
        let url = self.server.path(&format!("/api/v1/tables/{table}/files"));
        let sent = Server::client()?.get(url).send();
        let text = accepted(sent.map_err(|error| self.server.unreachable(&error))?)?.text();
        let cut = |error: &dyn std::fmt::Display| ServerError::Client(format!("the answer cannot be read: {error}"));
        let text = text.map_err(|error| cut(&error))?;
        let answer: Value = serde_json::from_str(&text).map_err(|error| cut(&error))?;
        let files = answer["files"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut out = BufWriter::new(std::io::stdout().lock());
        let written = match self.format {
            List::Json => writeln!(out, "{text}"),
            List::Paths => {
                files.iter().try_for_each(|file| writeln!(out, "{}", file["path"].as_str().unwrap_or_default()))
            }
            List::Table => {
                let names = ["segment", "rows", "bytes", "path"];
                let header = names.iter().map(|name| json!(name)).collect();
                let rows = files.iter().map(|file| names.iter().map(|name| file[*name].clone()).collect());
                write_table(&std::iter::once(header).chain(rows).collect::<Vec<_>>(), &mut out)
            }
        };
        written.and_then(|()| out.flush()).map_err(|error| cut(&error))
    }
}

#[derive(Debug, Default)]
struct Totals {
    accepted: u64,
    rejected: u64,
    shown: Vec<String>,
}

impl Push {
    pub(super) fn run(&self) -> Result<(), ServerError> {
        let client = Server::client()?;
        let mut totals = Totals::default();
        let sent = self.send_all(&client, &mut totals);
        let summary = format!("{}: {} rows stored, {} rejected", self.table, totals.accepted, totals.rejected);
        for line in &totals.shown {
            eprintln!("{line}");
        }
        match sent {
            Ok(()) => {
                println!("{summary}");
                Ok(())
            }
            Err(error) if totals.accepted > 0 => {
                Err(ServerError::Client(format!("{}\n{summary} before that", error.chain())))
            }
            Err(error) => Err(error),
        }
    }

    fn send_all(&self, client: &Client, totals: &mut Totals) -> Result<(), ServerError> {
        let mut rows = open(&self.file)?;
        let failed = |source| ServerError::Path { what: "cannot read", path: self.file.clone(), source };
        let start = rows.fill_buf().map_err(failed)?;
        let first = start.iter().find(|byte| !byte.is_ascii_whitespace()).copied();
        if first == Some(b'[') {
            // One array cannot be cut without reading it; the server's limit stands.
            let mut body = Vec::new();
            rows.read_to_end(&mut body).map_err(failed)?;
            return self.send(client, body, "application/json", 1, totals);
        }
        let mut batch = Vec::with_capacity(BATCH_BYTES + 4_096);
        let (mut first_line, mut lines) = (1_u64, 0_u64);
        loop {
            let read = rows.read_until(b'\n', &mut batch).map_err(failed)?;
            lines += u64::from(read > 0);
            if batch.len() >= BATCH_BYTES || (read == 0 && !batch.is_empty()) {
                self.send(client, std::mem::take(&mut batch), "application/x-ndjson", first_line, totals)?;
                first_line += lines;
                lines = 0;
            }
            if read == 0 {
                return Ok(());
            }
        }
    }

    /// Sends one batch; `first_line` is where it stands in the file.
    fn send(
        &self,
        client: &Client,
        body: Vec<u8>,
        content_type: &str,
        first_line: u64,
        totals: &mut Totals,
    ) -> Result<(), ServerError> {
        let table = percent_encoding::utf8_percent_encode(&self.table, percent_encoding::NON_ALPHANUMERIC);
        let mut query = Vec::new();
        if let Some(column) = &self.timestamp_column {
            query.push(("timestampColumn", column.as_str()));
        }
        if self.skip_bad_rows {
            query.push(("onError", "skip"));
        }
        let query: Vec<String> = query
            .into_iter()
            .map(|(name, value)| {
                format!("{name}={}", percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC))
            })
            .collect();
        let url = format!("{}?{}", self.server.path(&format!("/api/v1/push/{table}")), query.join("&"));
        let body = bytes::Bytes::from(body);
        let mut attempt = 0;
        let answer = loop {
            attempt += 1;
            let sent = client.post(&url).header("content-type", content_type).body(body.clone()).send();
            let answer = sent.map_err(|error| self.server.unreachable(&error))?;
            let wait = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
            match (answer.status().as_u16(), wait) {
                (429 | 503, Some(seconds)) if attempt < ATTEMPTS_MAX => {
                    std::thread::sleep(Duration::from_secs(seconds.clamp(1, 10)));
                }
                _ => break accepted(answer),
            }
        };
        let place = format!("in the batch that begins at line {first_line} of {}", self.file.display());
        let answer = answer.map_err(|error| ServerError::Client(format!("{place}: {}", error.chain())))?;
        let reply: Value =
            answer.json().map_err(|error| ServerError::Client(format!("the answer cannot be read: {error}")))?;
        totals.accepted += reply["accepted"].as_u64().unwrap_or(0);
        totals.rejected += reply["rejected"].as_u64().unwrap_or(0);
        for error in reply["errors"].as_array().into_iter().flatten() {
            if totals.shown.len() < ERRORS_SHOWN_MAX {
                let row = error["row"].as_u64().unwrap_or(0);
                let reason = error["reason"].as_str().unwrap_or_default();
                totals.shown.push(format!("row {row} {place}: {reason}"));
            }
        }
        Ok(())
    }
}

fn open(path: &Path) -> Result<Box<dyn BufRead>, ServerError> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(std::io::stdin())));
    }
    let file =
        File::open(path).map_err(|source| ServerError::Path { what: "cannot read", path: path.to_owned(), source })?;
    if path.extension().is_some_and(|extension| extension == "gz") {
        return Ok(Box::new(BufReader::new(MultiGzDecoder::new(file))));
    }
    Ok(Box::new(BufReader::new(file)))
}

/// The answer, or the server's refusal in words.
fn accepted(answer: Response) -> Result<Response, ServerError> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let text = answer.text().unwrap_or_default();
    let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    let part = |key: &str| body[key].as_str().filter(|part| !part.is_empty());
    let mut message = part("errorMessage").map_or_else(|| format!("the server answered {status}"), ToOwned::to_owned);
    if let Some(at) = part("at") {
        message.push_str(&format!(" (at {at})"));
    }
    if let Some(hint) = part("hint") {
        message.push_str(&format!("; {hint}"));
    }
    Err(ServerError::Client(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_and_counted() {
        let rows =
            vec![vec![json!("city"), json!("n")], vec![json!("Zürich"), json!(7)], vec![Value::Null, json!(1234)]];
        let mut out = Vec::new();
        write_table(&rows, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "city       n\n------  ----\nZürich     7\nNULL    1234\n(2 rows)\n"
        );
    }
}
