//! Druid's batch task → [`TaskSpec`]: `index_parallel`, and its elder form `index`.
//!
//! Files are read only below the folders that the server was started with (`--input-dir`): a spec comes from the network,
//! and what a server may read is more than what its users may.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use freshet_ingest::batch::{BatchInput, BatchSpec};
use freshet_ingest::spec::TuningSpec;
use freshet_segment::time::Interval;
use regex::Regex;

use super::input_format::input_format;
use super::json::{Json, Reader};
use super::spec::{DataSchema, data_schema};
use crate::http::reply::Problem;
use crate::nearest::did_you_mean;

/// Longest id that a poster may choose.
const ID_BYTES_MAX: usize = 500;
/// Most files of one task.
const FILES_MAX: usize = 100_000;
/// Deepest folder below the base.
const FOLDER_DEPTH_MAX: usize = 32;

/// A batch task as it was posted.
#[derive(Debug, Clone)]
pub struct TaskSpec {
    /// Its id, where the poster chose one.
    pub id: Option<String>,
    /// `index_parallel` or `index`.
    pub kind: &'static str,
    /// The load.
    pub batch: BatchSpec,
    /// Whether its rows are added to what is there; else they take its place.
    pub append: bool,
    /// Intervals that are replaced although they receive no rows.
    pub drop: Vec<Interval>,
    /// The spec as it was posted, JSON.
    pub document: Arc<str>,
    /// Keys that were accepted and change nothing here.
    pub without_effect: Vec<String>,
}

/// Reads a task as it was posted. `folders` are those that files may be read from.
///
/// # Errors
/// 400 with the JSON pointer and the cure.
pub fn parse(bytes: &[u8], folders: &[PathBuf]) -> Result<TaskSpec, Problem> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Problem::invalid("the spec is not UTF-8 text").at(format!("byte {}", error.valid_up_to())))?;
    let document = Json::parse(bytes)?;
    let root = document.reader("")?;
    let kind = match root.text("type")? {
        Some("index_parallel") => "index_parallel",
        Some("index") => "index",
        other => {
            let near = other.map_or(String::new(), |name| did_you_mean(name, ["index_parallel", "index"]));
            let said = other.map_or("without a type".to_owned(), |name| format!("of type \"{name}\""));
            return Err(Problem::invalid(format!("tasks {said} are not supported yet{near}"))
                .at("/type")
                .hint("take \"index_parallel\"; a stream is a supervisor: POST /druid/indexer/v1/supervisor"));
        }
    };
    let id = root.text("id")?.map(str::to_owned);
    if let Some(id) = &id
        && (id.is_empty() || id.len() > ID_BYTES_MAX || id.contains('/') || id.chars().any(char::is_control))
    {
        return Err(Problem::invalid(format!("task id {:?} cannot be used", id.chars().take(100).collect::<String>()))
            .at("/id")
            .hint("leave it out, or take a short name without slashes and control characters"));
    }
    let mut without_effect = Vec::new();
    root.without_effect(&["context", "resource", "groupId", "dataSource"], &mut without_effect);
    let inner = root.required_object("spec")?;
    let schema = inner.required_object("dataSchema")?;
    let io = inner.required_object("ioConfig")?;
    let tuning = inner.object("tuningConfig")?;

    let name = schema.required_text("dataSource", "\"wikipedia\"")?;
    let table = name.parse().map_err(|error| Problem::from_segment(error).at(schema.at("dataSource")))?;
    let DataSchema { time, dimensions, granularity, intervals } = data_schema(schema, &mut without_effect)?;
    let intervals = intervals.map(|(_, intervals)| intervals).unwrap_or_default();

    io.without_effect(&["type"], &mut Vec::new());
    let decoder = input_format(&io, &mut without_effect)?;
    let inputs = inputs(&io, folders)?;
    let append = io.bool("appendToExisting")?.unwrap_or(false);
    let drop_existing = io.bool("dropExisting")?.unwrap_or(false);
    if drop_existing && (append || intervals.is_empty()) {
        let said = if append { "appendToExisting" } else { "no intervals" };
        return Err(Problem::invalid(format!("dropExisting does not go with {said}"))
            .at(io.at("dropExisting"))
            .hint("it empties granularitySpec.intervals and fills them with what is read"));
    }
    io.finish()?;
    let tuning = tuning.map(|tuning| tuning_config(tuning, &mut without_effect)).transpose()?.unwrap_or_default();
    inner.finish()?;
    root.finish()?;
    let drop = if drop_existing { intervals.clone() } else { Vec::new() };
    let batch = BatchSpec { table, inputs, decoder, time, dimensions, granularity, intervals, tuning };
    Ok(TaskSpec { id, kind, batch, append, drop, document: Arc::from(text), without_effect })
}

fn inputs(io: &Reader<'_>, folders: &[PathBuf]) -> Result<Vec<BatchInput>, Problem> {
    let Some(source) = io.object("inputSource")? else {
        return Err(Problem::invalid("inputSource is missing")
            .at(io.at("inputSource"))
            .hint("set \"inputSource\": {\"type\": \"inline\", \"data\": \"..\"}"));
    };
    let inputs = match source.text("type")? {
        Some("inline") => {
            let data = source.required_text("data", "\"{\\\"time\\\": ..}\"")?;
            vec![BatchInput::Inline(Bytes::copy_from_slice(data.as_bytes()))]
        }
        Some("local") => local(&source, folders)?,
        other => {
            let near = other.map_or(String::new(), |name| did_you_mean(name, ["inline", "local"]));
            let said = other.map_or("without a type".to_owned(), |name| format!("of type \"{name}\""));
            return Err(Problem::invalid(format!("an inputSource {said} is not supported yet{near}"))
                .at(source.at("type"))
                .hint("take inline or local"));
        }
    };
    source.finish()?;
    Ok(inputs)
}

fn local(source: &Reader<'_>, folders: &[PathBuf]) -> Result<Vec<BatchInput>, Problem> {
    if folders.is_empty() {
        return Err(Problem::invalid("this server may read no files")
            .at(source.at("type"))
            .hint("start it with --input-dir DIR, for each folder that batch tasks may read"));
    }
    let base = source.text("baseDir")?;
    let filter = source.text("filter")?;
    let files = source.array("files")?;
    let mut found = Vec::new();
    if let Some(files) = files {
        for (index, file) in files.iter().enumerate() {
            let at = format!("{}/{index}", source.at("files"));
            found.push(allowed(Path::new(file.text(&at)?), folders, &at)?);
        }
    }
    if let Some(base) = base {
        let at = source.at("baseDir");
        let filter = wildcard(filter.unwrap_or("*"));
        let base = allowed(Path::new(base), folders, &at)?;
        walk(&base, &filter, FOLDER_DEPTH_MAX, &mut found)
            .map_err(|error| Problem::invalid(format!("`{}` cannot be read: {error}", base.display())).at(&at))?;
    }
    if found.is_empty() {
        return Err(Problem::invalid("no file was found")
            .at(source.at("baseDir"))
            .hint("check baseDir and filter (`*` and `?` stand for any characters and any one), or name the files"));
    }
    if found.len() > FILES_MAX {
        return Err(Problem::invalid(format!("{} files were found; at most {FILES_MAX} are taken", found.len()))
            .at(source.at("baseDir"))
            .hint("take several tasks"));
    }
    found.sort();
    found.dedup();
    // A link may lead out of the folders.
    let at = source.at("baseDir");
    found.into_iter().map(|path| allowed(&path, folders, &at).map(BatchInput::File)).collect()
}

/// The path without links, if it lies in one of the folders.
fn allowed(path: &Path, folders: &[PathBuf], at: &str) -> Result<PathBuf, Problem> {
    let real = path.canonicalize();
    let inside = |real: &PathBuf| {
        folders.iter().filter_map(|folder| folder.canonicalize().ok()).any(|folder| real.starts_with(folder))
    };
    match real {
        Ok(real) if inside(&real) => Ok(real),
        // Outside it is not said whether the file is there.
        _ => {
            Err(Problem::invalid(format!("`{}` is not in a folder that may be read, or is not there", path.display()))
                .at(at)
                .hint("start the server with --input-dir FOLDER, and write the whole path"))
        }
    }
}

/// Druid's wildcard of file names.
fn wildcard(pattern: &str) -> Option<Regex> {
    let pattern = regex::escape(pattern).replace("\\*", ".*").replace("\\?", ".");
    Regex::new(&format!("(?s)^{pattern}$")).ok()
}

fn walk(folder: &Path, filter: &Option<Regex>, depth: usize, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if path.is_dir() {
            if depth > 0 && !entry.file_type()?.is_symlink() {
                walk(&path, filter, depth - 1, found)?;
            }
        } else if filter.as_ref().is_some_and(|filter| filter.is_match(&entry.file_name().to_string_lossy()))
            && found.len() <= FILES_MAX
        {
            found.push(path);
        }
    }
    Ok(())
}

fn tuning_config(tuning: Reader<'_>, without_effect: &mut Vec<String>) -> Result<TuningSpec, Problem> {
    tuning.without_effect(&["type"], &mut Vec::new());
    let rows = |reader: &Reader<'_>, key| {
        let rows = reader.number(key, 1..=u64::from(u32::MAX))?;
        Ok::<_, Problem>(rows.and_then(|rows| u32::try_from(rows).ok()))
    };
    let mut max_rows_per_segment = rows(&tuning, "maxRowsPerSegment")?;
    if let Some(partitions) = tuning.object("partitionsSpec")? {
        match partitions.text("type")? {
            None | Some("dynamic") => {
                max_rows_per_segment = rows(&partitions, "maxRowsPerSegment")?.or(max_rows_per_segment);
                partitions.without_effect(&["maxTotalRows"], without_effect);
            }
            // How rows are spread over segments changes no answer.
            Some("hashed" | "single_dim" | "range") => {
                let target = rows(&partitions, "targetRowsPerSegment")?;
                max_rows_per_segment = target.or(rows(&partitions, "maxRowsPerSegment")?).or(max_rows_per_segment);
                without_effect.push(partitions.at("type"));
                let keys =
                    ["numShards", "partitionDimensions", "partitionDimension", "partitionFunction", "assumeGrouped"];
                partitions.without_effect(&keys, &mut Vec::new());
            }
            Some(other) => {
                let near = did_you_mean(other, ["dynamic", "hashed", "single_dim", "range"]);
                return Err(Problem::invalid(format!("a partitionsSpec of type \"{other}\" is not known{near}"))
                    .at(partitions.at("type"))
                    .hint("take dynamic, or leave it out"));
            }
        }
        partitions.finish()?;
    }
    let spec = TuningSpec {
        max_parse_exceptions: tuning.number("maxParseExceptions", 0..=i64::MAX as u64)?,
        report_parse_exceptions: tuning.bool("reportParseExceptions")?.unwrap_or(false),
        max_rows_per_segment,
    };
    tuning.without_effect(
        &[
            "appendableIndexSpec",
            "awaitSegmentAvailabilityTimeoutMillis",
            "chatHandlerNumRetries",
            "chatHandlerTimeout",
            "forceGuaranteedRollup",
            "indexSpec",
            "indexSpecForIntermediatePersists",
            "logParseExceptions",
            "maxBytesInMemory",
            "maxColumnsToMerge",
            "maxNumConcurrentSubTasks",
            "maxNumSegmentsToMerge",
            "maxNumSubTasks",
            "maxParseExceptionsSaved",
            "maxPendingPersists",
            "maxRetry",
            "maxRowsInMemory",
            "maxSavedParseExceptions",
            "maxTotalRows",
            "numPersistThreads",
            "numShards",
            "pushTimeout",
            "segmentWriteOutMediumFactory",
            "skipBytesInMemoryOverheadCheck",
            "splitHintSpec",
            "targetPartitionSize",
            "taskStatusCheckPeriodMs",
            "totalNumMergeTasks",
        ],
        without_effect,
    );
    tuning.finish()?;
    Ok(spec)
}

#[cfg(test)]
mod tests;
