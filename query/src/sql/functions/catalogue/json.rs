//! Functions of JSON.

use super::Family::Json;
use super::FunctionDoc;

pub(super) const ROWS: &[FunctionDoc] = &[
    FunctionDoc::scalar(
        Json,
        "JSON_VALUE",
        "JSON_VALUE(json, 'path' [RETURNING type])",
        "The plain value at the path, as VARCHAR or as the type named; null for objects and arrays.",
        "JSON_VALUE('{\"a\":{\"b\":7}}', '$.a.b' RETURNING BIGINT)",
        "7",
    ),
    FunctionDoc::scalar(
        Json,
        "JSON_QUERY",
        "JSON_QUERY(json, 'path')",
        "The JSON at the path; null when there is none.",
        "JSON_QUERY('{\"a\":{\"b\":7}}', '$.a')",
        "{\"b\":7}",
    ),
    FunctionDoc::scalar(
        Json,
        "JSON_QUERY_ARRAY",
        "JSON_QUERY_ARRAY(json, 'path')",
        "The array at the path, as an ARRAY of JSON; a single value is an array of one.",
        "JSON_QUERY_ARRAY('{\"a\":[1,{\"b\":2}]}', '$.a')",
        "[1,{\"b\":2}]",
    ),
    FunctionDoc::scalar(
        Json,
        "JSON_KEYS",
        "JSON_KEYS(json, 'path')",
        "The names in the object at the path.",
        "JSON_KEYS('{\"a\":{\"b\":1,\"c\":2}}', '$.a')",
        "[\"b\",\"c\"]",
    ),
    FunctionDoc::scalar(
        Json,
        "JSON_PATHS",
        "JSON_PATHS(json)",
        "The paths of all plain values and of all arrays of plain values.",
        "JSON_PATHS('{\"a\":{\"b\":1},\"c\":[1,2]}')",
        "[\"$.a.b\",\"$.c\"]",
    ),
    FunctionDoc::scalar(
        Json,
        "JSON_OBJECT",
        "JSON_OBJECT([KEY] key VALUE value, ..)\nJSON_OBJECT(key : value, ..)",
        "An object of these names and values.",
        "JSON_OBJECT(KEY 'a' VALUE 1, 'b' : 'x')",
        "{\"a\":1,\"b\":\"x\"}",
    ),
    FunctionDoc::scalar(
        Json,
        "JSON_MERGE",
        "JSON_MERGE(json, json, ..)",
        "The objects laid over each other, the last one on top; null when one of them is no object.",
        "JSON_MERGE('{\"a\":1,\"b\":2}', '{\"b\":3}')",
        "{\"a\":1,\"b\":3}",
    ),
    FunctionDoc::scalar(
        Json,
        "PARSE_JSON",
        "PARSE_JSON(text)",
        "The text as JSON; an error when it is none.",
        "PARSE_JSON('{ \"a\": 1 }')",
        "{\"a\":1}",
    ),
    FunctionDoc::scalar(
        Json,
        "TRY_PARSE_JSON",
        "TRY_PARSE_JSON(text)",
        "The text as JSON; null when it is none.",
        "TRY_PARSE_JSON('{a')",
        "null",
    ),
    FunctionDoc::scalar(
        Json,
        "TO_JSON_STRING",
        "TO_JSON_STRING(value)",
        "The value written as JSON.",
        "TO_JSON_STRING(ARRAY['a', 'b'])",
        "\"[\\\"a\\\",\\\"b\\\"]\"",
    ),
];
