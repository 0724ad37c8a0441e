//! Small values of the command line: `KEY=VALUE`, and topics with some of their partitions.

use std::collections::BTreeSet;

/// One `KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub key: String,
    pub value: String,
}

pub fn pair(text: &str) -> Result<Pair, String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok(Pair { key: key.trim().to_owned(), value: value.to_owned() })
        }
        _ => Err("must be KEY=VALUE".to_owned()),
    }
}

/// A topic with some of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicChoice {
    pub topic: String,
    /// Empty: all.
    pub partitions: BTreeSet<i32>,
}

impl TopicChoice {
    pub fn takes(&self, partition: i32) -> bool {
        self.partitions.is_empty() || self.partitions.contains(&partition)
    }
}

/// `TOPIC` or `TOPIC:0,1,2`; topics' names have no colon.
pub fn topic_choice(text: &str) -> Result<TopicChoice, String> {
    let (topic, partitions) = match text.split_once(':') {
        None => (text, Ok(BTreeSet::new())),
        Some((topic, list)) => (topic, list.split(',').map(partition).collect()),
    };
    if topic.is_empty() {
        return Err("must be TOPIC or TOPIC:PARTITION,PARTITION,...".to_owned());
    }
    Ok(TopicChoice { topic: topic.to_owned(), partitions: partitions? })
}

fn partition(text: &str) -> Result<i32, String> {
    let number = text.trim().parse().ok().filter(|partition| *partition >= 0);
    number.ok_or_else(|| format!("'{text}' is not a partition"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_split_at_the_first_equals_sign() {
        let read = |text| pair(text).map(|pair| (pair.key, pair.value));
        assert_eq!(read("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(read("a="), Ok(("a".to_owned(), String::new())));
        assert!(read("a").is_err() && read("=b").is_err());
    }

    #[test]
    fn topics_come_with_all_or_some_of_their_partitions() {
        let read = |text| topic_choice(text).map(|c| (c.topic.clone(), c.takes(1), c.takes(2)));
        assert_eq!(read("orders"), Ok(("orders".to_owned(), true, true)));
        assert_eq!(read("orders:0,1"), Ok(("orders".to_owned(), true, false)));
        assert!(read(":1").is_err() && read("orders:").is_err() && read("orders:-1").is_err());
    }
}
