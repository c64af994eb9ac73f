//! Judges sources by the table.

use std::collections::HashMap;
use std::fmt;

use crate::paths::{self, Reference};
use crate::shape;
use crate::source::Source;
use crate::table::{self, FOR_TESTS, ROOT_LAYER, ROWS};

/// Something that breaks the order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

/// All faults of a tree, file by file.
pub(crate) fn check(sources: &[Source]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let parsed: Vec<_> = sources.iter().map(|source| parse(source, &mut faults)).collect();
    let tree = Tree::new(sources, &parsed);
    let mut included = Vec::new();
    for (source, file) in sources.iter().zip(&parsed).filter(|(source, _)| source.is_rust()) {
        let mut judge = Judge::new(source, &tree, &mut faults);
        judge.place(sources);
        if let Some(file) = file {
            judge.shape(file);
        }
        included.extend(judge.paths().iter().map(|name| source.beside(name)));
    }
    for source in sources.iter().filter(|source| included.contains(&source.path)) {
        Judge::new(source, &tree, &mut faults).paths();
    }
    // One `use` may name the same module twice.
    faults.dedup();
    faults
}

fn parse(source: &Source, faults: &mut Vec<Fault>) -> Option<syn::File> {
    if !source.is_rust() {
        return None;
    }
    syn::parse_file(&source.text)
        .map_err(|error| {
            let line = error.span().start().line;
            let message = format!("doesn't parse: {error}");
            faults.push(Fault { file: source.path.clone(), line, message });
        })
        .ok()
}

/// What has to be known of all files before one can be judged.
struct Tree {
    /// Modules in files of their own that stand under `#[cfg(test)]`.
    tests: Vec<Vec<String>>,
    /// By folder and name, from which child the folder's `mod.rs` has the name.
    from_children: HashMap<(String, String), String>,
}

impl Tree {
    fn new(sources: &[Source], parsed: &[Option<syn::File>]) -> Self {
        let mut tree = Self { tests: Vec::new(), from_children: HashMap::new() };
        for (source, file) in sources.iter().zip(parsed) {
            let Some(file) = file else { continue };
            let module = source.module();
            for name in shape::test_modules(file) {
                tree.tests.push([module.as_slice(), &[name]].concat());
            }
            if let [folder] = module.as_slice()
                && source.only_declares()
            {
                for taken in shape::from_children(folder, file) {
                    if let Some(name) = taken.name {
                        tree.from_children.insert((folder.clone(), name), taken.child);
                    }
                }
            }
        }
        tree
    }

    fn is_test(&self, module: &[String]) -> bool {
        self.tests.iter().any(|test| module.starts_with(test))
    }

    /// The isolated part of a folder that a path leads into: by its own name, or by one that the
    /// folder's `mod.rs` has from it.
    fn part(&self, path: &[String]) -> Option<&'static str> {
        let [folder, name, ..] = path else { return None };
        let child = self.from_children.get(&(folder.clone(), name.clone())).unwrap_or(name);
        table::isolated(folder).iter().copied().find(|part| part == child)
    }
}

/// Judges one file.
struct Judge<'a> {
    source: &'a Source,
    module: Vec<String>,
    tree: &'a Tree,
    faults: &'a mut Vec<Fault>,
}

impl<'a> Judge<'a> {
    fn new(source: &'a Source, tree: &'a Tree, faults: &'a mut Vec<Fault>) -> Self {
        Self { source, module: source.module(), tree, faults }
    }

    fn fault(&mut self, line: usize, message: String) {
        self.faults.push(Fault { file: self.source.path.clone(), line, message });
    }

    /// The file has a place in the table, and its module is one file or one folder.
    fn place(&mut self, sources: &[Source]) {
        if self.source.is_root() {
            return;
        }
        if self.module.first().is_none_or(|top| table::place(top).is_none()) {
            let message = "has no place: add its module to tests/layering/table.rs".to_owned();
            self.fault(1, message);
        }
        let folder = self.source.path.trim_end_matches(".rs").to_owned() + "/";
        if sources.iter().any(|other| other.path.starts_with(&folder)) {
            self.fault(1, format!("stands beside {folder}: write {folder}mod.rs"));
        }
    }

    /// A file that declares does nothing else.
    fn shape(&mut self, file: &syn::File) {
        if !self.source.only_declares() {
            return;
        }
        for line in shape::logic(file) {
            let message = "holds logic: only `mod name;`, `use`, docs and attributes stand here";
            self.fault(line, message.to_owned());
        }
        let [folder] = self.module.as_slice() else { return };
        let folder = folder.clone();
        for taken in shape::from_children(&folder, file) {
            if taken.name.is_none() && table::isolated(&folder).contains(&taken.child.as_str()) {
                let child = taken.child;
                self.fault(taken.line, format!("takes in all of `{child}`: write the names out"));
            }
        }
    }

    /// All paths in the file. Answers which files beside it belong to it.
    fn paths(&mut self) -> Vec<String> {
        let in_test = self.tree.is_test(&self.module);
        let found = match paths::find(&self.source.text, &self.module, in_test) {
            Ok(found) => found,
            Err(error) => {
                self.fault(1, format!("can't be read: {error}"));
                return Vec::new();
            }
        };
        for (line, reason) in found.unclear {
            self.fault(line, reason.to_owned());
        }
        for reference in found.references {
            if let Err(message) = self.judge(&reference) {
                self.fault(reference.line, message);
            }
        }
        found.included
    }

    fn judge(&self, reference: &Reference) -> Result<(), String> {
        let place = self.module.first().and_then(|top| Some((top, table::place(top)?)));
        let Some((from, here)) = place else {
            // The root, which may name anything; or it has no place, which has been said.
            return Ok(());
        };
        let root = || format!("the crate's root (layer {ROOT_LAYER})");
        let Some(to) = reference.target.first() else {
            return Err(format!("{} takes in {}: name a module", named(from), root()));
        };
        let Some(there) = table::place(to) else {
            let what = format!("{} imports `{to}` from {}", named(from), root());
            return Err(format!("{what}: name the module it stands in"));
        };
        if from == to {
            return self.judge_inside(from, reference);
        }
        let both = format!("{} imports {}", named(from), named(to));
        if table::barred(from).contains(&to.as_str()) {
            return Err(format!("{both}: it never does, although the layer is lower"));
        }
        let allowed = there.row < here.row
            || reference.in_test && (there.layer <= here.layer || to == FOR_TESTS);
        if !allowed {
            return Err(format!("{both}: a file imports lower layers, or its own module"));
        }
        if reference.re_export
            && let Some((module, _)) =
                table::BARRED.iter().find(|(_, barred)| barred.contains(&to.as_str()))
            && table::place(module).is_some_and(|barred| barred.row > here.row)
        {
            return Err(format!(
                "{both} and hands it on: {} could reach what it never imports",
                named(module)
            ));
        }
        Ok(())
    }

    /// A path within one top-level module: its isolated parts stay apart.
    fn judge_inside(&self, folder: &str, reference: &Reference) -> Result<(), String> {
        if table::isolated(folder).is_empty() {
            return Ok(());
        }
        let layer = named(folder);
        let name = self.module.last().map_or(folder, String::as_str);
        // The folder's `mod.rs` names its parts, and tests of what they share may use them.
        let free = reference.in_test || self.module.len() == 1;
        match (self.tree.part(&self.module), self.tree.part(&reference.target)) {
            (None, _) if free => Ok(()),
            (_, _) if reference.target.len() == 1 => Err(format!(
                "`{name}` takes in all of {layer}, its isolated parts too: name what it needs"
            )),
            (Some(from), Some(to)) if from != to => Err(format!(
                "`{from}` imports `{to}`, both in {layer}: these never import each other"
            )),
            (None, Some(to)) => {
                Err(format!("`{name}` imports `{to}`, both in {layer}: only mod.rs names it"))
            }
            _ => Ok(()),
        }
    }
}

/// A top-level module with its layer.
fn named(module: &str) -> String {
    let layer = table::place(module).map(|place| ROWS[place.row].layer);
    layer.map_or_else(|| format!("`{module}`"), |layer| format!("`{module}` (layer {layer})"))
}
