//! Calls that Druid writes in a way of its own: TRIM without characters, POSITION with a start, JSON_OBJECT with keys, and UNNEST
//! in FROM. They become plain calls here, which the rest of the dialect knows.

use datafusion::sql::sqlparser::ast::{
    CastKind, Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, Query, TableFactor, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::{Dialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::sql::dialect::DruidDialect;
use crate::sql::literals::function;

/// Parses one of these calls, when the next words are one.
pub(super) fn parse(parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
    let name = parser.peek_token();
    let Token::Word(word) = &name.token else { return None };
    if word.quote_style.is_some() {
        return None;
    }
    match (word.value.to_ascii_uppercase().as_str(), &parser.peek_nth_token_ref(1).token) {
        ("TRIM", Token::LParen) => trim(parser, &name).or_else(|| reserved(parser, word.keyword)),
        ("POSITION", Token::LParen) => Some(position(parser, &name)),
        ("JSON_OBJECT", Token::LParen) => Some(json_object(parser, &name)),
        ("CASE" | "NOT", _) | (_, Token::LParen | Token::LBracket) => reserved(parser, word.keyword),
        _ => None,
    }
}

/// Forms that begin with a word of the grammar. sqlparser reads them so too, but on any mistake within it reads them once more
/// as a column or a call, at each level: a mistake below n of them would cost 2ⁿ.
fn reserved(parser: &mut Parser<'_>, keyword: Keyword) -> Option<Result<Expr, ParserError>> {
    let bracket = parser.peek_nth_token_ref(1).token == Token::LBracket;
    if bracket != (keyword == Keyword::ARRAY) {
        return None;
    }
    let parse: fn(&mut Parser<'_>) -> Result<Expr, ParserError> = match keyword {
        // It wants its own name.
        Keyword::SUBSTR | Keyword::SUBSTRING => return Some(parser.parse_substring()),
        Keyword::CASE => |p| p.parse_case_expr(),
        Keyword::NOT => |p| p.parse_not(),
        Keyword::CAST => |p| p.parse_cast_expr(CastKind::Cast),
        Keyword::TRY_CAST => |p| p.parse_cast_expr(CastKind::TryCast),
        Keyword::EXISTS => |p| p.parse_exists_expr(false),
        Keyword::EXTRACT => |p| p.parse_extract_expr(),
        Keyword::CEIL => |p| p.parse_ceil_floor_expr(true),
        Keyword::FLOOR => |p| p.parse_ceil_floor_expr(false),
        Keyword::TRIM => |p| p.parse_trim_expr(),
        Keyword::OVERLAY => |p| p.parse_overlay_expr(),
        Keyword::INTERVAL => |p| p.parse_interval(),
        Keyword::ARRAY => |p| {
            p.expect_token(&Token::LBracket)?;
            p.parse_array_expr(true)
        },
        _ => return None,
    };
    parser.advance_token();
    Some(parse(parser))
}

fn call(token: &TokenWithSpan, name: &str, args: Vec<Expr>) -> Expr {
    let mut call = function(name, args);
    call.name = ObjectName::from(vec![Ident::with_span(token.span, name)]);
    Expr::Function(call)
}

fn keyword(parser: &Parser<'_>, nth: usize) -> Keyword {
    match &parser.peek_nth_token_ref(nth).token {
        Token::Word(word) if word.quote_style.is_none() => word.keyword,
        _ => Keyword::NoKeyword,
    }
}

/// `TRIM(LEADING FROM text)` and `TRIM(FROM text)`; the other forms are sqlparser's.
fn trim(parser: &mut Parser<'_>, name: &TokenWithSpan) -> Option<Result<Expr, ParserError>> {
    let side = keyword(parser, 2);
    let sided = matches!(side, Keyword::BOTH | Keyword::LEADING | Keyword::TRAILING);
    if keyword(parser, 2 + usize::from(sided)) != Keyword::FROM {
        return None;
    }
    (0..3 + usize::from(sided)).for_each(|_| parser.advance_token());
    let plain = match side {
        Keyword::LEADING => "LTRIM",
        Keyword::TRAILING => "RTRIM",
        _ => "BTRIM",
    };
    Some(parser.parse_expr().and_then(|text| {
        parser.expect_token(&Token::RParen)?;
        Ok(call(name, plain, vec![text]))
    }))
}

/// `POSITION(wanted IN text [FROM start])`. sqlparser tries two readings of each, so nested ones would cost it 2ⁿ.
fn position(parser: &mut Parser<'_>, name: &TokenWithSpan) -> Result<Expr, ParserError> {
    (0..2).for_each(|_| parser.advance_token());
    let wanted = parser.parse_subexpr(DruidDialect.prec_value(Precedence::Between))?;
    parser.expect_keyword_is(Keyword::IN)?;
    let mut args = vec![wanted, parser.parse_expr()?];
    if parser.parse_keyword(Keyword::FROM) {
        args.push(parser.parse_expr()?);
    }
    parser.expect_token(&Token::RParen)?;
    Ok(call(name, "POSITION", args))
}

/// `JSON_OBJECT([KEY] key VALUE value, key : value, ..)`, as keys and values in turn.
fn json_object(parser: &mut Parser<'_>, name: &TokenWithSpan) -> Result<Expr, ParserError> {
    (0..2).for_each(|_| parser.advance_token());
    let mut args = Vec::new();
    if !parser.consume_token(&Token::RParen) {
        loop {
            // A column may be called key: then what follows is its VALUE.
            let named = keyword(parser, 0) == Keyword::KEY
                && keyword(parser, 1) != Keyword::VALUE
                && parser.peek_nth_token_ref(1).token != Token::Colon;
            if named {
                parser.advance_token();
            }
            // A colon binds like nothing else: it must not be read as a path into the key.
            args.push(parser.parse_subexpr(DruidDialect.prec_value(Precedence::Colon))?);
            if !parser.parse_keyword(Keyword::VALUE) && !parser.consume_token(&Token::Colon) {
                parser.expect_keyword_is(Keyword::VALUE)?;
            }
            args.push(parser.parse_expr()?);
            if !parser.consume_token(&Token::Comma) {
                break;
            }
        }
        parser.expect_token(&Token::RParen)?;
    }
    Ok(call(name, "JSON_OBJECT", args))
}

/// Makes `UNNEST(array, ..)` in FROM what the planner calls so; the parser sees a table with arguments.
pub(super) fn unnest_tables(query: &mut Query) {
    struct Unnest;
    impl VisitorMut for Unnest {
        type Break = ();

        fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> std::ops::ControlFlow<()> {
            if let TableFactor::Table { name, args: Some(args), alias, with_ordinality, .. } = factor
                && name.to_string().eq_ignore_ascii_case("UNNEST")
            {
                let arrays = args.args.iter().filter_map(|arg| match arg {
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
                    _ => None,
                });
                *factor = TableFactor::UNNEST {
                    array_exprs: arrays.collect(),
                    alias: alias.take(),
                    with_offset: false,
                    with_offset_alias: None,
                    with_ordinality: *with_ordinality,
                };
            }
            std::ops::ControlFlow::Continue(())
        }
    }
    let _ = query.visit(&mut Unnest);
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::FunctionArguments;

    use super::*;

    fn arguments(expr: &Expr) -> Vec<String> {
        let Expr::Function(f) = expr else { return Vec::new() };
        let FunctionArguments::List(list) = &f.args else { return Vec::new() };
        list.args.iter().map(ToString::to_string).collect()
    }

    fn read(text: &str) -> Result<(String, Vec<String>), ParserError> {
        let mut parser = Parser::new(&DruidDialect).try_with_sql(text)?;
        let expr = parser.parse_expr()?;
        parser.expect_token(&Token::EOF)?;
        let name = expr.to_string().split('(').next().unwrap_or_default().to_owned();
        Ok((name, arguments(&expr)))
    }

    #[test]
    fn druids_forms_are_plain_calls() {
        for (text, name, args) in [
            ("TRIM(FROM a)", "BTRIM", vec!["a"]),
            ("trim(LEADING FROM a || 'x')", "LTRIM", vec!["a || 'x'"]),
            ("TRIM(TRAILING FROM a)", "RTRIM", vec!["a"]),
            ("POSITION('l' IN a)", "POSITION", vec!["'l'", "a"]),
            ("POSITION('l' IN a FROM 1 + 1)", "POSITION", vec!["'l'", "a", "1 + 1"]),
            ("JSON_OBJECT()", "JSON_OBJECT", vec![]),
            (
                "JSON_OBJECT(KEY 'a' VALUE b, 'c' : 1, 'd':'e', f VALUE g + 1)",
                "JSON_OBJECT",
                vec!["'a'", "b", "'c'", "1", "'d'", "'e'", "f", "g + 1"],
            ),
            ("JSON_OBJECT('a':b)", "JSON_OBJECT", vec!["'a'", "b"]),
            ("JSON_OBJECT(key VALUE 1)", "JSON_OBJECT", vec!["key", "1"]),
        ] {
            assert_eq!(
                read(text).expect(text),
                (name.to_owned(), args.into_iter().map(str::to_owned).collect()),
                "{text}"
            );
        }
    }

    #[test]
    fn half_forms_are_refused() {
        for text in [
            "POSITION('a', b)",
            "POSITION('a' IN)",
            "TRIM(FROM)",
            "JSON_OBJECT(1)",
            "JSON_OBJECT(KEY)",
            "JSON_OBJECT('a' VALUE 1,)",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nested_calls_are_read_once() {
        for form in [
            "POSITION(",
            "CAST(",
            "CASE WHEN ",
            "NOT ",
            "EXTRACT(",
            "SUBSTRING(",
            "TRIM(",
            "FLOOR(",
            "CEIL(",
            "INTERVAL (",
            "ARRAY[",
        ] {
            let text = format!("{}1 1", form.repeat(40));
            assert!(read(&text).is_err(), "{form}: the mistake is found, and at once");
        }
    }
}
