//! Finds the paths in a file that begin with `crate`, `self` or `super`, and makes them absolute.
//!
//! It reads tokens, not a syntax tree: a macro's arguments are nothing but tokens, and so are the
//! parts of the language that a parser doesn't know yet. One reader for all leaves no gap between
//! two.

use std::str::FromStr;

use proc_macro2::{Delimiter, Group, Ident, Literal, Spacing, Span, TokenStream, TokenTree};

/// A path, from the crate's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) line: usize,
    /// Without `crate`. Empty for the root itself: a glob over it, or a new name for it.
    pub(crate) target: Vec<String>,
    pub(crate) in_test: bool,
    /// Whether it stands in a `use` with a visibility.
    pub(crate) re_export: bool,
}

/// What stands in a file.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) references: Vec<Reference>,
    /// Files of the same folder that are taken in by `include!`.
    pub(crate) included: Vec<String>,
    /// Lines of what can't be judged, each with the reason.
    pub(crate) unclear: Vec<(usize, &'static str)>,
}

/// Reads the text of the file that is `module`.
pub(crate) fn find(text: &str, module: &[String], in_test: bool) -> Result<Found, String> {
    let tokens = TokenStream::from_str(text).map_err(|error| error.to_string())?;
    let mut finder = Finder { found: Found::default(), line: None };
    let scope = Scope { module: module.to_vec(), in_test, in_macro: None };
    finder.sequence(tokens, &scope);
    Ok(finder.found)
}

/// Whether the condition of a `cfg` holds in tests alone: `test`, or `all(...)` with it.
pub(crate) fn requires_test(condition: TokenStream) -> bool {
    let tokens: Vec<_> = condition.into_iter().collect();
    match tokens.as_slice() {
        [TokenTree::Ident(word)] => word == "test",
        [TokenTree::Ident(word), TokenTree::Group(parts)] if word == "all" => {
            let parts: Vec<_> = parts.stream().into_iter().collect();
            parts.split(|part| is_punct(part, ',')).any(|part| match part {
                [TokenTree::Ident(word)] => word == "test",
                _ => false,
            })
        }
        _ => false,
    }
}

/// Where tokens stand.
#[derive(Clone)]
struct Scope {
    module: Vec<String>,
    in_test: bool,
    /// In the body of a `macro_rules`, how many modules of that body are around.
    in_macro: Option<usize>,
}

impl Scope {
    /// The scope of the inline module `name` inside this one.
    fn inside(&self, name: String, is_test: bool) -> Self {
        let mut inside = self.clone();
        inside.module.push(name);
        inside.in_test |= is_test;
        inside.in_macro = self.in_macro.map(|around| around + 1);
        inside
    }
}

struct Finder {
    found: Found,
    /// The line of all tokens, when they were read out of a string.
    line: Option<usize>,
}

impl Finder {
    fn line(&self, span: Span) -> usize {
        self.line.unwrap_or_else(|| span.start().line)
    }

    fn unclear(&mut self, span: Span, reason: &'static str) {
        self.found.unclear.push((self.line(span), reason));
    }

    fn sequence(&mut self, tokens: TokenStream, scope: &Scope) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut re_export = false;
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            let before = &tokens[..at];
            at += 1;
            let after = &tokens[at..];
            let word = match token {
                TokenTree::Ident(word) => word,
                TokenTree::Group(group) => {
                    self.group(group, before, scope);
                    continue;
                }
                TokenTree::Punct(punct) => {
                    re_export &= punct.as_char() != ';';
                    continue;
                }
                TokenTree::Literal(_) => continue,
            };
            match word.to_string().as_str() {
                "crate" if before.last().is_some_and(|token| is_word(token, "extern")) => {
                    self.extern_crate(word, after);
                }
                "crate" | "super" => at += self.path(word, after, scope, re_export),
                // Otherwise it is a value.
                "self" if past_colons(after).is_some() => {
                    at += self.path(word, after, scope, re_export);
                }
                "include" => self.include(after),
                "macro_rules" => at += self.macro_rules(after, scope),
                "mod" => at += self.module(before, after, scope),
                "use" => re_export = visibility(before) > 0,
                _ => {}
            }
        }
    }

    fn group(&mut self, group: &Group, before: &[TokenTree], scope: &Scope) {
        match (group.delimiter(), before) {
            (Delimiter::Parenthesis, [.., TokenTree::Ident(word)])
                if word == "pub" && restricts(group) => {}
            (Delimiter::Bracket, [.., hash]) if is_punct(hash, '#') => {
                self.attribute(group.stream(), scope);
            }
            (Delimiter::Bracket, [.., hash, bang])
                if is_punct(hash, '#') && is_punct(bang, '!') =>
            {
                self.attribute(group.stream(), scope);
            }
            _ => self.sequence(group.stream(), scope),
        }
    }

    /// An attribute: paths stand in it as tokens, and in strings.
    fn attribute(&mut self, tokens: TokenStream, scope: &Scope) {
        let mut words = tokens.clone().into_iter();
        match words.next() {
            Some(TokenTree::Ident(word)) if word == "doc" => return,
            Some(TokenTree::Ident(word)) if word == "path" || word == "cfg_attr" => {
                if let Some(span) = moves_a_file(tokens.clone()) {
                    self.unclear(span, "`#[path]` hides which module a file is");
                }
            }
            _ => {}
        }
        self.strings(tokens.clone(), scope);
        self.sequence(tokens, scope);
    }

    fn strings(&mut self, tokens: TokenStream, scope: &Scope) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.strings(group.stream(), scope),
                TokenTree::Literal(literal) => self.string(&literal, scope),
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
        }
    }

    /// A string that is a path, as in `#[serde(with = "crate::module")]`.
    fn string(&mut self, literal: &Literal, scope: &Scope) {
        let text = syn::parse_str::<syn::LitStr>(&literal.to_string()).map(|text| text.value());
        let Ok(text) = text else { return };
        if syn::parse_str::<syn::Path>(&text).is_ok()
            && let Ok(tokens) = TokenStream::from_str(&text)
        {
            let outside = self.line.replace(self.line(literal.span()));
            self.sequence(tokens, scope);
            self.line = outside;
        }
    }

    /// After `mod`: the module's body, if it stands here. Answers how many tokens it took.
    fn module(&mut self, before: &[TokenTree], after: &[TokenTree], scope: &Scope) -> usize {
        let (name, body, taken) = match after {
            [TokenTree::Ident(name), TokenTree::Group(body), ..] => (name, body, 2),
            // A name that a macro puts in.
            [dollar, TokenTree::Ident(name), TokenTree::Group(body), ..]
                if is_punct(dollar, '$') =>
            {
                (name, body, 3)
            }
            _ => return 0,
        };
        if body.delimiter() != Delimiter::Brace {
            return 0;
        }
        let is_test = stands_under_cfg_test(before);
        self.sequence(body.stream(), &scope.inside(name.to_string(), is_test));
        taken
    }

    /// After `macro_rules`: its body. Answers how many tokens it took.
    fn macro_rules(&mut self, after: &[TokenTree], scope: &Scope) -> usize {
        match after {
            [bang, TokenTree::Ident(_), TokenTree::Group(body), ..] if is_punct(bang, '!') => {
                let scope = Scope { in_macro: Some(0), ..scope.clone() };
                self.sequence(body.stream(), &scope);
                3
            }
            _ => 0,
        }
    }

    fn extern_crate(&mut self, word: &Ident, after: &[TokenTree]) {
        if after.first().is_some_and(|token| is_word(token, "self")) {
            self.unclear(word.span(), "another name for this crate hides its paths");
        }
    }

    /// After `include`: the file is read like all others if it lies in the folder.
    fn include(&mut self, after: &[TokenTree]) {
        let [bang, TokenTree::Group(arguments), ..] = after else { return };
        if !is_punct(bang, '!') {
            return;
        }
        let name = syn::parse2::<syn::LitStr>(arguments.stream()).map(|name| name.value());
        match name {
            Ok(name) if !name.contains(['/', '\\']) => self.found.included.push(name),
            _ => self.unclear(bang.span(), "`include!` takes in a file from outside the folder"),
        }
    }

    /// A path from its first word on. Answers how many tokens it took.
    fn path(
        &mut self,
        first: &Ident,
        after: &[TokenTree],
        scope: &Scope,
        re_export: bool,
    ) -> usize {
        let mut reader = Reader { scope, re_export, finder: self };
        let mut path = Path { span: first.span(), target: scope.module.clone(), supers: 0 };
        reader.step(&mut path, first);
        after.len() - reader.follow(path, after).len()
    }
}

/// A path as far as it has been read.
#[derive(Clone)]
struct Path {
    /// Of its last part.
    span: Span,
    target: Vec<String>,
    supers: usize,
}

/// Reads on from the beginning of a path: names, and the branches of a `use` tree.
struct Reader<'a> {
    scope: &'a Scope,
    re_export: bool,
    finder: &'a mut Finder,
}

impl Reader<'_> {
    /// Takes one word. The words that lead upwards stand before all names, or it isn't Rust; they
    /// may stand in braces (`super::{super::x}`).
    fn step(&mut self, path: &mut Path, word: &Ident) {
        path.span = word.span();
        if word == "crate" {
            path.target.clear();
        } else if word == "super" {
            path.supers += 1;
            path.target.pop();
            if self.scope.in_macro.is_some_and(|around| path.supers == around + 1) {
                let reason = "where `super` leads depends on who expands the macro: write `$crate`";
                self.finder.unclear(word.span(), reason);
            }
        } else if word != "self" {
            path.target.push(word.to_string());
        }
    }

    /// Takes what follows the words taken so far. Answers what is left.
    fn follow<'t>(&mut self, mut path: Path, mut rest: &'t [TokenTree]) -> &'t [TokenTree] {
        while let Some(next) = past_colons(rest) {
            match next {
                [TokenTree::Ident(word), ..] => {
                    self.step(&mut path, word);
                    rest = &next[1..];
                }
                [TokenTree::Group(branches), ..] if branches.delimiter() == Delimiter::Brace => {
                    self.branches(branches, &path);
                    return &next[1..];
                }
                [token, ..] if is_punct(token, '*') => {
                    self.push(&path, token.span());
                    return &next[1..];
                }
                [token, ..] if is_punct(token, '$') && path.target.is_empty() => {
                    let reason = "the macro's argument decides which module this is";
                    self.finder.unclear(token.span(), reason);
                    return next;
                }
                // Generic arguments, or a name from a macro, behind a module that is known.
                _ => break,
            }
        }
        self.push(&path, path.span);
        rest
    }

    fn branches(&mut self, branches: &Group, path: &Path) {
        let tokens: Vec<_> = branches.stream().into_iter().collect();
        for branch in tokens.split(|token| is_punct(token, ',')) {
            match branch {
                [] => {}
                [TokenTree::Ident(word), rest @ ..] => {
                    let mut path = path.clone();
                    self.step(&mut path, word);
                    self.follow(path, rest);
                }
                [TokenTree::Group(group), ..] => self.branches(group, path),
                [other, ..] => self.push(path, other.span()),
            }
        }
    }

    fn push(&mut self, path: &Path, span: Span) {
        let reference = Reference {
            line: self.finder.line(span),
            target: path.target.clone(),
            in_test: self.scope.in_test,
            re_export: self.re_export,
        };
        self.finder.found.references.push(reference);
    }
}

fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

fn is_word(token: &TokenTree, wanted: &str) -> bool {
    matches!(token, TokenTree::Ident(word) if word == wanted)
}

/// What follows `::`, if that is what comes next.
fn past_colons(tokens: &[TokenTree]) -> Option<&[TokenTree]> {
    match tokens {
        [TokenTree::Punct(first), second, rest @ ..]
            if first.as_char() == ':'
                && first.spacing() == Spacing::Joint
                && is_punct(second, ':') =>
        {
            Some(rest)
        }
        _ => None,
    }
}

/// Whether what follows `pub` in parentheses restricts it, which imports nothing: `(crate)` and its
/// kin. Otherwise it is a type.
fn restricts(group: &Group) -> bool {
    let tokens: Vec<_> = group.stream().into_iter().collect();
    match tokens.as_slice() {
        [TokenTree::Ident(_)] => true,
        [TokenTree::Ident(word), ..] => word == "in",
        _ => false,
    }
}

/// How many tokens at the end are a visibility.
fn visibility(before: &[TokenTree]) -> usize {
    match before {
        [.., TokenTree::Ident(word)] if word == "pub" => 1,
        [.., TokenTree::Ident(word), TokenTree::Group(_)] if word == "pub" => 2,
        _ => 0,
    }
}

/// Whether an item whose keyword follows stands under `#[cfg(test)]`.
fn stands_under_cfg_test(before: &[TokenTree]) -> bool {
    let mut before = &before[..before.len() - visibility(before)];
    while let [rest @ .., hash, TokenTree::Group(attribute)] = before
        && is_punct(hash, '#')
    {
        let mut words = attribute.stream().into_iter();
        if let (Some(TokenTree::Ident(word)), Some(TokenTree::Group(condition))) =
            (words.next(), words.next())
            && word == "cfg"
            && requires_test(condition.stream())
        {
            return true;
        }
        before = rest;
    }
    false
}

/// Where an attribute says `path = `.
fn moves_a_file(tokens: TokenStream) -> Option<Span> {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let said = tokens.windows(2).find_map(|pair| match pair {
        [TokenTree::Ident(word), equals] if word == "path" && is_punct(equals, '=') => {
            Some(word.span())
        }
        _ => None,
    });
    said.or_else(|| {
        tokens.into_iter().find_map(|token| match token {
            TokenTree::Group(group) => moves_a_file(group.stream()),
            _ => None,
        })
    })
}
