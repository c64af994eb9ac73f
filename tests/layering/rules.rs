//! Rules for sources, besides the layers that `src/lib.rs` lists.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::TokenTree;

use crate::imports::{Import, Source, is, under_cfg_test};

/// Lower modules that `backend` never imports: code that stores sees no plaintext token.
const PLAINTEXT: &[&str] = &["secret", "token", "verified_key"];
/// Parts of `backend` that never import each other. The files that they share import none of them.
const BACKENDS: &[&str] = &["memory", "sled", "sqlite"];

/// A path from the crate's root.
type Module = [String];

/// Reads the layers out of the table in the documentation of `src/lib.rs`, lowest first.
pub(crate) fn layers(root: &str) -> Vec<Vec<String>> {
    let lines = root.lines().filter_map(|line| line.strip_prefix("//!"));
    let rows =
        lines.filter(|line| line.trim_start().starts_with(|first: char| first.is_ascii_digit()));
    let modules = |row: &str| {
        let mut columns = row.split("  ").map(str::trim).filter(|column| !column.is_empty());
        columns.nth(1).unwrap_or_default().split(", ").map(str::to_owned).collect()
    };
    let mut layers: Vec<_> = rows.map(modules).collect();
    layers.reverse();
    layers
}

/// All sources, with the facts of all that judging one of them needs.
pub(crate) struct Tree<'a> {
    sources: &'a [Source],
    layers: &'a [Vec<String>],
    files: BTreeSet<&'a Module>,
    folders: BTreeSet<&'a Module>,
    /// Modules that stand under `cfg(test)`.
    tests: Vec<Vec<String>>,
    /// Re-exports: a folder and a name in its `mod.rs`, and the path that has the name.
    names: BTreeMap<(&'a Module, &'a str), &'a Module>,
}

impl<'a> Tree<'a> {
    pub(crate) fn new(sources: &'a [Source], layers: &'a [Vec<String>]) -> Self {
        let (folders, files): (Vec<_>, Vec<_>) = sources.iter().partition(|one| one.declares());
        let modules = |sources: &[&'a Source]| sources.iter().map(|one| &one.module[..]).collect();
        let (mut tests, mut names) = (Vec::new(), BTreeMap::new());
        for folder in folders.iter().filter(|folder| !folder.module.is_empty()) {
            for import in &folder.imports {
                names.insert((&folder.module[..], &import.name[..]), &import.target[..]);
            }
        }
        for source in sources.iter().filter(|source| !source.module.is_empty()) {
            for item in source.items() {
                if let [before @ .., word, name] = &item[..]
                    && is(word, "mod")
                    && under_cfg_test(before)
                {
                    tests.push([&source.module[..], &[name.to_string()]].concat());
                }
            }
        }
        Self { sources, layers, files: modules(&files), folders: modules(&folders), tests, names }
    }

    /// Lists the faults of single files, each with its place.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for source in self.sources {
            let mut fault = |line: usize, text: &str| {
                faults.push(format!("{}:{line}: {text}", source.path));
            };
            if source.declares() {
                for item in source.items() {
                    if let Some(line) = logic(&item) {
                        fault(line, "holds logic: only `mod name;`, `use` and docs stand here");
                    }
                }
            } else if self.folders.contains(&source.module[..]) {
                fault(1, "stands beside a folder of its name: write a mod.rs there");
            }
            for hidden in ["#[path", "= \"crate::", "= \"super::"] {
                if source.text.contains(hidden) {
                    fault(1, "a path in a string is not read: write it as code");
                }
            }
            let Some(top) = source.module.first() else { continue };
            let Some(layer) = self.layer(top) else {
                fault(1, "has no layer: put its module into the table in src/lib.rs");
                continue;
            };
            for import in &source.imports {
                let import =
                    &Import { in_test: import.in_test || self.is_test(source), ..import.clone() };
                if let Some(text) = self.judge(source, top, layer, import) {
                    fault(import.line, &text);
                }
            }
        }
        // One `use` may name the same module twice.
        faults.dedup();
        faults
    }

    /// Judges an import, and returns its fault.
    fn judge(&self, source: &Source, top: &str, layer: usize, import: &Import) -> Option<String> {
        let Some(to) = import.target.first() else {
            return Some(format!("`{top}` imports all from the crate's root: name a module"));
        };
        let both = format!("`{top}` imports `{to}`");
        let Some(below) = self.layer(to) else {
            return Some(format!("{both} from the crate's root: name the module it stands in"));
        };
        if top == "backend" && PLAINTEXT.contains(&&to[..]) {
            return Some(format!("{both}: code that stores never sees a plaintext token"));
        }
        let allowed =
            top == to || below < layer || import.in_test && (below == layer || to == "testing");
        if !allowed {
            return Some(format!("{both}: a file imports lower layers, or its own module"));
        }
        if top != to || source.declares() {
            return None;
        }
        let Some(place) = self.place(&import.target) else {
            return (!import.in_test)
                .then(|| format!("{} leads to no file", import.target.join("::")));
        };
        let of = |module: &Module| {
            module.get(1).filter(|part| top == "backend" && BACKENDS.contains(&&part[..])).cloned()
        };
        let (from, to) = (of(&source.module), of(place));
        let apart = to.is_none() || from == to || from.is_none() && import.in_test;
        (!apart).then(|| format!("imports {}: a backend is its own", place.join("::")))
    }

    /// Finds the file that a path leads to, or the folder if the path ends there. Follows
    /// re-exports.
    fn place(&self, target: &Module) -> Option<&'a Module> {
        let mut target = target.to_vec();
        for _ in 0..8 {
            let mut starts = (1..=target.len()).map(|end| &target[..end]);
            if let Some(file) = starts.find_map(|start| self.files.get(start)) {
                return Some(file);
            }
            let mut starts = (1..=target.len()).rev().map(|end| &target[..end]);
            let folder = *starts.find_map(|start| self.folders.get(start))?;
            let Some(name) = target.get(folder.len()) else { return Some(folder) };
            let given = *self.names.get(&(folder, &name[..]))?;
            target = [given, &target[folder.len() + 1..]].concat();
        }
        None
    }

    /// Lists the rooms that import each other, folder by folder. Tests don't count.
    pub(crate) fn circles(&self) -> Vec<String> {
        let mut arrows: BTreeMap<&Module, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
        for source in self.sources.iter().filter(|one| !one.declares() && !self.is_test(one)) {
            for import in source.imports.iter().filter(|import| !import.in_test) {
                let Some(place) = self.place(&import.target) else { continue };
                let pairs = source.module.iter().zip(place);
                let shared = pairs.take_while(|(from, to)| from == to).count();
                if let (Some(from), Some(to)) = (source.module.get(shared), place.get(shared)) {
                    let rooms = arrows.entry(&place[..shared]).or_default();
                    rooms.entry(from).or_default().insert(to);
                }
            }
        }
        let mut circles = Vec::new();
        for (folder, rooms) in &arrows {
            // The transitive closure.
            let mut reached = rooms.clone();
            for middle in rooms.keys() {
                let onwards = reached[middle].clone();
                for tos in reached.values_mut().filter(|tos| tos.contains(middle)) {
                    tos.extend(&onwards);
                }
            }
            let meet = |a: &str, b: &str| reached.get(a).is_some_and(|tos| tos.contains(b));
            let mut found = BTreeSet::new();
            for room in rooms.keys().filter(|room| meet(room, room)) {
                let circle = rooms.keys().filter(|other| meet(room, other) && meet(other, room));
                found.insert(circle.copied().collect::<Vec<_>>().join(" "));
            }
            circles.extend(found.into_iter().map(|rooms| format!("{}: {rooms}", folder.join("/"))));
        }
        circles
    }

    fn layer(&self, module: &str) -> Option<usize> {
        self.layers.iter().position(|layer| layer.iter().any(|one| one == module))
    }

    fn is_test(&self, source: &Source) -> bool {
        self.tests.iter().any(|test| source.module.starts_with(test))
    }
}

/// Returns the line of an item that does more than declare.
fn logic(item: &[TokenTree]) -> Option<usize> {
    let mut rest = item;
    while let [hash, after @ ..] = rest
        && is(hash, "#")
    {
        let bang = usize::from(after.first().is_some_and(|token| is(token, "!")));
        rest = after.get(bang + 1..).unwrap_or_default();
    }
    let item = match rest {
        [word, TokenTree::Group(_), after @ ..] | [word, after @ ..] if is(word, "pub") => after,
        _ => rest,
    };
    match item {
        [] => None,
        [word, TokenTree::Ident(_)] if is(word, "mod") => None,
        [word, ..] if is(word, "use") => None,
        [..] => Some(rest[0].span().start().line),
    }
}
