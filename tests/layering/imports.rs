//! Sources, and the paths in them that lead through the crate. Tokens are read, not a syntax tree:
//! the arguments of a macro are nothing but tokens.

use std::str::FromStr;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A file under `src`.
pub(crate) struct Source {
    /// From the package's root, as `src/key/state.rs`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// From the crate's root: none for `src/lib.rs`, `["key"]` for `src/key/mod.rs`.
    pub(crate) module: Vec<String>,
    pub(crate) imports: Vec<Import>,
}

/// A path to something in the crate.
#[derive(Clone)]
pub(crate) struct Import {
    pub(crate) line: usize,
    /// From the crate's root, without `crate`. Empty for all of the root.
    pub(crate) target: Vec<String>,
    /// The name that it gets, in a `use`.
    pub(crate) name: String,
    /// Whether it stands in a module under `cfg(test)`.
    pub(crate) in_test: bool,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let inside = path.trim_start_matches("src/").trim_end_matches(".rs");
        let mut module: Vec<_> = inside.split('/').map(str::to_owned).collect();
        module.pop_if(|last| last == "mod" || last == "lib");
        let scope = Scope { module: module.clone(), in_test: false };
        let mut reader = Reader { imports: Vec::new() };
        reader.sequence(TokenStream::from_str(text).unwrap(), &scope);
        Self { path: path.to_owned(), text: text.to_owned(), module, imports: reader.imports }
    }

    /// Tells whether the file only declares modules and re-exports.
    pub(crate) fn declares(&self) -> bool {
        self.path == "src/lib.rs" || self.path.ends_with("/mod.rs")
    }

    /// Splits a file that declares into its items, each up to its semicolon.
    pub(crate) fn items(&self) -> Vec<Vec<TokenTree>> {
        let tokens: Vec<_> = TokenStream::from_str(&self.text).unwrap().into_iter().collect();
        let items = tokens.split(|token| is(token, ";"));
        items.filter(|item| !item.is_empty()).map(<[_]>::to_vec).collect()
    }
}

#[derive(Clone)]
struct Scope {
    module: Vec<String>,
    in_test: bool,
}

struct Reader {
    imports: Vec<Import>,
}

impl Reader {
    fn sequence(&mut self, tokens: TokenStream, scope: &Scope) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            at += self.item(&tokens[..at], &tokens[at..], scope);
        }
    }

    /// Reads the item that `rest` begins with, and returns its length in tokens.
    fn item(&mut self, before: &[TokenTree], rest: &[TokenTree], scope: &Scope) -> usize {
        match rest {
            // `pub(crate)` and `pub(in crate::key)` restrict, and import nothing.
            [word, TokenTree::Group(group), ..] if is(word, "pub") && restricts(group) => 2,
            [word, TokenTree::Ident(name), TokenTree::Group(body), ..] if is(word, "mod") => {
                self.inside(&name.to_string(), body, before, scope);
                3
            }
            // A macro puts the name in.
            [word, dollar, TokenTree::Ident(name), TokenTree::Group(body), ..]
                if is(word, "mod") && is(dollar, "$") =>
            {
                self.inside(&name.to_string(), body, before, scope);
                4
            }
            [word, first, second, ..] if begins(word) && is(first, ":") && is(second, ":") => {
                self.path(scope.module.clone(), rest, scope)
            }
            // A path to a child, or into another crate, which then leads nowhere.
            [word, first @ TokenTree::Ident(_), ..] if is(word, "use") && !begins(first) => {
                1 + self.path(scope.module.clone(), &rest[1..], scope)
            }
            [word, TokenTree::Group(group), ..] if is(word, "use") => {
                self.branches(group, &scope.module, scope);
                2
            }
            [TokenTree::Group(group), ..] => {
                self.sequence(group.stream(), scope);
                1
            }
            _ => 1,
        }
    }

    /// Reads the body of a module that stands in the file.
    fn inside(&mut self, name: &str, body: &Group, before: &[TokenTree], scope: &Scope) {
        let mut inside = scope.clone();
        inside.module.push(name.to_owned());
        inside.in_test |= under_cfg_test(before);
        self.sequence(body.stream(), &inside);
    }

    /// Reads a path, or the `use` tree that it branches into, and returns its length in tokens.
    fn path(&mut self, mut target: Vec<String>, tokens: &[TokenTree], scope: &Scope) -> usize {
        let (mut at, mut name) = (0, String::new());
        let mut line = 0;
        loop {
            match tokens.get(at) {
                Some(TokenTree::Ident(word)) => {
                    line = word.span().start().line;
                    match word.to_string().as_str() {
                        "crate" => target.clear(),
                        "super" => drop(target.pop()),
                        "self" => {}
                        other => target.push(other.to_owned()),
                    }
                    name = target.last().cloned().unwrap_or_default();
                    at += 1;
                }
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                    self.branches(group, &target, scope);
                    return at + 1;
                }
                Some(star) if is(star, "*") => {
                    name = "*".to_owned();
                    at += 1;
                    break;
                }
                // Generic arguments, or what a macro puts in.
                _ => break,
            }
            match &tokens[at..] {
                [first, second, ..] if is(first, ":") && is(second, ":") => at += 2,
                [word, TokenTree::Ident(other), ..] if is(word, "as") => {
                    name = other.to_string();
                    at += 2;
                    break;
                }
                _ => break,
            }
        }
        self.imports.push(Import { line, target, name, in_test: scope.in_test });
        at
    }

    fn branches(&mut self, group: &Group, target: &[String], scope: &Scope) {
        let tokens: Vec<_> = group.stream().into_iter().collect();
        for branch in tokens.split(|token| is(token, ",")).filter(|branch| !branch.is_empty()) {
            self.path(target.to_vec(), branch, scope);
        }
    }
}

pub(crate) fn is(token: &TokenTree, text: &str) -> bool {
    match token {
        TokenTree::Ident(word) => word == text,
        TokenTree::Punct(punct) => text.len() == 1 && text.starts_with(punct.as_char()),
        _ => false,
    }
}

fn begins(token: &TokenTree) -> bool {
    ["crate", "self", "super"].iter().any(|word| is(token, word))
}

fn restricts(group: &Group) -> bool {
    let first = group.stream().into_iter().next();
    let is_path = group.stream().into_iter().count() > 1;
    first.is_some_and(|first| begins(&first) && !is_path || is(&first, "in"))
}

/// Tells whether the attributes at the end of `before` leave the next item to tests.
pub(crate) fn under_cfg_test(before: &[TokenTree]) -> bool {
    let before = match before {
        [rest @ .., word] if is(word, "pub") => rest,
        [rest @ .., word, TokenTree::Group(_)] if is(word, "pub") => rest,
        _ => before,
    };
    match before {
        [rest @ .., hash, TokenTree::Group(group)] if is(hash, "#") => {
            let text = group.stream().to_string().replace(' ', "");
            text == "cfg(test)" || text.starts_with("cfg(all(test,") || under_cfg_test(rest)
        }
        _ => false,
    }
}
