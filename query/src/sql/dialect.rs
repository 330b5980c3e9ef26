//! From text to one checked query: tokens, limits, the leading `SET` statements, `EXPLAIN PLAN FOR`, and the parse.
//!
//! Everything that bounds the work is decided on the flat list of tokens, before anything recursive touches the text:
//! its length, the number of tokens, and the depth its expressions will have. A flat chain such as `1+1+1+..` counts
//! as depth, because the parser turns it into a tree as deep as the chain is long.

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::ast::{Expr, Query};
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::error::{Position, QueryError, Result};
use crate::sql::calls;

/// Longest text.
pub(crate) const SQL_BYTES_MAX: usize = 1 << 20;
/// Most tokens: an IN list of fifty thousand values still fits.
pub(crate) const SQL_TOKENS_MAX: usize = 120_000;
/// Deepest expression, flat chains included. Chosen so that evaluation fits the 2 MiB stack of a worker thread.
pub(crate) const SQL_DEPTH_MAX: usize = 400;
/// Longest chain of AND and OR. These are rebalanced into a shallow tree, so more of them may pass.
pub(crate) const SQL_LOGICAL_CHAIN_MAX: usize = 5_000;
/// Most UNION, EXCEPT and INTERSECT: each is a level of the plan.
pub(crate) const SQL_SET_OPERATIONS_MAX: usize = 100;
/// Deepest nesting of brackets and prefixes that the parser follows.
const PARSER_DEPTH_MAX: usize = 100;

/// Druid's lexical rules and grammar switches.
///
/// Not sqlparser's generic dialect: that one reads `user` as a function, takes a backslash in places, and accepts much
/// that no Druid does.
#[derive(Debug)]
pub(crate) struct DruidDialect;

impl Dialect for DruidDialect {
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '"'
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_' || ch == '$'
    }

    fn supports_unicode_string_literal(&self) -> bool {
        true
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_group_by_expr(&self) -> bool {
        true
    }

    fn supports_window_clause_named_window_reference(&self) -> bool {
        true
    }

    fn supports_window_function_null_treatment_arg(&self) -> bool {
        true
    }

    fn supports_values_as_table_factor(&self) -> bool {
        true
    }

    fn supports_parens_around_table_factor(&self) -> bool {
        true
    }

    fn supports_left_associative_joins_without_parens(&self) -> bool {
        true
    }

    fn allow_extract_custom(&self) -> bool {
        true
    }

    /// Forms of functions that sqlparser does not take, or takes as something else.
    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        calls::parse(parser)
    }

    /// sqlparser reads everything after IS DISTINCT FROM as its right side, `AND b = 1` included.
    fn parse_infix(&self, parser: &mut Parser<'_>, expr: &Expr, precedence: u8) -> Option<Result<Expr, ParserError>> {
        let word = |n: usize, keyword: Keyword| matches!(&parser.peek_nth_token_ref(n).token, Token::Word(w) if w.keyword == keyword && w.quote_style.is_none());
        let not = word(1, Keyword::NOT);
        let after = 1 + usize::from(not);
        if !(word(0, Keyword::IS) && word(after, Keyword::DISTINCT) && word(after + 1, Keyword::FROM)) {
            return None;
        }
        (0..after + 2).for_each(|_| parser.advance_token());
        let left = Box::new(expr.clone());
        Some(
            parser.parse_subexpr(precedence).map(Box::new).map(|right| {
                if not { Expr::IsNotDistinctFrom(left, right) } else { Expr::IsDistinctFrom(left, right) }
            }),
        )
    }
}

/// A text that passed the limits and parsed.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// Whether `EXPLAIN PLAN FOR` stood in front.
    pub(crate) explain: bool,
    /// Context keys of leading `SET` statements, the last of each name.
    pub(crate) settings: BTreeMap<String, String>,
    /// The query.
    pub(crate) query: Box<Query>,
    /// How many `?` it has; they were renamed `$1`, `$2`, ... in the order of the text.
    pub(crate) parameters: usize,
}

/// Checks the limits and parses.
///
/// # Errors
/// `Invalid` with a position where the text breaks the grammar, and for statements other than queries.
pub(crate) fn parse(sql: &str) -> Result<Parsed> {
    let mut tokens = tokenize(sql)?;
    check_depth(&tokens)?;
    let parameters = number_parameters(&mut tokens);
    let (settings, mut rest) = leading_settings(&tokens)?;
    let explain = rest.first().is_some_and(|t| is_word(t, "EXPLAIN"));
    if explain {
        if !(rest.get(1).is_some_and(|t| is_word(t, "PLAN")) && rest.get(2).is_some_and(|t| is_word(t, "FOR"))) {
            return Err(QueryError::at("EXPLAIN must be followed by PLAN FOR and a query", position_of(rest.first())));
        }
        rest = &rest[3..];
    }
    while rest.last().is_some_and(|t| t.token == Token::SemiColon) {
        rest = &rest[..rest.len() - 1];
    }
    refuse_other_statements(rest)?;
    let mut parser =
        Parser::new(&DruidDialect).with_recursion_limit(PARSER_DEPTH_MAX).with_tokens_with_locations(rest.to_vec());
    let query = parser.parse_query().map_err(|e| syntax_error(e, sql, rest))?;
    let next = parser.peek_token();
    match next.token {
        Token::EOF => Ok(Parsed { explain, settings, query, parameters }),
        Token::SemiColon => Err(QueryError::at("only one statement is taken at a time", position_of(Some(&next)))),
        _ => Err(unexpected(&next, "the end of the statement")),
    }
}

/// The context keys that a text sets before its query, the last value of each.
///
/// # Errors
/// `Invalid` with a position, as [`parse`] would give it.
pub(crate) fn settings(sql: &str) -> Result<BTreeMap<String, String>> {
    let first = sql.trim_start();
    let may_set = first.starts_with("--")
        || first.starts_with("/*")
        || first.get(..3).is_some_and(|word| word.eq_ignore_ascii_case("SET"));
    if !may_set {
        return Ok(BTreeMap::new());
    }
    Ok(leading_settings(&tokenize(sql)?)?.0)
}

/// The leading `SET` statements, and what comes after them.
fn leading_settings(tokens: &[TokenWithSpan]) -> Result<(BTreeMap<String, String>, &[TokenWithSpan])> {
    let mut settings = BTreeMap::new();
    let mut rest = tokens;
    while rest.first().is_some_and(|t| is_word(t, "SET")) {
        let end = rest
            .iter()
            .position(|t| t.token == Token::SemiColon)
            .ok_or_else(|| QueryError::at("SET must be followed by `;` and a query", position_of(rest.first())))?;
        let (key, value) = setting(&rest[..end])?;
        settings.insert(key, value);
        rest = &rest[end + 1..];
    }
    Ok((settings, rest))
}

/// Names of the tokens' places are 1-based and the end is exclusive; ours is included.
pub(crate) fn position_of(token: Option<&TokenWithSpan>) -> Option<Position> {
    token.and_then(|t| position_of_span(t.span))
}

/// As [`position_of`], for a span.
pub(crate) fn position_of_span(span: datafusion::sql::sqlparser::tokenizer::Span) -> Option<Position> {
    (span.start.line > 0).then(|| Position {
        line: span.start.line,
        column: span.start.column,
        end_line: span.end.line.max(span.start.line),
        end_column: if span.end.line > span.start.line || span.end.column > span.start.column {
            span.end.column.saturating_sub(1).max(1)
        } else {
            span.start.column
        },
    })
}

fn tokenize(sql: &str) -> Result<Vec<TokenWithSpan>> {
    if sql.len() > SQL_BYTES_MAX {
        return Err(QueryError::invalid(format!(
            "the SQL text has {} bytes and at most {SQL_BYTES_MAX} are taken",
            sql.len()
        )));
    }
    let tokens = Tokenizer::new(&DruidDialect, sql).tokenize_with_location().map_err(|e| {
        let at = Position {
            line: e.location.line,
            column: e.location.column,
            end_line: e.location.line,
            end_column: e.location.column,
        };
        let message = format!("Lexical error at line {}, column {}.  Encountered: {}", at.line, at.column, e.message);
        QueryError::Invalid {
            message,
            position: Some(at),
            hint: Some("close every quote and comment; write a quote inside a text twice".to_owned()),
        }
    })?;
    let tokens: Vec<_> = tokens.into_iter().filter(|t| !matches!(t.token, Token::Whitespace(_) | Token::EOF)).collect();
    if tokens.len() > SQL_TOKENS_MAX {
        return Err(QueryError::invalid(format!(
            "the SQL text has {} words and signs and at most {SQL_TOKENS_MAX} are taken",
            tokens.len()
        ))
        .with_hint(Some("put long lists into a table and join it".to_owned())));
    }
    Ok(tokens)
}

/// Upper bound of the depth that the parsed tree will have, from the tokens alone.
fn check_depth(tokens: &[TokenWithSpan]) -> Result<()> {
    #[derive(Clone, Copy, Default)]
    struct Level {
        operators: usize,
        logical: usize,
    }
    let mut levels = vec![Level::default()];
    let mut outer = 0usize;
    let mut set_operations = 0usize;
    for token in tokens {
        let nested = levels.len() > 1;
        let Some(level) = levels.last_mut() else { break };
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                outer += level.operators + 1;
                levels.push(Level::default());
            }
            Token::RParen | Token::RBracket | Token::RBrace if nested => {
                levels.pop();
                if let Some(level) = levels.last() {
                    outer = outer.saturating_sub(level.operators + 1);
                }
            }
            Token::Comma | Token::SemiColon => *level = Level::default(),
            Token::Word(word) => match word.keyword {
                Keyword::AND | Keyword::OR => {
                    level.logical += 1;
                    // A new operand of the chain: what hangs below it starts at nothing.
                    level.operators = 0;
                }
                Keyword::CASE => {
                    outer += level.operators + 1;
                    levels.push(Level::default());
                }
                Keyword::END if nested => {
                    levels.pop();
                    if let Some(level) = levels.last() {
                        outer = outer.saturating_sub(level.operators + 1);
                    }
                }
                Keyword::SELECT
                | Keyword::FROM
                | Keyword::WHERE
                | Keyword::GROUP
                | Keyword::ORDER
                | Keyword::HAVING
                | Keyword::LIMIT
                | Keyword::WHEN
                | Keyword::THEN
                | Keyword::ELSE => *level = Level::default(),
                Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT => set_operations += 1,
                Keyword::NOT
                | Keyword::IS
                | Keyword::LIKE
                | Keyword::BETWEEN
                | Keyword::IN
                | Keyword::JOIN
                | Keyword::ESCAPE => {
                    level.operators += 1;
                }
                _ => {}
            },
            Token::Plus
            | Token::Minus
            | Token::Mul
            | Token::Div
            | Token::Mod
            | Token::StringConcat
            | Token::Eq
            | Token::Neq
            | Token::Lt
            | Token::Gt
            | Token::LtEq
            | Token::GtEq
            | Token::DoubleColon
            | Token::Ampersand
            | Token::Pipe
            | Token::Caret
            | Token::Tilde
            | Token::ExclamationMark
            | Token::DoubleEq => level.operators += 1,
            _ => {}
        }
        let Some(level) = levels.last() else { break };
        if set_operations > SQL_SET_OPERATIONS_MAX {
            return Err(QueryError::at(
                format!("more than {SQL_SET_OPERATIONS_MAX} UNION, EXCEPT and INTERSECT in one query"),
                position_of(Some(token)),
            ));
        }
        if outer + level.operators > SQL_DEPTH_MAX || level.logical > SQL_LOGICAL_CHAIN_MAX {
            return Err(QueryError::at(
                format!("the expression is nested or chained more than {SQL_DEPTH_MAX} deep"),
                position_of(Some(token)),
            )
            .with_hint(Some("use IN for many alternatives, or split the expression with WITH".to_owned())));
        }
    }
    Ok(())
}

fn number_parameters(tokens: &mut [TokenWithSpan]) -> usize {
    let mut count = 0;
    for token in tokens {
        if token.token == Token::Placeholder("?".to_owned()) {
            count += 1;
            token.token = Token::Placeholder(format!("${count}"));
        }
    }
    count
}

fn is_word(token: &TokenWithSpan, word: &str) -> bool {
    matches!(&token.token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
}

/// `SET key = literal`, without its semicolon.
fn setting(tokens: &[TokenWithSpan]) -> Result<(String, String)> {
    let bad = |at: Option<&TokenWithSpan>| {
        QueryError::at("a setting has the form SET name = value;", position_of(at.or(tokens.first())))
    };
    let [_, key, equals, value @ ..] = tokens else { return Err(bad(None)) };
    let key = match &key.token {
        Token::Word(word) => word.value.clone(),
        Token::SingleQuotedString(text) => text.clone(),
        _ => return Err(bad(Some(key))),
    };
    if equals.token != Token::Eq {
        return Err(bad(Some(equals)));
    }
    let value = match value.iter().map(|t| &t.token).collect::<Vec<_>>().as_slice() {
        [Token::SingleQuotedString(text)] => text.clone(),
        [Token::Number(number, _)] => number.clone(),
        [Token::Minus, Token::Number(number, _)] => format!("-{number}"),
        [Token::Word(word)] if word.quote_style.is_none() => word.value.clone(),
        _ => return Err(bad(value.first())),
    };
    Ok((key, value))
}

fn refuse_other_statements(tokens: &[TokenWithSpan]) -> Result<()> {
    let Some(first) = tokens.first() else {
        return Err(QueryError::invalid("there is no query in the SQL text"));
    };
    let Token::Word(word) = &first.token else {
        return if first.token == Token::LParen { Ok(()) } else { Err(unexpected(first, "SELECT, WITH or VALUES")) };
    };
    let name = word.value.to_ascii_uppercase();
    let cure = match name.as_str() {
        "SELECT" | "WITH" | "VALUES" => return Ok(()),
        "INSERT" | "REPLACE" => "rows come in through a supervisor or POST /api/v1/push/{table}",
        "UPDATE" | "DELETE" | "MERGE" | "TRUNCATE" => "rows cannot be changed by SQL",
        "CREATE" | "ALTER" | "DROP" => "tables come into being by the first rows pushed or by a supervisor",
        "COPY" | "LOAD" | "EXPORT" | "UNLOAD" | "ATTACH" | "INSTALL" => "files are not read or written by SQL",
        "SHOW" | "DESCRIBE" | "DESC" => "query INFORMATION_SCHEMA.TABLES and INFORMATION_SCHEMA.COLUMNS",
        "BEGIN" | "START" | "COMMIT" | "ROLLBACK" => "there are no transactions; each query sees one moment",
        _ => return Err(unexpected(first, "SELECT, WITH or VALUES")),
    };
    Err(QueryError::at(format!("{name} statements are not supported"), position_of(Some(first)))
        .with_hint(Some(cure.to_owned())))
}

fn unexpected(token: &TokenWithSpan, wanted: &str) -> QueryError {
    let position = position_of(Some(token));
    let place = position.map_or(String::new(), |p| format!(" (line [{}], column [{}])", p.line, p.column));
    QueryError::Invalid {
        message: format!("Received an unexpected token [{}]{place}, acceptable options: [{wanted}]", token.token),
        position,
        hint: None,
    }
}

/// sqlparser's text ends in ` at Line: 1, Column: 8`; the rest becomes Druid's wording, which consoles match.
fn syntax_error(error: ParserError, sql: &str, tokens: &[TokenWithSpan]) -> QueryError {
    let text = match error {
        ParserError::ParserError(text) | ParserError::TokenizerError(text) => text,
        ParserError::RecursionLimitExceeded => {
            return QueryError::invalid(format!("brackets or prefixes are nested more than {PARSER_DEPTH_MAX} deep"));
        }
    };
    let (text, place) = match text.rsplit_once(" at Line: ") {
        Some((text, place)) => (text.to_owned(), place.split_once(", Column: ")),
        None => (text, None),
    };
    let place = place
        .and_then(|(line, column)| Some((line.trim().parse().ok()?, column.trim().parse().ok()?)))
        .filter(|(line, _): &(u64, u64)| *line > 0);
    let position = match place {
        Some((line, column)) => tokens
            .iter()
            .find(|t| t.span.start.line == line && t.span.start.column == column)
            .and_then(|t| position_of(Some(t)))
            .or(Some(Position { line, column, end_line: line, end_column: column })),
        // No place: the text ended too early.
        None => {
            let line = u64::try_from(sql.lines().count().max(1)).unwrap_or(1);
            let column = u64::try_from(sql.lines().last().unwrap_or_default().chars().count()).unwrap_or(0).max(1);
            Some(Position { line, column, end_line: line, end_column: column })
        }
    };
    let at = position.map_or(String::new(), |p| format!(" (line [{}], column [{}])", p.line, p.column));
    let message = match text.strip_prefix("Expected: ").and_then(|t| t.rsplit_once(", found: ")) {
        Some((wanted, found)) => format!("Received an unexpected token [{found}]{at}, acceptable options: [{wanted}]"),
        None => format!("{text}{at}"),
    };
    QueryError::Invalid { message, position, hint: None }
}
