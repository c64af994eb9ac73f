//! Lists of structured fields (RFC 9651), read strictly: strings, with integers as parameters.

/// A string with its parameters.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) parameters: Vec<(String, u64)>,
}

impl Item {
    pub(crate) fn new<const N: usize>(name: &str, parameters: [(&str, Option<u64>); N]) -> Self {
        let parameters = parameters.into_iter();
        let parameters = parameters.filter_map(|(key, value)| Some((key.to_owned(), value?)));
        Self { name: name.to_owned(), parameters: parameters.collect() }
    }

    pub(crate) fn get(&self, key: &str) -> Option<u64> {
        self.parameters.iter().find(|(other, _)| other == key).map(|(_, value)| *value)
    }
}

/// Reads a list of at least one item.
pub(crate) fn list(text: &str) -> Result<Vec<Item>, String> {
    let mut reader = Reader(text);
    let mut items = vec![reader.item()?];
    while !reader.0.is_empty() {
        reader.skip(&[' ', '\t']);
        reader.expect(',')?;
        reader.skip(&[' ', '\t']);
        items.push(reader.item()?);
    }
    Ok(items)
}

struct Reader<'a>(&'a str);

impl<'a> Reader<'a> {
    fn eats(&mut self, wanted: char) -> bool {
        let rest = self.0.strip_prefix(wanted);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.eats(wanted) { Ok(()) } else { Err(format!("no {wanted} before {:?}", self.0)) }
    }

    fn skip(&mut self, blanks: &[char]) {
        self.0 = self.0.trim_start_matches(blanks);
    }

    fn take_while(&mut self, is_part: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(|part| !is_part(part)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    fn item(&mut self) -> Result<Item, String> {
        self.expect('"')?;
        // No name needs an escape.
        let is_plain = |part| matches!(part, ' '..='~') && !matches!(part, '"' | '\\');
        let name = self.take_while(is_plain).to_owned();
        self.expect('"')?;
        let mut parameters: Vec<(String, u64)> = Vec::new();
        while self.eats(';') {
            self.skip(&[' ']);
            let key = self.take_while(|part| part.is_ascii_lowercase()).to_owned();
            self.expect('=')?;
            let digits = self.take_while(|part| part.is_ascii_digit());
            let is_new = parameters.iter().all(|(other, _)| *other != key);
            if key.is_empty() || !is_new || digits.len() > 15 {
                return Err(format!("parameter {key:?} of {digits:?}"));
            }
            let value = digits.parse().map_err(|error| format!("{key}: {error}"))?;
            parameters.push((key, value));
        }
        Ok(Item { name, parameters })
    }
}

#[test]
fn what_is_no_list_is_found() {
    let two = [Item::new("a", [("r", Some(1)), ("t", Some(2))]), Item::new("b-c", [])];
    assert_eq!(list("\"a\";r=1;t=2, \"b-c\"").as_deref(), Ok(&two[..]));
    for bad in [
        "",
        "a;r=1",
        "\"a;r=1",
        "\"a\";r=",
        "\"a\";=1",
        "\"a\";r=1;r=2",
        "\"a\";r=1,",
        "\"a\" \"b\"",
        "\"a\";r=-1",
        "\"a\";r=1000000000000000",
        "\"a\";r=1 ;t=2",
        "\"ü\"",
        "\"a\"x",
    ] {
        assert!(list(bad).is_err(), "{bad}");
    }
}
