//! Paths into JSON: `$`, `.name`, `['name']`, `[n]`, and nothing else.

use serde_json::Value;

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Name(String),
    /// From 0; below 0 it counts from the end.
    Index(i64),
}

/// Where in a value to look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Path(pub(super) Vec<Step>);

impl Path {
    /// Reads a path.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a path: write $, $.name, $['name'] or $.list[0]");
        let mut rest = text.strip_prefix('$').ok_or_else(bad)?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let step;
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                let (name, after) = after.split_at(end);
                if name.is_empty() || name == "*" {
                    return Err(bad());
                }
                (step, rest) = (Step::Name(name.to_owned()), after);
            } else if let Some((quote, after)) =
                ['\'', '"'].into_iter().find_map(|q| Some((q, rest.strip_prefix('[')?.strip_prefix(q)?)))
            {
                let (name, after) = after.split_once(&format!("{quote}]")).ok_or_else(bad)?;
                (step, rest) = (Step::Name(name.to_owned()), after);
            } else {
                let (index, after) = rest.strip_prefix('[').and_then(|r| r.split_once(']')).ok_or_else(bad)?;
                (step, rest) = (Step::Index(index.parse().map_err(|_| bad())?), after);
            }
            steps.push(step);
        }
        Ok(Self(steps))
    }

    /// What is there, if anything is.
    pub(super) fn find<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(value, |value, step| match (step, value) {
            (Step::Name(name), Value::Object(map)) => map.get(name),
            (Step::Index(index), Value::Array(items)) => {
                let index = if *index < 0 { i64::try_from(items.len()).ok()?.checked_add(*index)? } else { *index };
                items.get(usize::try_from(index).ok()?)
            }
            _ => None,
        })
    }
}

/// Paths of all plain values and of all arrays of plain values, in the order of the text.
pub(super) fn leaves(value: &Value) -> Vec<String> {
    fn walk(value: &Value, path: &mut String, out: &mut Vec<String>) {
        let length = path.len();
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
                    if plain {
                        path.push('.');
                        path.push_str(name);
                    } else {
                        path.push_str(&format!("['{name}']"));
                    }
                    walk(value, path, out);
                    path.truncate(length);
                }
            }
            Value::Array(items) if items.iter().any(|i| i.is_object() || i.is_array()) => {
                for (index, value) in items.iter().enumerate() {
                    path.push_str(&format!("[{index}]"));
                    walk(value, path, out);
                    path.truncate(length);
                }
            }
            _ => out.push(path.clone()),
        }
    }
    let mut out = Vec::new();
    walk(value, &mut "$".to_owned(), &mut out);
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_are_read_or_refused() {
        let name = |n: &str| Step::Name(n.to_owned());
        assert_eq!(Path::parse("$"), Ok(Path(Vec::new())));
        assert_eq!(
            Path::parse("$.a['b.c'][0].d[-1]"),
            Ok(Path(vec![name("a"), name("b.c"), Step::Index(0), name("d"), Step::Index(-1)]))
        );
        assert_eq!(Path::parse("$[\"x y\"]"), Ok(Path(vec![name("x y")])));
        for bad in ["", "a", "$a", "$.", "$..a", "$.*", "$[*]", "$[", "$['a", "$[1", "$.a[x]", "$['a']b"] {
            assert!(Path::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn steps_that_lead_nowhere_find_nothing() {
        let value = json!({"a": [1, {"b": null}], "": 5});
        let find = |path: &str| Path::parse(path).expect("a path").find(&value).cloned();
        assert_eq!(find("$.a[0]"), Some(json!(1)));
        assert_eq!(find("$.a[-1].b"), Some(json!(null)));
        assert_eq!(find("$['']"), Some(json!(5)));
        assert_eq!((find("$.a[2]"), find("$.a[-3]"), find("$.a.b"), find("$.A")), (None, None, None, None));
    }

    #[test]
    fn leaves_are_named_so_that_paths_find_them() {
        let value = json!({"a": {"b": 1, "c d": [1, 2]}, "l": [{"x": true}, 3], "e": {}, "n": null});
        assert_eq!(leaves(&value), ["$.a.b", "$.a['c d']", "$.l[0].x", "$.l[1]", "$.n"]);
        for path in leaves(&value) {
            assert!(Path::parse(&path).expect("a path").find(&value).is_some(), "{path}");
        }
    }
}
