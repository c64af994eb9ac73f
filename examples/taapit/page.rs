//! The lists of this API: `page` and `page_size`, or a cursor in either direction, and the envelope
//! around them.
//!
//! A whole list is in memory, newest first. No user has more than a thousand of anything here. Page
//! numbers and backward cursors need the earlier entries, while keyhasp's own cursors only go
//! forward.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use serde_json::{Value, json};

use super::problem::Problem;

const DEFAULT_SIZE: usize = 10;
const MAX_SIZE: usize = 100;

/// The query of a list, from axum.
pub(crate) type Asked = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// The part of a list that a request asks for.
#[derive(Debug)]
pub(crate) struct PageQuery {
    from: Start,
    size: usize,
}

/// The start of that part. Places are numbers that fall along the list.
#[derive(Debug)]
enum Start {
    Page(usize),
    After(u128),
    Before(u128),
}

impl PageQuery {
    /// Parses the query of a list.
    ///
    /// # Errors
    /// 400 for text that is no number, a page or size of 0, a malformed cursor, and a parameter
    /// that is given twice. Unknown parameters are ignored. A size above 100 counts as 100.
    pub(crate) fn parse(asked: Asked) -> Result<Self, Problem> {
        let Query(pairs) = asked.map_err(|_| {
            Problem::parameter("The query is malformed; write name=value with & between.")
        })?;
        let page = one(&pairs, "page")?.map(|text| number("page", text)).transpose()?;
        let size = one(&pairs, "page_size")?.map(|text| number("page_size", text)).transpose()?;
        let cursor = one(&pairs, "cursor")?.map(cursor).transpose()?;
        let from = cursor.unwrap_or(Start::Page(page.unwrap_or(1)));
        Ok(Self { from, size: size.unwrap_or(DEFAULT_SIZE).min(MAX_SIZE) })
    }

    /// Returns that part of `all` in the envelope.
    pub(crate) fn envelope<T>(
        &self,
        all: &[T],
        place: impl Fn(&T) -> u128,
        shown: impl Fn(&T) -> Value,
    ) -> Value {
        let (start, end) = self.bounds(all, &place);
        let items = &all[start..end];
        let (has_prev, has_next) = (start > 0, end < all.len());
        let before = items.first().map_or(0, &place);
        let after = items.last().filter(|_| has_next).map(&place);
        json!({
            "items": items.iter().map(shown).collect::<Vec<_>>(),
            "page": self.number(start),
            "page_size": self.size,
            "has_next": has_next,
            "has_prev": has_prev,
            "next_cursor": after.map(|place| format!("after_{place:032x}")),
            "prev_cursor": has_prev.then(|| format!("before_{before:032x}")),
        })
    }

    fn bounds<T>(&self, all: &[T], place: impl Fn(&T) -> u128) -> (usize, usize) {
        let start = match self.from {
            Start::Page(page) => (page - 1).saturating_mul(self.size).min(all.len()),
            Start::After(at) => all.partition_point(|item| place(item) >= at),
            Start::Before(at) => {
                let end = all.partition_point(|item| place(item) > at);
                return (end.saturating_sub(self.size), end);
            }
        };
        (start, start.saturating_add(self.size).min(all.len()))
    }

    /// Returns the page number. For a cursor, that is the page that would contain the first item.
    fn number(&self, start: usize) -> usize {
        match self.from {
            Start::Page(page) => page,
            Start::After(_) | Start::Before(_) => start / self.size + 1,
        }
    }
}

fn one<'a>(pairs: &'a [(String, String)], name: &str) -> Result<Option<&'a str>, Problem> {
    let mut values = pairs.iter().filter(|(known, _)| known == name).map(|(_, value)| &**value);
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(Problem::parameter(format!("{name} is given twice; give it once."))),
        (value, None) => Ok(value),
    }
}

fn number(name: &str, text: &str) -> Result<usize, Problem> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits && number > 0 => Ok(number),
        _ => Err(Problem::parameter(format!("{name} must be a whole number from 1 up."))),
    }
}

fn cursor(text: &str) -> Result<Start, Problem> {
    let read = |digits: &str| u128::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 32);
    let after = || text.strip_prefix("after_").and_then(read).map(Start::After);
    let before = || text.strip_prefix("before_").and_then(read).map(Start::Before);
    after().or_else(before).ok_or_else(|| {
        Problem::parameter("The cursor is not one of this list; take it from an answer.")
    })
}
