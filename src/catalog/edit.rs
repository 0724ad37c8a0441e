//! Changes of a resource's configs, as data. They are applied to what is stored when their turn
//! comes, so two clients that add to one list at the same time both find their entries in it.

use super::Configs;

/// A change of a resource's configs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigEdit {
    /// AlterConfigs: these and no others.
    Replace(Configs),
    /// IncrementalAlterConfigs: only these keys change.
    Merge(Vec<(String, KeyEdit)>),
}

/// A change of one config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyEdit {
    Set(String),
    /// Back to the default.
    Unset,
    /// Adds entries to the end of a comma-separated list, each once.
    Append(ListEdit),
    /// Takes entries out of a comma-separated list.
    Subtract(ListEdit),
}

/// What a list is changed by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListEdit {
    pub entries: String,
    /// The list that is changed if the resource has none of its own: what it inherits.
    pub inherited: String,
}

impl ConfigEdit {
    pub(super) fn over(&self, old: Option<&Configs>) -> Configs {
        match self {
            Self::Replace(configs) => configs.clone(),
            Self::Merge(edits) => {
                let mut configs = old.cloned().unwrap_or_default();
                for (key, edit) in edits {
                    match edit.over(configs.get(key)) {
                        Some(value) => configs.insert(key.clone(), value),
                        None => configs.remove(key),
                    };
                }
                configs
            }
        }
    }
}

impl KeyEdit {
    fn over(&self, old: Option<&String>) -> Option<String> {
        match self {
            Self::Set(value) => Some(value.clone()),
            Self::Unset => None,
            Self::Append(edit) => {
                let mut list = entries(old.unwrap_or(&edit.inherited));
                for entry in entries(&edit.entries) {
                    if !list.contains(&entry) {
                        list.push(entry);
                    }
                }
                Some(list.join(","))
            }
            Self::Subtract(edit) => {
                let taken = entries(&edit.entries);
                let mut list = entries(old.unwrap_or(&edit.inherited));
                list.retain(|entry| !taken.contains(entry));
                Some(list.join(","))
            }
        }
    }
}

fn entries(list: &str) -> Vec<&str> {
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &str) -> ListEdit {
        ListEdit { entries: entries.to_owned(), inherited: "delete".to_owned() }
    }

    fn edited(edits: &[KeyEdit]) -> Option<String> {
        let mut configs = Configs::new();
        for edit in edits {
            configs = ConfigEdit::Merge(vec![("key".into(), edit.clone())]).over(Some(&configs));
        }
        configs.remove("key")
    }

    #[test]
    fn lists_grow_and_shrink_from_what_is_inherited_or_stored() {
        use KeyEdit::{Append, Set, Subtract, Unset};
        assert_eq!(edited(&[Append(list("compact"))]).as_deref(), Some("delete,compact"));
        assert_eq!(edited(&[Append(list("delete, compact,"))]).as_deref(), Some("delete,compact"));
        assert_eq!(edited(&[Subtract(list("delete"))]).as_deref(), Some(""));
        assert_eq!(edited(&[Subtract(list("compact"))]).as_deref(), Some("delete"));
        let both = [Append(list("a")), Append(list("b")), Subtract(list("delete"))];
        assert_eq!(edited(&both).as_deref(), Some("a,b"));
        let emptied = [Subtract(list("delete")), Append(list("a"))];
        assert_eq!(edited(&emptied).as_deref(), Some("a"), "an empty list is a list of its own");
        assert_eq!(edited(&[Set("x".into()), Append(list("y"))]).as_deref(), Some("x,y"));
        assert_eq!(edited(&[Set("x".into()), Unset]), None);
    }

    #[test]
    fn replacing_leaves_nothing_else() {
        let old = Configs::from([("a".to_owned(), "1".to_owned())]);
        let new = Configs::from([("b".to_owned(), "2".to_owned())]);
        assert_eq!(ConfigEdit::Replace(new.clone()).over(Some(&old)), new);
    }
}
