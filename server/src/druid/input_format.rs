//! `inputFormat` of a spec: how the bytes of a record become rows.

use freshet_ingest::decode::flatten::{FlattenField, FlattenSpec};
use freshet_ingest::decode::text::{DelimitedFormat, RegexFormat};
use freshet_ingest::spec::DecoderSpec;

use super::json::{Json, Reader};
use crate::http::reply::Problem;
use crate::nearest::did_you_mean;

const TYPES: [&str; 5] = ["json", "csv", "tsv", "regex", "lines"];

/// Reads the format.
///
/// # Errors
/// 400 with the place in the spec.
pub(super) fn input_format(io: &Reader<'_>, without_effect: &mut Vec<String>) -> Result<DecoderSpec, Problem> {
    let Some(reader) = io.object("inputFormat")? else {
        return Err(Problem::invalid("inputFormat is missing")
            .at(io.at("inputFormat"))
            .hint("set \"inputFormat\": {\"type\": \"json\"}"));
    };
    let decoder = match reader.text("type")? {
        Some("json") => json(&reader, without_effect)?,
        Some("csv") => delimited(&reader, DelimitedFormat::csv(None))?,
        Some("tsv") => {
            let mut format = DelimitedFormat::tsv(None);
            if let Some(delimiter) = reader.text("delimiter")? {
                delimiter.clone_into(&mut format.delimiter);
            }
            delimited(&reader, format)?
        }
        Some("regex") => {
            let pattern = reader.required_text("pattern", "\"^(\\\\S+) (.*)$\"")?;
            let format = RegexFormat::new(pattern, columns(&reader)?, reader.text("listDelimiter")?);
            DecoderSpec::Regex(format?)
        }
        Some("lines") => DecoderSpec::Lines,
        other => {
            let near = other.map_or(String::new(), |name| did_you_mean(name, TYPES));
            let said = other.map_or("without a type".to_owned(), |name| format!("of type \"{name}\""));
            return Err(Problem::invalid(format!("an inputFormat {said} is not supported yet{near}"))
                .at(reader.at("type"))
                .hint(format!("take one of {}", TYPES.join(", "))));
        }
    };
    reader.finish()?;
    Ok(decoder)
}

fn json(reader: &Reader<'_>, without_effect: &mut Vec<String>) -> Result<DecoderSpec, Problem> {
    let flatten = flatten_spec(reader)?;
    reader.without_effect(
        &["featureSpec", "keepNullColumns", "assumeNewlineDelimited", "useJsonNodeReader"],
        without_effect,
    );
    Ok(match flatten {
        Some(spec) if !spec.is_plain() => DecoderSpec::Flatten(spec),
        _ => DecoderSpec::Json,
    })
}

fn delimited(reader: &Reader<'_>, mut format: DelimitedFormat) -> Result<DecoderSpec, Problem> {
    format.columns = columns(reader)?.map(Into::into);
    let header = reader.bool("findColumnsFromHeader")?;
    let has_header = reader.bool("hasHeaderRow")?;
    match (header.or(has_header).unwrap_or(false), &format.columns) {
        (false, None) => {
            return Err(Problem::invalid("the columns have no names")
                .at(reader.at("columns"))
                .hint("set \"columns\": [\"a\", \"b\"], or \"findColumnsFromHeader\": true"));
        }
        // The names given take the place of the header's, which is then one line more to pass over.
        (true, Some(_)) => format.skip_rows = 1,
        _ => {}
    }
    if let Some(rows) = reader.number("skipHeaderRows", 0..=1_000)? {
        format.skip_rows += usize::try_from(rows).unwrap_or_default();
    }
    if let Some(delimiter) = reader.text("listDelimiter")? {
        delimiter.clone_into(&mut format.list_delimiter);
    }
    format.numbers = reader.bool("tryParseNumbers")?.unwrap_or(false);
    Ok(DecoderSpec::Delimited(format))
}

fn columns(reader: &Reader<'_>) -> Result<Option<Vec<String>>, Problem> {
    let at = reader.at("columns");
    let Some(items) = reader.array("columns")? else { return Ok(None) };
    let names: Result<Vec<String>, Problem> =
        items.iter().enumerate().map(|(index, item)| item.text(&format!("{at}/{index}")).map(str::to_owned)).collect();
    names.map(|names| (!names.is_empty()).then_some(names))
}

fn flatten_spec(format: &Reader<'_>) -> Result<Option<FlattenSpec>, Problem> {
    let Some(reader) = format.object("flattenSpec")? else { return Ok(None) };
    let discovery = reader.bool("useFieldDiscovery")?.unwrap_or(true);
    let at = reader.at("fields");
    let mut fields = Vec::new();
    for (index, field) in reader.array("fields")?.unwrap_or_default().iter().enumerate() {
        fields.push(flatten_field(field, &format!("{at}/{index}"))?);
    }
    let spec = FlattenSpec::new(discovery, fields).map_err(|error| Problem::from(error).at(&at))?;
    reader.finish()?;
    Ok(Some(spec))
}

fn flatten_field(field: &Json, at: &str) -> Result<FlattenField, Problem> {
    if let Json::String(name) = field {
        return Ok(FlattenField::root(name, name));
    }
    let reader = field.reader(at)?;
    let name = reader.required_text("name", "\"city\"")?;
    let expression = reader.text("expr")?;
    let nodes = reader.array("nodes")?;
    let field = match reader.text("type")? {
        Some("root") => FlattenField::root(name, expression.unwrap_or(name)),
        Some("path") => {
            let path = reader.required_text("expr", "\"$.user.city\"")?;
            FlattenField::path(name, path).map_err(|reason| {
                Problem::invalid(format!("\"{path}\" is not a JSONPath: {reason}"))
                    .at(reader.at("expr"))
                    .hint("write $.a.b, $.a[0], $['a b'] or $.a[*].b")
            })?
        }
        Some("tree") => {
            let at = reader.at("nodes");
            let nodes = nodes.filter(|nodes| !nodes.is_empty()).ok_or_else(|| {
                Problem::invalid("nodes is missing").at(&at).hint("name the fields from the outside in: [\"a\", \"b\"]")
            })?;
            let names: Result<_, _> = nodes
                .iter()
                .enumerate()
                .map(|(index, node)| node.text(&format!("{at}/{index}")).map(str::to_owned))
                .collect();
            FlattenField::tree(name, names?)
        }
        other => {
            let said = other.map_or("no type".to_owned(), |name| format!("type \"{name}\""));
            let near = other.map_or(String::new(), |name| did_you_mean(name, ["path", "root", "tree"]));
            return Err(Problem::invalid(format!("a flattenSpec field with {said} is not supported{near}"))
                .at(reader.at("type"))
                .hint("take path, root or tree; a jq expression can mostly be written as a path"));
        }
    };
    reader.finish()?;
    Ok(field)
}
