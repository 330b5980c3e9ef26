//! Functions of time, over slices of milliseconds.
//!
//! Rows near each other in a table are near each other in time, so bucketing remembers the last bucket: a row that
//! falls into it costs two comparisons, in any zone and for any period.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringViewBuilder, TimestampMillisecondArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, TimeUnit, TimestampMillisecondType};
use chrono::{Datelike, NaiveDateTime, Timelike};
use datafusion::common::{DataFusionError, Result as DfResult, exec_err, plan_err};
use datafusion::logical_expr::ColumnarValue;
use freshet_segment::time::{Period, Timestamp, Zone};

use super::joda::{Pattern, local};
use super::numbers::java_text;
use super::{Definition, Shown, count_between, literal, long_type, text_type, texts, timestamp_type};

pub(super) const DEFINITIONS: &[Definition] = &[
    Definition::new("TIME_FLOOR", bucket_types, timestamp_type, time_floor),
    Definition::new("TIME_CEIL", bucket_types, timestamp_type, time_floor),
    Definition::new("TIME_SHIFT", shift_types, timestamp_type, time_shift),
    Definition::new("TIME_EXTRACT", time_and_texts, long_type, time_extract),
    Definition::new("TIME_PARSE", texts_only, timestamp_type, time_parse),
    Definition::new("TIME_FORMAT", time_and_texts, text_type, time_format),
    Definition::new("TIMESTAMPDIFF", difference_types, long_type, difference),
    Definition::new("MILLIS_TO_TIMESTAMP", one_long, timestamp_type, from_millis),
    Definition::new("TIMESTAMP_TO_MILLIS", one_time, long_type, to_millis),
    Definition::new("__TO_TIMESTAMP", anything, timestamp_type, to_timestamp).identity(),
    Definition::new("__TO_DATE", anything, timestamp_type, to_date).shown(Shown::Date),
    Definition::new("__TO_VARCHAR", anything, text_type, to_varchar).identity(),
    Definition::new("__TO_BIGINT", anything, long_type, to_bigint).identity(),
];

fn time_type(name: &str, given: &DataType) -> DfResult<DataType> {
    match given {
        DataType::Timestamp(..)
        | DataType::Date32
        | DataType::Date64
        | DataType::Null
        | DataType::Int64
        | DataType::Utf8
        | DataType::Utf8View
        | DataType::LargeUtf8 => Ok(timestamp_type()),
        other => plan_err!("{name} takes a TIMESTAMP, not {other}"),
    }
}

fn bucket_types(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 4, 4)?;
    Ok(vec![time_type(name, &types[0])?, DataType::Utf8, time_type(name, &types[2])?, DataType::Utf8])
}

fn shift_types(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 4, 4)?;
    Ok(vec![time_type(name, &types[0])?, DataType::Utf8, DataType::Int64, DataType::Utf8])
}

fn time_and_texts(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 3, 3)?;
    Ok(vec![time_type(name, &types[0])?, DataType::Utf8, DataType::Utf8])
}

fn texts_only(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 3, 3)?;
    Ok(vec![DataType::Utf8View, DataType::Utf8, DataType::Utf8])
}

fn difference_types(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 4, 4)?;
    Ok(vec![DataType::Utf8, time_type(name, &types[1])?, time_type(name, &types[2])?, DataType::Utf8])
}

fn one_long(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 1, 1)?;
    Ok(vec![DataType::Int64])
}

fn one_time(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    count_between(name, types, 1, 1)?;
    Ok(vec![time_type(name, &types[0])?])
}

fn anything(_: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    Ok(types.to_vec())
}

/// The milliseconds of argument `index`.
fn times(args: &[ColumnarValue], index: usize, rows: usize) -> DfResult<TimestampMillisecondArray> {
    let Some(arg) = args.get(index) else { return exec_err!("argument {} is missing", index + 1) };
    let array = arg.clone().into_array(rows)?;
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Millisecond, _) => Ok(array.as_primitive::<TimestampMillisecondType>().clone()),
        _ => {
            let safe = CastOptions { safe: true, ..Default::default() };
            let array = cast_with_options(&array, &timestamp_type(), &safe)?;
            Ok(array.as_primitive::<TimestampMillisecondType>().clone())
        }
    }
}

fn utc(values: TimestampMillisecondArray) -> ArrayRef {
    Arc::new(values.with_timezone("UTC"))
}

fn zone(name: &str, args: &[ColumnarValue], index: usize) -> DfResult<Zone> {
    match literal(name, args, index)? {
        None => Ok(Zone::Utc),
        Some(text) => text.parse().map_err(|e| DataFusionError::Execution(format!("{name}: {e}"))),
    }
}

fn period(name: &str, args: &[ColumnarValue], index: usize) -> DfResult<Option<Period>> {
    literal(name, args, index)?
        .map(|text| text.parse().map_err(|e| DataFusionError::Execution(format!("{name}: {e}"))))
        .transpose()
}

fn nulls(rows: usize) -> ArrayRef {
    utc(TimestampMillisecondArray::new_null(rows))
}

/// TIME_FLOOR and TIME_CEIL.
fn time_floor(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let Some(period) = period(name, args, 1)? else { return Ok(nulls(rows)) };
    if period.months <= 0 && period.days <= 0 && period.millis <= 0 {
        return exec_err!("{name}: the period must be longer than nothing");
    }
    let origins = times(args, 2, 1.max(rows))?;
    let origin = match args.get(2) {
        Some(ColumnarValue::Array(_)) => return exec_err!("{name}: the origin must be a literal"),
        _ => origins.iter().next().flatten().map(Timestamp::from_millis),
    };
    let zone = zone(name, args, 3)?;
    let times = times(args, 0, rows)?;
    let floored = floor_slice(times.values(), &period, &zone, origin, name == "TIME_CEIL");
    Ok(utc(TimestampMillisecondArray::new(floored.into(), times.nulls().cloned())))
}

/// Buckets of a slice; slots of null rows hold anything.
pub(super) fn floor_slice(
    times: &[i64],
    period: &Period,
    zone: &Zone,
    origin: Option<Timestamp>,
    ceil: bool,
) -> Vec<i64> {
    // Exact lengths in UTC need no calendar at all.
    if let (0, 0, width, true) = (period.months, period.days, period.millis, zone.is_utc()) {
        let base = origin.map_or(0, Timestamp::as_millis).rem_euclid(width);
        return times
            .iter()
            .map(|t| {
                let floor = *t - (t.wrapping_sub(base)).rem_euclid(width);
                if ceil && floor != *t { floor.saturating_add(width) } else { floor }
            })
            .collect();
    }
    let (mut start, mut end) = (0i64, 0i64);
    times
        .iter()
        .map(|t| {
            if *t < start || *t >= end {
                let at = Timestamp::from_millis(*t);
                let floor = period.floor(at, zone, origin);
                start = floor.as_millis();
                end = bucket_end(period, zone, origin, floor);
                // What the calendar cannot tell is not remembered.
                if end <= *t {
                    end = start;
                }
            }
            if ceil && *t != start { period.ceil(Timestamp::from_millis(*t), zone, origin).as_millis() } else { start }
        })
        .collect()
}

/// An instant up to which every time from `floor` on has this floor. Where clocks change a bucket may be longer or
/// shorter than its period; then the answer is cautious.
fn bucket_end(period: &Period, zone: &Zone, origin: Option<Timestamp>, floor: Timestamp) -> i64 {
    let end = period.add(floor, 1, zone).as_millis();
    let last = Timestamp::from_millis(end.saturating_sub(1));
    if zone.offset_ms_at(floor) == zone.offset_ms_at(last) && period.floor(last, zone, origin) == floor {
        end
    } else {
        floor.as_millis()
    }
}

fn time_shift(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let Some(period) = period(name, args, 1)? else { return Ok(nulls(rows)) };
    let zone = zone(name, args, 3)?;
    let times = times(args, 0, rows)?;
    let Some(steps) = args.get(2) else { return exec_err!("{name} takes a step") };
    let steps = steps.clone().into_array(rows)?;
    let steps = steps.as_primitive::<Int64Type>();
    let out: TimestampMillisecondArray = times
        .iter()
        .zip(steps.iter())
        .map(|(t, step)| Some(period.add(Timestamp::from_millis(t?), step?, &zone).as_millis()))
        .collect();
    Ok(utc(out))
}

/// One number of a local time.
type Extract = fn(&NaiveDateTime) -> i64;

/// What TIME_EXTRACT takes out of a local time; nothing for EPOCH, which needs none.
pub(super) fn extractor(unit: &str) -> Result<Option<Extract>, String> {
    let unit = unit.to_ascii_uppercase();
    Ok(Some(match unit.trim_end_matches('S') {
        "EPOCH" => return Ok(None),
        "MILLISECOND" => |t| i64::from(t.and_utc().timestamp_subsec_millis()),
        "SECOND" => |t| i64::from(t.second()),
        "MINUTE" => |t| i64::from(t.minute()),
        "HOUR" => |t| i64::from(t.hour()),
        "DAY" => |t| i64::from(t.day()),
        "DOW" | "ISODOW" => |t| i64::from(t.weekday().number_from_monday()),
        "DOY" => |t| i64::from(t.ordinal()),
        "WEEK" => |t| i64::from(t.iso_week().week()),
        "MONTH" => |t| i64::from(t.month()),
        "QUARTER" => |t| i64::from(t.month0() / 3 + 1),
        "YEAR" => |t| i64::from(t.year()),
        "ISOYEAR" => |t| i64::from(t.iso_week().year()),
        "DECADE" => |t| i64::from(t.year()).div_euclid(10),
        "CENTURY" => |t| (i64::from(t.year()) - 1).div_euclid(100) + 1,
        "MILLENNIUM" => |t| (i64::from(t.year()) - 1).div_euclid(1000) + 1,
        _ => {
            return Err(format!(
                "`{unit}` is none of EPOCH, MILLISECOND, SECOND, MINUTE, HOUR, DAY, DOW, ISODOW, DOY, WEEK, MONTH, \
                 QUARTER, YEAR, ISOYEAR, DECADE, CENTURY, MILLENNIUM"
            ));
        }
    }))
}

fn time_extract(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let Some(unit) = literal(name, args, 1)? else { return Ok(Arc::new(Int64Array::new_null(rows))) };
    let times = times(args, 0, rows)?;
    let extract = extractor(&unit).map_err(|e| DataFusionError::Execution(format!("{name}: {e}")))?;
    let Some(extract) = extract else {
        let out: Int64Array = times.iter().map(|t| t.map(|t| t.div_euclid(1000))).collect();
        return Ok(Arc::new(out));
    };
    let zone = zone(name, args, 2)?;
    let out: Int64Array = times
        .iter()
        .map(|t| {
            let t = Timestamp::from_millis(t?);
            local(t, zone.offset_ms_at(t)).as_ref().map(extract)
        })
        .collect();
    Ok(Arc::new(out))
}

fn pattern(name: &str, args: &[ColumnarValue]) -> DfResult<Option<Pattern>> {
    literal(name, args, 1)?
        .map(|text| Pattern::new(&text).map_err(|e| DataFusionError::Execution(format!("{name}: {e}"))))
        .transpose()
}

fn time_parse(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let zone = zone(name, args, 2)?;
    let pattern = pattern(name, args)?;
    let out: TimestampMillisecondArray = texts(args, 0, rows)?
        .iter()
        .map(|text| match &pattern {
            Some(pattern) => pattern.parse(text?, &zone),
            None => Timestamp::parse_in(text?, &zone).ok(),
        })
        .map(|t| t.map(Timestamp::as_millis))
        .collect();
    Ok(utc(out))
}

fn time_format(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let zone = zone(name, args, 2)?;
    let pattern = pattern(name, args)?;
    let mut out = StringViewBuilder::with_capacity(rows);
    for t in &times(args, 0, rows)? {
        let t = t.map(Timestamp::from_millis);
        out.append_option(t.and_then(|t| match &pattern {
            Some(pattern) => pattern.format(t, &zone),
            None => Some(t.to_iso_in(&zone)),
        }));
    }
    Ok(Arc::new(out.finish()))
}

/// Whole units from the first time to the second, towards zero.
fn difference(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let Some(unit) = literal(name, args, 0)? else { return Ok(Arc::new(Int64Array::new_null(rows))) };
    let upper = unit.to_ascii_uppercase();
    let unit = upper.strip_prefix("SQL_TSI_").unwrap_or(&upper).trim_end_matches('S');
    let (months, millis) = match unit {
        "MILLISECOND" => (0, 1),
        "SECOND" => (0, 1000),
        "MINUTE" => (0, 60_000),
        "HOUR" => (0, 3_600_000),
        "DAY" => (0, 86_400_000),
        "WEEK" => (0, 7 * 86_400_000),
        "MONTH" => (1, 0),
        "QUARTER" => (3, 0),
        "YEAR" => (12, 0),
        other => return exec_err!("{name}: `{other}` is no unit of time"),
    };
    let zone = zone(name, args, 3)?;
    let (from, to) = (times(args, 1, rows)?, times(args, 2, rows)?);
    let out: Int64Array = from
        .iter()
        .zip(to.iter())
        .map(|(from, to)| {
            let (from, to) = (from?, to?);
            if months == 0 {
                Some(to.checked_sub(from)? / millis)
            } else {
                months_between(from, to, &zone).map(|m| m / months)
            }
        })
        .collect();
    Ok(Arc::new(out))
}

fn months_between(from: i64, to: i64, zone: &Zone) -> Option<i64> {
    let (a, b) = (Timestamp::from_millis(from), Timestamp::from_millis(to));
    let (start, end) = (local(a, zone.offset_ms_at(a))?, local(b, zone.offset_ms_at(b))?);
    let mut months =
        (i64::from(end.year()) - i64::from(start.year())) * 12 + i64::from(end.month()) - i64::from(start.month());
    let rest = |t: &NaiveDateTime| (t.day(), t.time());
    if months > 0 && rest(&end) < rest(&start) {
        months -= 1;
    } else if months < 0 && rest(&end) > rest(&start) {
        months += 1;
    }
    Some(months)
}

fn from_millis(_: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let Some(arg) = args.first() else { return Ok(nulls(rows)) };
    let array = arg.clone().into_array(rows)?;
    Ok(utc(array.as_primitive::<Int64Type>().reinterpret_cast::<TimestampMillisecondType>()))
}

fn to_millis(_: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    Ok(Arc::new(times(args, 0, rows)?.reinterpret_cast::<Int64Type>()))
}

/// CAST(x AS TIMESTAMP): text in the zone, numbers as milliseconds; what does not fit is null.
fn to_timestamp(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let zone = zone(name, args, 1)?;
    let Some(arg) = args.first() else { return Ok(nulls(rows)) };
    let array = arg.clone().into_array(rows)?;
    match array.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let out: TimestampMillisecondArray = texts(args, 0, rows)?
                .iter()
                .map(|t| Timestamp::parse_in(t?, &zone).ok().map(Timestamp::as_millis))
                .collect();
            Ok(utc(out))
        }
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 | DataType::Null => {
            Ok(utc(times(args, 0, rows)?))
        }
        _ => {
            let numbers = to_bigint(name, args, rows)?;
            Ok(utc(numbers.as_primitive::<Int64Type>().reinterpret_cast::<TimestampMillisecondType>()))
        }
    }
}

/// CAST(x AS DATE): the instant of local midnight.
fn to_date(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let zone = zone(name, args, 1)?;
    let times = to_timestamp(name, args, rows)?;
    let times = times.as_primitive::<TimestampMillisecondType>();
    let floored = floor_slice(times.values(), &Period::of_days(1), &zone, None, false);
    Ok(utc(TimestampMillisecondArray::new(floored.into(), times.nulls().cloned())))
}

/// CAST(x AS VARCHAR): times as `2000-01-02 03:04:05` in the zone, doubles as Java writes them, all else by its plain text.
fn to_varchar(name: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let Some(arg) = args.first() else { return exec_err!("{name} takes a value") };
    let array = arg.clone().into_array(rows)?;
    if let DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 = array.data_type() {
        let zone = zone(name, args, 1)?;
        let pattern = Pattern::new("yyyy-MM-dd HH:mm:ss").map_err(DataFusionError::Execution)?;
        let mut out = StringViewBuilder::with_capacity(rows);
        for t in &times(args, 0, rows)? {
            out.append_option(t.and_then(|t| pattern.format(Timestamp::from_millis(t), &zone)));
        }
        return Ok(Arc::new(out.finish()));
    }
    let mut out = StringViewBuilder::with_capacity(rows);
    match array.data_type() {
        DataType::Float64 => {
            for x in array.as_primitive::<Float64Type>() {
                out.append_option(x.map(|x| java_text(x, &format!("{x:e}"))));
            }
        }
        DataType::Float32 => {
            for x in array.as_primitive::<Float32Type>() {
                out.append_option(x.map(|x| java_text(f64::from(x), &format!("{x:e}"))));
            }
        }
        DataType::List(_) => (0..rows).for_each(|row| out.append_option(super::json::list_text(&array, row))),
        _ => return Ok(arrow::compute::cast(&array, &DataType::Utf8View)?),
    }
    Ok(Arc::new(out.finish()))
}

/// Plain text of any single values; times in UTC.
pub(super) fn plain_text(array: &ArrayRef) -> DfResult<ArrayRef> {
    to_varchar("CAST", &[ColumnarValue::Array(Arc::clone(array))], array.len())
}

/// CAST(x AS BIGINT): fractions are cut off, text may have them too; what does not fit is null.
fn to_bigint(_: &str, args: &[ColumnarValue], rows: usize) -> DfResult<ArrayRef> {
    let Some(arg) = args.first() else { return exec_err!("a cast takes a value") };
    let array = arg.clone().into_array(rows)?;
    let safe = CastOptions { safe: true, ..Default::default() };
    match array.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let out: Int64Array = texts(args, 0, rows)?
                .iter()
                .map(|t| {
                    let t = t?.trim();
                    t.parse().ok().or_else(|| t.parse().ok().and_then(whole))
                })
                .collect();
            Ok(Arc::new(out))
        }
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => to_millis("", args, rows),
        _ => Ok(cast_with_options(&array, &DataType::Int64, &safe)?),
    }
}

fn whole(number: f64) -> Option<i64> {
    // 2^63 as a double; NaN is in no range.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    (-LIMIT..LIMIT).contains(&number).then_some(number.trunc() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn at(text: &str) -> i64 {
        Timestamp::parse(text).expect("a time").as_millis()
    }

    fn floor(time: &str, period: &str, zone: &str) -> String {
        let floored =
            floor_slice(&[at(time)], &period.parse().expect("a period"), &zone.parse().expect("a zone"), None, false);
        Timestamp::from_millis(floored[0]).to_iso()
    }

    #[test]
    fn remembering_the_last_bucket_changes_nothing() {
        let zones = ["UTC", "America/Los_Angeles", "Europe/Zurich", "Australia/Lord_Howe", "Asia/Kathmandu", "-03:30"];
        let periods =
            ["PT1S", "PT5M", "PT1H", "PT6H", "P1D", "P3D", "P1W", "P1M", "P3M", "P1Y", "P100Y", "PT7H", "P1M1D"];
        // Through both changes of clocks of a year, there and back, in uneven steps.
        let mut times: Vec<i64> = (0..1500).map(|i| at("2015-01-01") + i * (5 * HOUR + 1_234_567)).collect();
        times.extend((0..1500).map(|i| at("2015-11-03") - i * 197_003));
        times.extend([at("-4999-03-01"), at("4999-12-31T23:59:59.999Z"), at("1969-12-31T23:59:59.999Z"), 0, -1]);
        for zone in zones {
            let zone: Zone = zone.parse().expect("a zone");
            for period in periods {
                let period: Period = period.parse().expect("a period");
                for origin in [None, Some(Timestamp::from_millis(at("2015-01-07T05:30:00")))] {
                    let floors = floor_slice(&times, &period, &zone, origin, false);
                    let ceils = floor_slice(&times, &period, &zone, origin, true);
                    for ((t, floor), ceil) in times.iter().zip(floors).zip(ceils) {
                        let t = Timestamp::from_millis(*t);
                        let expected =
                            (period.floor(t, &zone, origin).as_millis(), period.ceil(t, &zone, origin).as_millis());
                        assert_eq!((floor, ceil), expected, "{t} {period} {zone} {origin:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn buckets_follow_local_days_weeks_and_quarters() {
        // Clocks go forward on 2015-03-08 and back on 2015-11-01.
        let la = "America/Los_Angeles";
        assert_eq!(floor("2015-03-09T06:59:59Z", "P1D", la), "2015-03-08T08:00:00.000Z");
        assert_eq!(floor("2015-03-09T07:00:00Z", "P1D", la), "2015-03-09T07:00:00.000Z");
        assert_eq!(floor("2015-11-02T07:59:59Z", "P1D", la), "2015-11-01T07:00:00.000Z");
        assert_eq!(
            floor("2015-11-01T09:30:00Z", "PT1H", la),
            "2015-11-01T09:00:00.000Z",
            "the repeated hour is another"
        );
        assert_eq!(floor("2015-09-13T12:00:00Z", "P1W", "UTC"), "2015-09-07T00:00:00.000Z", "weeks begin on Monday");
        assert_eq!(floor("2015-09-12T12:00:00Z", "P3M", "UTC"), "2015-07-01T00:00:00.000Z");
        assert_eq!(floor("-4321-06-15T00:00:00Z", "P1Y", "UTC"), "-4321-01-01T00:00:00.000Z");
        assert_eq!(floor("4321-06-15T00:00:00Z", "P1M", "UTC"), "+4321-06-01T00:00:00.000Z".trim_start_matches('+'));
    }
}
