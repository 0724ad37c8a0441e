//! A response as a tree of fields, read from its `Debug` text.
//!
//! The structs of kafka-protocol have no reflection, but all of them print every field by name.
//! Reading that text compares each field of each API without a line of code per API.

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tree {
    /// A number, a text in quotes, bytes, `None`.
    Leaf(String),
    List(Vec<Tree>),
    Struct(Vec<(String, Tree)>),
}

impl Tree {
    /// Reads what `{:?}` printed.
    pub fn of(value: &impl std::fmt::Debug) -> Self {
        let text = format!("{value:?}");
        let mut reader = Reader { text: &text, at: 0 };
        let tree = reader.value();
        assert_eq!(reader.at, text.len(), "all of it is read: {text}");
        tree
    }

    /// Changes every leaf; `path` has names without indexes, joined by dots.
    pub fn map_leaves(&mut self, path: &str, change: &mut impl FnMut(&str, &mut String)) {
        match self {
            Self::Leaf(text) => change(path, text),
            Self::List(items) => items.iter_mut().for_each(|item| item.map_leaves(path, change)),
            Self::Struct(fields) => {
                for (name, value) in fields {
                    let below =
                        if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    value.map_leaves(&below, change);
                }
            }
        }
    }

    /// Takes items out of every list.
    pub fn retain(&mut self, keep: &impl Fn(&Tree) -> bool) {
        match self {
            Self::Leaf(_) => {}
            Self::List(items) => {
                items.retain(keep);
                items.iter_mut().for_each(|item| item.retain(keep));
            }
            Self::Struct(fields) => fields.iter_mut().for_each(|(_, value)| value.retain(keep)),
        }
    }

    /// Orders every list: Kafka answers many of them in the order of a hash map.
    pub fn sort_lists(&mut self) {
        match self {
            Self::Leaf(_) => {}
            Self::List(items) => {
                items.iter_mut().for_each(Self::sort_lists);
                items.sort();
            }
            Self::Struct(fields) => fields.iter_mut().for_each(|(_, value)| value.sort_lists()),
        }
    }

    /// One line per leaf, `path[index].name = value`.
    pub fn lines(&self) -> Vec<(String, String)> {
        let mut lines = Vec::new();
        self.collect(String::new(), &mut lines);
        lines
    }

    fn collect(&self, path: String, lines: &mut Vec<(String, String)>) {
        match self {
            Self::Leaf(text) => lines.push((path, text.clone())),
            Self::List(items) if items.is_empty() => lines.push((path, "[]".to_owned())),
            Self::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    item.collect(format!("{path}[{index}]"), lines);
                }
            }
            Self::Struct(fields) => {
                for (name, value) in fields {
                    let dot = if path.is_empty() { "" } else { "." };
                    value.collect(format!("{path}{dot}{name}"), lines);
                }
            }
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn value(&mut self) -> Tree {
        if self.take("[") {
            return Tree::List(self.until("]", Self::value));
        }
        if self.take("{") {
            return Tree::Struct(self.until("}", Self::entry));
        }
        if self.rest().starts_with('"') || self.rest().starts_with("b\"") {
            return Tree::Leaf(self.quoted());
        }
        let word = self.rest().find([',', ' ', ')', ']', '}', '(']).unwrap_or(self.rest().len());
        let name = self.rest()[..word].to_owned();
        self.at += word;
        if self.take("(") {
            // A newtype or Some: what it holds is what counts.
            let mut inside = self.until(")", Self::value);
            return inside.pop().expect("a newtype holds one value");
        }
        if self.take(" { ") {
            let fields = self.until(" }", Self::entry);
            let known = fields.into_iter().filter(|(name, _)| name != "unknown_tagged_fields");
            return Tree::Struct(known.collect());
        }
        Tree::Leaf(name)
    }

    fn entry(&mut self) -> (String, Tree) {
        let colon = self.rest().find(": ").expect("a field has a value");
        let name = self.rest()[..colon].to_owned();
        self.at += colon + 2;
        (name, self.value())
    }

    fn until<T>(&mut self, end: &str, one: impl Fn(&mut Self) -> T) -> Vec<T> {
        let mut items = Vec::new();
        while !self.take(end) {
            items.push(one(self));
            self.take(", ");
        }
        items
    }

    fn quoted(&mut self) -> String {
        let start = self.at;
        self.at += self.rest().find('"').expect("it is quoted") + 1;
        while !self.take("\"") {
            let escaped = self.rest().starts_with('\\');
            let mut characters = self.rest().chars();
            let first = characters.next().expect("quotes are closed").len_utf8();
            let second = if escaped { characters.next().map_or(0, char::len_utf8) } else { 0 };
            self.at += first + second;
        }
        self.text[start..self.at].to_owned()
    }
}

#[test]
fn a_response_becomes_its_fields() {
    use kafka_protocol::messages::metadata_response::{MetadataResponse, MetadataResponseTopic};
    let topic = MetadataResponseTopic::default().with_error_code(3);
    let tree = Tree::of(&MetadataResponse::default().with_topics(vec![topic]));
    let lines = tree.lines();
    let value = |path: &str| lines.iter().find(|(p, _)| p == path).map(|(_, v)| v.as_str());
    assert_eq!(value("topics[0].error_code"), Some("3"));
    assert_eq!(value("topics[0].partitions"), Some("[]"));
    assert_eq!(value("controller_id"), Some("-1"));
}
