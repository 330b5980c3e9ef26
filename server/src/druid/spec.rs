//! Druid's supervisor spec → [`SupervisorSpec`].
//!
//! Three answers to a key: it is understood; it only tunes Druid's engine, and is listed as without effect; or it is refused, by
//! name and with what to do. Nothing is skipped in silence, because a spec that is half understood gives wrong numbers. The one
//! default of Druid's that is not taken over is `rollup`: it is true there when it is absent, and rows that are not rolled up
//! although the writer believes so are counted wrongly; so it must be said.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use freshet_ingest::spec::{
    AcceptedTime, DecoderSpec, DimensionSpec, DimensionsSpec, Discovery, GranularitySpec, KafkaSpec, OnDataLoss,
    SourceSpec, SupervisorSpec, TimeFormat, TimeSpec, TuningSpec, check_property,
};
use freshet_segment::schema::ColumnType;
use freshet_segment::time::{Granularity, Interval, Period, Timestamp};

use super::json::{Json, Reader};
use crate::http::reply::Problem;
use crate::nearest::did_you_mean;

/// Longest period that can be asked for: durations are kept in milliseconds, and 100 years are no task's length.
const PERIOD_MS_MAX: i64 = 100 * 366 * 86_400_000;

/// Reads a spec as it was posted.
///
/// # Errors
/// 400 with the JSON pointer and the cure.
pub fn parse(bytes: &[u8]) -> Result<SupervisorSpec, Problem> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Problem::invalid("the spec is not UTF-8 text").at(format!("byte {}", error.valid_up_to())))?;
    let document = Json::parse(bytes)?;
    let root = document.reader("")?;
    let mut without_effect = Vec::new();
    match root.text("type")? {
        Some("kafka") => {}
        None => {
            return Err(Problem::invalid("type is missing").at("/type").hint("set \"type\": \"kafka\""));
        }
        Some(other) => {
            return Err(Problem::invalid(format!("supervisors of type \"{other}\" are not supported yet"))
                .at("/type")
                .hint("take \"kafka\", or push rows to POST /api/v1/push/{table}"));
        }
    }
    // The old form has the three parts at the top.
    let inner = root.object("spec")?;
    let parts = inner.as_ref().unwrap_or(&root);
    let schema = parts.required_object("dataSchema")?;
    let io = parts.required_object("ioConfig")?;
    let tuning = parts.object("tuningConfig")?;

    let name = schema.required_text("dataSource", "\"clicks\"")?;
    let table = name.parse().map_err(|error| Problem::from_segment(error).at(schema.at("dataSource")))?;
    let id = root.text("id")?.unwrap_or(name).to_owned();
    let suspended = root.bool("suspended")?.unwrap_or(false);
    root.without_effect(&["context"], &mut without_effect);

    // A stream has no end, so the intervals that a batch would fill say nothing.
    let DataSchema { time, dimensions, granularity, intervals } = data_schema(schema, &mut without_effect)?;
    without_effect.extend(intervals.map(|(at, _)| at));
    let (source, decoder) = io_config(&io, &mut without_effect)?;
    let accepted = accepted(&io)?;
    io.finish()?;
    let tuning = match tuning {
        Some(reader) => tuning_config(reader, &mut without_effect)?,
        None => TuningSpec::default(),
    };
    if let Some(inner) = inner {
        inner.finish()?;
    }
    root.finish()?;
    Ok(SupervisorSpec {
        id,
        table,
        source: SourceSpec::Kafka(source),
        decoder,
        time,
        dimensions,
        granularity,
        accepted,
        tuning,
        suspended,
        document: Arc::from(text),
        without_effect,
    })
}

/// What streams and batches have in common.
pub(super) struct DataSchema {
    pub(super) time: TimeSpec,
    pub(super) dimensions: DimensionsSpec,
    pub(super) granularity: GranularitySpec,
    /// `granularitySpec.intervals` and its place, where it is set.
    pub(super) intervals: Option<(String, Vec<Interval>)>,
}

/// Reads all of `dataSchema` but its name, which was read before.
pub(super) fn data_schema(schema: Reader<'_>, without_effect: &mut Vec<String>) -> Result<DataSchema, Problem> {
    let time = time(&schema)?;
    let dimensions = dimensions(&schema, without_effect)?;
    let (granularity, intervals) = granularity(&schema)?;
    schema.not_yet("metricsSpec", "leave it out and set \"rollup\": false; aggregate in the query instead")?;
    schema.not_yet("transformSpec", "leave it out, and compute or filter in the query or before Kafka")?;
    schema.not_yet("parser", "use timestampSpec and dimensionsSpec here, and inputFormat in ioConfig")?;
    schema.without_effect(&["projections"], without_effect);
    schema.finish()?;
    Ok(DataSchema { time, dimensions, granularity, intervals })
}

/// The intervals of a batch, and their place.
type Intervals = Option<(String, Vec<Interval>)>;

fn intervals(reader: &Reader<'_>) -> Result<Intervals, Problem> {
    let at = reader.at("intervals");
    let Some(items) = reader.array("intervals")? else { return Ok(None) };
    let mut all = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let at = format!("{at}/{index}");
        let interval = item.text(&at)?.parse().map_err(|error| {
            Problem::from_segment(error).at(&at).hint("write start/end, for example 2015-09-12/2015-09-13")
        })?;
        all.push(interval);
    }
    Ok((!all.is_empty()).then_some((at, all)))
}

fn time(schema: &Reader<'_>) -> Result<TimeSpec, Problem> {
    let Some(reader) = schema.object("timestampSpec")? else { return Ok(TimeSpec::auto("timestamp")) };
    let column = reader.text("column")?.unwrap_or("timestamp").to_owned();
    let formats =
        [TimeFormat::Auto, TimeFormat::Iso, TimeFormat::Posix, TimeFormat::Millis, TimeFormat::Micro, TimeFormat::Nano];
    let format = match reader.text("format")? {
        None => TimeFormat::Auto,
        Some(name) => formats.into_iter().find(|format| format.name() == name).ok_or_else(|| {
            Problem::invalid(format!(
                "timestamp format \"{name}\" is not supported{}",
                did_you_mean(name, formats.map(TimeFormat::name))
            ))
            .at(reader.at("format"))
            .hint("take auto, iso, posix, millis, micro or nano; Joda patterns are not supported yet")
        })?,
    };
    let missing_value = match reader.text("missingValue")? {
        None => None,
        Some(text) => {
            Some(Timestamp::parse(text).map_err(|error| Problem::from_segment(error).at(reader.at("missingValue")))?)
        }
    };
    reader.finish()?;
    Ok(TimeSpec { column, format, missing_value })
}

fn dimensions(schema: &Reader<'_>, without_effect: &mut Vec<String>) -> Result<DimensionsSpec, Problem> {
    let mut spec = DimensionsSpec {
        declared: Vec::new(),
        discovery: Discovery::Strings,
        include_all: false,
        exclusions: Vec::new(),
    };
    let Some(reader) = schema.object("dimensionsSpec")? else { return Ok(spec) };
    let list_at = reader.at("dimensions");
    for (index, item) in reader.array("dimensions")?.unwrap_or_default().iter().enumerate() {
        spec.declared.push(dimension(item, &format!("{list_at}/{index}"), without_effect)?);
    }
    let exclusions_at = reader.at("dimensionExclusions");
    for (index, item) in reader.array("dimensionExclusions")?.unwrap_or_default().iter().enumerate() {
        spec.exclusions.push(item.text(&format!("{exclusions_at}/{index}"))?.to_owned());
    }
    spec.include_all = reader.bool("includeAllDimensions")?.unwrap_or(false);
    if reader.bool("useSchemaDiscovery")?.unwrap_or(false) {
        spec.discovery = Discovery::Typed;
    } else if !spec.declared.is_empty() && !spec.include_all {
        spec.discovery = Discovery::Listed;
    }
    if reader.bool("forceSegmentSortByTime")? == Some(false) {
        return Err(Problem::invalid("forceSegmentSortByTime false is not supported yet")
            .at(reader.at("forceSegmentSortByTime"))
            .hint("leave it out: rows are sorted by time"));
    }
    reader.not_yet("spatialDimensions", "leave it out, and keep the coordinates as two double dimensions")?;
    reader.finish()?;
    Ok(spec)
}

fn dimension(item: &Json, at: &str, without_effect: &mut Vec<String>) -> Result<DimensionSpec, Problem> {
    if let Json::String(name) = item {
        return Ok(DimensionSpec { name: name.clone(), column_type: ColumnType::String });
    }
    let reader = item.reader(at)?;
    let name = reader.required_text("name", "\"country\"")?.to_owned();
    let column_type = match reader.text("type")? {
        None | Some("string") => ColumnType::String,
        Some("long") => ColumnType::Long,
        Some("double") => ColumnType::Double,
        Some("float") => ColumnType::Float,
        Some("json") => ColumnType::Json,
        Some("auto") => {
            return Err(Problem::invalid(format!("dimension \"{name}\" of type auto is not supported yet"))
                .at(reader.at("type"))
                .hint("give it its type, or leave it out of the list and set \"useSchemaDiscovery\": true"));
        }
        Some(other) => {
            let known = ["string", "long", "float", "double", "json"];
            return Err(Problem::invalid(format!(
                "dimension type \"{other}\" is not known{}",
                did_you_mean(other, known)
            ))
            .at(reader.at("type"))
            .hint("take string, long, float, double or json"));
        }
    };
    match reader.text("multiValueHandling")? {
        None | Some("array" | "ARRAY") => {}
        Some(_) => without_effect.push(reader.at("multiValueHandling")),
    }
    reader.not_yet("maxStringLength", "leave it out: texts are kept whole")?;
    reader.without_effect(&["createBitmapIndex", "formatVersion", "castToType", "columnFormatSpec"], without_effect);
    reader.finish()?;
    Ok(DimensionSpec { name, column_type })
}

fn granularity(schema: &Reader<'_>) -> Result<(GranularitySpec, Intervals), Problem> {
    let rollup_hint = "set \"granularitySpec\": {\"rollup\": false}: every row is kept, and SQL aggregates it";
    let Some(reader) = schema.object("granularitySpec")? else {
        return Err(Problem::invalid(
            "granularitySpec is missing, and without it Druid rolls rows up, which is not supported yet",
        )
        .at(schema.at("granularitySpec"))
        .hint(rollup_hint));
    };
    match reader.bool("rollup")? {
        Some(false) => {}
        Some(true) => {
            return Err(Problem::invalid("rollup is not supported yet").at(reader.at("rollup")).hint(rollup_hint));
        }
        None => {
            return Err(Problem::invalid("rollup is not set, and Druid's default, true, is not supported yet")
                .at(reader.at("rollup"))
                .hint(rollup_hint));
        }
    }
    match reader.text("type")? {
        None | Some("uniform") => {}
        Some(other) => {
            return Err(Problem::invalid(format!("granularitySpec of type \"{other}\" is not supported"))
                .at(reader.at("type"))
                .hint("take \"uniform\", or leave it out"));
        }
    }
    let segment = read_granularity(&reader, "segmentGranularity")?;
    let query = read_granularity(&reader, "queryGranularity")?;
    if segment.as_ref().is_some_and(|granularity| matches!(granularity, Granularity::None)) {
        return Err(Problem::invalid("segmentGranularity none would make a segment of every millisecond")
            .at(reader.at("segmentGranularity"))
            .hint("take hour, day, month or all"));
    }
    let intervals = intervals(&reader)?;
    reader.finish()?;
    let default = GranularitySpec::default();
    let spec = GranularitySpec { segment: segment.unwrap_or(default.segment), query: query.unwrap_or(default.query) };
    Ok((spec, intervals))
}

/// A name, or `{"type":"period","period":"PT5M","timeZone":..}`.
fn read_granularity(parent: &Reader<'_>, key: &'static str) -> Result<Option<Granularity>, Problem> {
    let Some(value) = parent.value(key) else { return Ok(None) };
    let at = parent.at(key);
    if let Json::String(name) = value {
        let granularity = name.parse().map_err(|error| {
            Problem::from_segment(error)
                .at(&at)
                .hint("take second, minute, five_minute, hour, day, week, month, year, all or none")
        })?;
        return Ok(Some(granularity));
    }
    let reader = value.reader(&at)?;
    let granularity = match reader.text("type")? {
        Some("all") => Granularity::All,
        Some("none") => Granularity::None,
        Some("period") => {
            let text = reader.required_text("period", "\"PT5M\"")?;
            let period = text.parse().map_err(|error| Problem::from_segment(error).at(reader.at("period")))?;
            let zone = reader.text("timeZone")?.unwrap_or("UTC");
            let zone = zone.parse().map_err(|error| Problem::from_segment(error).at(reader.at("timeZone")))?;
            reader.not_yet("origin", "leave it out: buckets begin at the calendar's")?;
            Granularity::Period(period, zone)
        }
        other => {
            let said = other.map_or("no type".to_owned(), |name| format!("type \"{name}\""));
            return Err(Problem::invalid(format!("a granularity with {said} is not supported"))
                .at(reader.at("type"))
                .hint("take a name such as \"hour\", or {\"type\": \"period\", \"period\": \"PT5M\"}"));
        }
    };
    reader.finish()?;
    Ok(Some(granularity))
}

fn io_config(io: &Reader<'_>, without_effect: &mut Vec<String>) -> Result<(KafkaSpec, DecoderSpec), Problem> {
    match io.text("type")? {
        None | Some("kafka") => {}
        Some(other) => {
            return Err(Problem::invalid(format!(
                "ioConfig is of type \"{other}\", but the supervisor is of type \"kafka\""
            ))
            .at(io.at("type")));
        }
    }
    io.not_yet("topicPattern", "name one topic with \"topic\", and post one spec for each topic")?;
    let topic = match (io.text("topic")?, io.text("stream")?) {
        (Some(topic), _) | (None, Some(topic)) if !topic.is_empty() => topic,
        _ => {
            return Err(Problem::invalid("topic is missing")
                .at(io.at("topic"))
                .hint("name the topic, for example \"clicks\""));
        }
    };
    let decoder = super::input_format::input_format(io, without_effect)?;
    let properties = properties(io)?;
    let mut kafka = KafkaSpec::new(topic, "");
    kafka.properties = properties;
    kafka.use_earliest_offset = io.bool("useEarliestOffset")?.unwrap_or(false);
    if let Some(count) = io.number("taskCount", 1..=128)? {
        kafka.task_count = usize::try_from(count).unwrap_or(1);
    }
    if let Some(duration) = period(io, "taskDuration")? {
        kafka.task_duration = duration;
    }
    if let Some(duration) = period(io, "period")? {
        kafka.period = duration;
    }
    if let Some(millis) = io.number("pollTimeout", 1..=60_000)? {
        kafka.poll_timeout = Duration::from_millis(millis);
    }
    kafka.on_data_loss = on_data_loss(io)?;
    if let Some(replicas) = io.number("replicas", 1..=64)?
        && replicas > 1
    {
        without_effect.push(io.at("replicas"));
    }
    io.not_yet("autoScalerConfig", "leave it out, and set taskCount")?;
    io.without_effect(
        &[
            "completionTimeout",
            "startDelay",
            "idleConfig",
            "stopTaskCount",
            "configOverrides",
            "serverPriorityToReplicas",
            "emitTimeLagMetrics",
        ],
        without_effect,
    );
    Ok((kafka, decoder))
}

fn accepted(io: &Reader<'_>) -> Result<AcceptedTime, Problem> {
    let key = "lateMessageRejectionStartDateTime";
    let from = match io.text(key)? {
        None => None,
        Some(text) => Some(Timestamp::parse(text).map_err(|error| Problem::from_segment(error).at(io.at(key)))?),
    };
    let late_by = period(io, "lateMessageRejectionPeriod")?;
    if from.is_some() && late_by.is_some() {
        return Err(Problem::invalid(
            "lateMessageRejectionPeriod and lateMessageRejectionStartDateTime exclude each other",
        )
        .at(io.at(key))
        .hint("keep one of the two"));
    }
    Ok(AcceptedTime { late_by, early_by: period(io, "earlyMessageRejectionPeriod")?, from })
}

/// Ours: what happens when the topic no longer holds the records that come next.
fn on_data_loss(io: &Reader<'_>) -> Result<OnDataLoss, Problem> {
    match io.text("onDataLoss")? {
        None | Some("stop") => Ok(OnDataLoss::Stop),
        Some("skip") => Ok(OnDataLoss::Skip),
        Some(other) => Err(Problem::invalid(format!(
            "onDataLoss is \"{other}\", but \"stop\" or \"skip\" is needed{}",
            did_you_mean(other, ["stop", "skip"])
        ))
        .at(io.at("onDataLoss"))
        .hint("stop waits for you; skip notes the lost range in sys.data_gaps and goes on")),
    }
}

fn properties(io: &Reader<'_>) -> Result<BTreeMap<String, String>, Problem> {
    let hint = "set \"consumerProperties\": {\"bootstrap.servers\": \"localhost:9092\"}";
    let Some(reader) = io.object("consumerProperties")? else {
        return Err(Problem::invalid("consumerProperties is missing").at(io.at("consumerProperties")).hint(hint));
    };
    let mut properties = BTreeMap::new();
    for (name, value) in reader.members() {
        let at = reader.at(name);
        check_property(name).map_err(|error| Problem::from(error).at(&at))?;
        let text = match value {
            Json::String(text) => text.clone(),
            Json::Number(number) => number.to_string(),
            Json::Bool(value) => value.to_string(),
            Json::Object(_) => {
                return Err(Problem::invalid(format!(
                    "consumer property \"{name}\" from the environment or a file is not supported yet"
                ))
                .at(at)
                .hint("give its value as a string"));
            }
            other => {
                return Err(Problem::invalid(format!("consumer property \"{name}\" is not a string"))
                    .at(at)
                    .hint(format!("{other:?} cannot be a value")));
            }
        };
        properties.insert(name.clone(), text);
    }
    if properties.get("bootstrap.servers").is_none_or(|servers| servers.trim().is_empty()) {
        return Err(Problem::invalid("bootstrap.servers is missing").at(reader.at("bootstrap.servers")).hint(hint));
    }
    Ok(properties)
}

fn tuning_config(tuning: Reader<'_>, without_effect: &mut Vec<String>) -> Result<TuningSpec, Problem> {
    match tuning.text("type")? {
        None | Some("kafka") => {}
        Some(other) => {
            return Err(Problem::invalid(format!(
                "tuningConfig is of type \"{other}\", but the supervisor is of type \"kafka\""
            ))
            .at(tuning.at("type")));
        }
    }
    let spec = TuningSpec {
        max_parse_exceptions: tuning.number("maxParseExceptions", 0..=i64::MAX as u64)?,
        report_parse_exceptions: tuning.bool("reportParseExceptions")?.unwrap_or(false),
        max_rows_per_segment: tuning
            .number("maxRowsPerSegment", 1..=u64::from(u32::MAX))?
            .and_then(|rows| u32::try_from(rows).ok()),
    };
    tuning.not_yet(
        "resetOffsetAutomatically",
        "leave it out: a lost range is never skipped in silence; ioConfig.onDataLoss \"skip\" notes it and goes on",
    )?;
    tuning.without_effect(
        &[
            "maxRowsInMemory",
            "maxBytesInMemory",
            "maxTotalRows",
            "intermediatePersistPeriod",
            "intermediateHandoffPeriod",
            "maxSavedParseExceptions",
            "logParseExceptions",
            "indexSpec",
            "indexSpecForIntermediatePersists",
            "handoffConditionTimeout",
            "workerThreads",
            "chatAsync",
            "chatThreads",
            "chatRetries",
            "httpTimeout",
            "shutdownTimeout",
            "offsetFetchPeriod",
            "maxPendingPersists",
            "numPersistThreads",
            "skipBytesInMemoryOverheadCheck",
            "segmentWriteOutMediumFactory",
            "maxColumnsToMerge",
            "releaseLocksOnHandoff",
            "skipSequenceNumberAvailabilityCheck",
            "repartitionTransitionDuration",
            "basePersistDirectory",
        ],
        without_effect,
    );
    tuning.finish()?;
    Ok(spec)
}

/// An ISO period of fixed length.
fn period(reader: &Reader<'_>, key: &'static str) -> Result<Option<Duration>, Problem> {
    let Some(text) = reader.text(key)? else { return Ok(None) };
    let period: Period = text.parse().map_err(|error| Problem::from_segment(error).at(reader.at(key)))?;
    let days = i64::from(period.days) + 30 * i64::from(period.months);
    let millis = days.saturating_mul(86_400_000).saturating_add(period.millis);
    if !(1..=PERIOD_MS_MAX).contains(&millis) {
        return Err(Problem::invalid(format!("{key} is \"{text}\", but a length above zero is needed"))
            .at(reader.at(key))
            .hint("for example \"PT1H\""));
    }
    Ok(Some(Duration::from_millis(millis.unsigned_abs())))
}

#[cfg(test)]
mod tests;
