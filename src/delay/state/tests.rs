//! Random schedules of all that happens to a partition's delayed records, crashes included,
//! against a model that keeps every record in one sorted map.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::base::ids::Uuid;
use crate::delay::copies::CopyMark;
use crate::delay::decide::{Asked, InRun, Place, Plan, Refusal, Stored, What};
use crate::delay::headers;
use crate::delay::ids::hash64;
use crate::delay::release::with_notes;
use crate::wire::batch::{BatchHeader, HEADER_BYTES};
use crate::wire::builder::BatchBuilder;
use crate::wire::compression::Codec;
use crate::wire::records::Header;

/// What a client sends.
#[derive(Clone, Debug)]
enum Send {
    Put {
        delay_ms: i64,
        id: Option<u8>,
        replace: bool,
        content: u8,
    },
    CancelId(u8),
    /// Some ticket, made a [`Send::CancelOffset`] before it is sent.
    CancelTicket(Index),
    CancelOffset(i64),
}

#[derive(Clone, Debug)]
enum Step {
    Batch(Vec<Send>),
    Copy {
        source: u8,
        offset: i64,
        delay_ms: i64,
    },
    /// A group goes back.
    Clear {
        source: u8,
        from: i64,
    },
    Operator(Index),
    Release {
        ms: i64,
        most: usize,
        expired: bool,
    },
    Roll,
    Seal,
    Crash(Index),
}

fn send() -> impl Strategy<Value = Send> {
    let put = (0..40_i64, prop::option::of(b'a'..b'g'), any::<bool>(), 0..2_u8)
        .prop_map(|(delay_ms, id, replace, content)| Send::Put { delay_ms, id, replace, content });
    prop_oneof![
        6 => put,
        1 => (b'a'..b'g').prop_map(Send::CancelId),
        1 => any::<Index>().prop_map(Send::CancelTicket),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => prop::collection::vec(send(), 1..6).prop_map(Step::Batch),
        4 => (0..2_u8, 0..6_i64, 0..40_i64)
            .prop_map(|(source, offset, delay_ms)| Step::Copy { source, offset, delay_ms }),
        1 => (0..2_u8, 0..6_i64).prop_map(|(source, from)| Step::Clear { source, from }),
        1 => any::<Index>().prop_map(Step::Operator),
        4 => (0..30_i64, 0..9_usize, prop::bool::weighted(0.2))
            .prop_map(|(ms, most, expired)| Step::Release { ms, most, expired }),
        2 => Just(Step::Roll),
        2 => Just(Step::Seal),
        1 => any::<Index>().prop_map(Step::Crash),
    ]
}

#[derive(Clone, Debug, PartialEq)]
struct Item {
    id: Option<u8>,
    content: (u8, i64, bool),
    bytes: u32,
}

/// What is true, by the plainest means.
#[derive(Clone, Debug)]
struct Model {
    pending: BTreeMap<Key, Item>,
    w: Key,
    /// In order of delivery, expired ones included.
    out: Vec<Key>,
    cancelled: Vec<i64>,
    put: Vec<i64>,
    copied: BTreeSet<(u8, i64)>,
}

impl Default for Model {
    fn default() -> Self {
        let (pending, out) = (BTreeMap::new(), Vec::new());
        let (cancelled, put, copied) = (Vec::new(), Vec::new(), BTreeSet::new());
        Self { pending, w: Key::MIN, out, cancelled, put, copied }
    }
}

impl Model {
    fn with_id(&self, id: u8) -> Option<Key> {
        self.pending.iter().find(|(_, item)| item.id == Some(id)).map(|(key, _)| *key)
    }

    fn with_ticket(&self, ticket: i64) -> Option<Key> {
        self.pending.keys().find(|key| key.ticket == ticket).copied()
    }

    fn cancel(&mut self, key: Key) {
        self.pending.remove(&key);
        self.cancelled.push(key.ticket);
    }
}

/// A batch of the journal and the model behind it.
struct Written {
    header: BatchHeader,
    records: Bytes,
    segment: i64,
    position: u64,
    model: Model,
}

/// Records as a host would read them from files.
#[derive(Default)]
struct Files {
    journal: HashMap<(i64, u32), Bytes>,
    runs: Vec<(Key, Bytes)>,
}

impl Stored for Files {
    fn record(&mut self, place: Place) -> io::Result<Bytes> {
        let record = &self.journal[&(place.segment, place.position)];
        assert_eq!(record.len(), place.bytes as usize);
        Ok(record.clone())
    }

    fn with_id(
        &mut self,
        hash: u64,
        id: &[u8],
        wanted: &mut dyn FnMut(Key) -> bool,
    ) -> io::Result<Option<InRun>> {
        assert_eq!(hash, hash64(id));
        let named =
            self.runs.iter().filter(|(_, record)| crate::delay::decide::id_of(record) == Some(id));
        let mut named = named.filter(|(key, _)| wanted(*key));
        Ok(named.next().map(|(key, record)| InRun { key: *key, record: record.clone() }))
    }

    fn with_ticket(&mut self, ticket: i64) -> io::Result<Option<InRun>> {
        let entry = self.runs.iter().find(|(key, _)| key.ticket == ticket);
        Ok(entry.map(|(key, record)| InRun { key: *key, record: record.clone() }))
    }
}

struct Bed {
    state: State,
    model: Model,
    files: Files,
    journal: Vec<Written>,
    /// Batches that no crash takes.
    durable: usize,
    manifest: AtSeal,
    now_ms: i64,
    next: i64,
    segment: i64,
    position: u64,
}

impl Bed {
    fn new() -> Self {
        let manifest = AtSeal {
            below: 0,
            w: Key::MIN,
            pending: Totals::default(),
            cancelled: RoaringTreemap::new(),
            copies: Arc::default(),
            clock_ms: 0,
        };
        Self {
            state: State::empty(0),
            model: Model::default(),
            files: Files::default(),
            journal: Vec::new(),
            durable: 0,
            manifest,
            now_ms: 1_000,
            next: 0,
            segment: 0,
            position: 0,
        }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Batch(sends) => self.batch(sends),
            Step::Copy { source, offset, delay_ms } => {
                self.copy(origin(*source, *offset), *source, *delay_ms);
            }
            Step::Clear { source, from } => {
                let Origin { maker, tp, .. } = origin(*source, 0);
                let mut model = self.model.clone();
                model.copied.retain(|(other, offset)| other != source || offset < from);
                self.write_note(Note::Cleared { maker, tp, from: *from }, model);
            }
            Step::Operator(at) => self.operator(self.ticket(at)),
            Step::Release { ms, most, expired } => {
                self.now_ms += ms;
                self.release(*most, *expired);
            }
            Step::Roll => {
                self.segment = self.next;
                self.position = 0;
            }
            Step::Seal => self.seal(),
            Step::Crash(at) => self.crash(at),
        }
        self.compare();
    }

    /// Some offset that was given out, or one that is far off.
    fn ticket(&self, at: &Index) -> i64 {
        let ticket = at.index(usize::try_from(self.next).unwrap() + 1) as i64;
        if ticket == self.next { i64::MAX } else { ticket }
    }

    /// A client's batch: refused as a whole, or decided as the model would and journaled.
    fn batch(&mut self, sends: &[Send]) {
        let sends: Vec<Send> = sends.iter().map(|send| self.resolved(send)).collect();
        let (header, records) = self.built(&sends);
        let pieces = pieces(&records);
        let mut plan = Plan::default();
        let mut model = self.model.clone();
        for (at, (send, piece)) in sends.iter().zip(&pieces).enumerate() {
            let ticket = self.next + at as i64;
            let asked = Asked { ticket, what: send.what(self.now_ms), record: piece };
            let decision = self.state.decide(&mut plan, &asked, &mut self.files);
            match (decision, model.take(send, ticket, self.now_ms, piece.len() as u32)) {
                (Err(Refusal::OtherContent), None) => return,
                (Ok(decision), Some(expected)) => assert_eq!(kind(decision), expected, "{send:?}"),
                (decision, expected) => panic!("{send:?}: {decision:?} is not {expected:?}"),
            }
        }
        if plan.has_notes() {
            let noted = with_notes(&header, &records, plan.decisions()).unwrap();
            let (mut noted, records) = noted.build_parts().unwrap();
            (noted.base_offset, noted.max_timestamp_ms) = (header.base_offset, self.now_ms);
            model.measure(self.next, &pieces_of(&records));
            let position = self.write(noted, &records, model);
            self.state.replay(&noted, &records, position).unwrap();
        } else {
            let decisions = plan.decisions().to_vec();
            let mut position = self.write(header, &records, model);
            let rows = sends.iter().zip(&pieces).zip(decisions).enumerate();
            for (at, ((send, piece), decision)) in rows {
                let put = send.put(self.now_ms, position as u32, piece.len() as u32);
                self.state.apply(header.base_offset + at as i64, put.as_ref(), decision);
                position += piece.len() as u64;
            }
        }
    }

    /// A copy, unless there is or was one of that origin.
    fn copy(&mut self, origin: Origin, source: u8, delay_ms: i64) {
        if self.state.copies().contains(&origin) {
            return;
        }
        let offset = origin.offset;
        let mark = CopyMark { origin, due_ms: self.now_ms + delay_ms, plain: false }.encode();
        let mut builder = BatchBuilder::new(Codec::None, None);
        // Another's id, which counts for nothing on a copy.
        let headers = [
            Header { key: headers::ID.as_bytes(), value: Some(b"a") },
            Header { key: headers::COPY.as_bytes(), value: Some(&mark) },
        ];
        builder.push(77, None, Some(&[9; 20]), headers.into_iter());
        let (mut header, records) = builder.build_parts().unwrap();
        (header.base_offset, header.max_timestamp_ms) = (self.next, self.now_ms);
        let key = Key::new((self.now_ms + delay_ms).max(self.model.w.due_ms), self.next);
        let bytes = records.len() as u32;
        let mut model = self.model.clone();
        model.pending.insert(key, Item { id: None, content: (9, delay_ms, false), bytes });
        model.put.push(self.next);
        model.copied.insert((source, offset));
        let position = self.write(header, &records, model);
        self.state.replay(&header, &records, position).unwrap();
    }

    /// With a ticket instead of an index.
    fn resolved(&self, send: &Send) -> Send {
        match send {
            Send::CancelTicket(at) => Send::CancelOffset(self.ticket(at)),
            send => send.clone(),
        }
    }

    fn built(&self, sends: &[Send]) -> (BatchHeader, Bytes) {
        let mut builder = BatchBuilder::new(Codec::None, None);
        for send in sends {
            let texts = send.headers();
            let headers = texts
                .iter()
                .map(|(key, value)| Header { key: key.as_bytes(), value: Some(value.as_bytes()) });
            let value = send.content();
            builder.push(77, None, value.as_ref().map(|value| &value[..]), headers);
        }
        let (mut header, records) = builder.build_parts().unwrap();
        (header.base_offset, header.max_timestamp_ms) = (self.next, self.now_ms);
        (header, records)
    }

    /// Appends to the journal; gives the position of the records.
    fn write(&mut self, header: BatchHeader, records: &Bytes, model: Model) -> u64 {
        self.state.roll(self.segment);
        let position = self.position + HEADER_BYTES as u64;
        let mut at = position as u32;
        if !header.is_control() {
            for piece in pieces(records) {
                self.files.journal.insert((self.segment, at), Bytes::copy_from_slice(piece));
                at += piece.len() as u32;
            }
        }
        self.position = position + records.len() as u64;
        self.next = header.last_offset() + 1;
        self.model = model.clone();
        let (records, segment) = (records.clone(), self.segment);
        self.journal.push(Written { header, records, segment, position, model });
        position
    }

    fn write_note(&mut self, note: Note, model: Model) {
        let (mut header, records) = note.batch(self.now_ms).build_parts().unwrap();
        header.base_offset = self.next;
        self.write(header, &records, model);
        self.state.note(&note);
    }

    fn operator(&mut self, ticket: i64) {
        let mut model = self.model.clone();
        let pending = model.with_ticket(ticket);
        let late = model.out.iter().any(|key| key.ticket == ticket);
        match self.state.decide_cancel(ticket, &mut self.files).unwrap() {
            Decision::Cancelled(taken) => {
                assert_eq!(Some(taken.key), pending);
                model.cancel(taken.key);
                self.write_note(Note::Cancel(taken), model);
            }
            decision => {
                assert_eq!(pending, None);
                // What was released before its segment was sealed is nowhere any more.
                let late = late && ticket >= self.manifest.below;
                assert!(!late || decision == Decision::TooLate, "{ticket}");
                assert!(model.put.contains(&ticket) || decision == Decision::Unknown, "{ticket}");
            }
        }
    }

    /// Merges windows and runs as a host does, and moves W past what is due.
    fn release(&mut self, most: usize, expired: bool) {
        let w = self.state.w();
        let windows: Vec<(Key, u32)> =
            self.state.after(w).map(|(_, slot)| (slot.key, slot.bytes)).collect();
        let mut due: Vec<(Key, u32)> = self.waiting_in_runs().chain(windows).collect();
        due.sort_unstable();
        due.retain(|(key, _)| key.due_ms <= self.now_ms);
        due.truncate(most);
        let Some((w, _)) = due.last().copied() else { return };
        let mut totals = Totals::default();
        due.iter().for_each(|(_, bytes)| totals.add(*bytes));
        let none = Totals::default();
        let (released, expired) = if expired { (none, totals) } else { (totals, none) };
        let mut model = self.model.clone();
        for (key, bytes) in due {
            assert_eq!(model.pending.remove(&key).map(|item| item.bytes), Some(bytes));
            model.out.push(key);
        }
        model.w = w;
        self.write_note(Note::Mark(Mark { w, released, expired, clock_ms: self.now_ms }), model);
    }

    fn waiting_in_runs(&self) -> impl Iterator<Item = (Key, u32)> + '_ {
        let state = &self.state;
        let runs = self.files.runs.iter();
        let waiting = runs.filter(|(key, _)| *key > state.w() && !state.is_cancelled(key.ticket));
        waiting.map(|(key, record)| (*key, record.len() as u32))
    }

    /// The sealer: everything below the seal is durable, and its manifest is.
    fn seal(&mut self) {
        let Some(sealing) = self.state.sealing().cloned() else { return };
        for slot in sealing.window.sorted() {
            let place = (sealing.window.base(), slot.position);
            self.files.runs.push((slot.key, self.files.journal[&place].clone()));
        }
        self.manifest = sealing.at.clone();
        let below = self.journal.iter().take_while(|batch| batch.segment < sealing.at.below);
        self.durable = self.durable.max(below.count());
        self.state.adopt(sealing.at.below);
    }

    /// Loses what is not durable, and builds the machine anew.
    fn crash(&mut self, at: &Index) {
        let lost = at.index(self.journal.len() - self.durable + 1);
        self.journal.truncate(self.journal.len() - lost);
        self.durable = self.journal.len();
        self.state = State::at(self.manifest.clone());
        for batch in self.journal.iter().filter(|batch| batch.segment >= self.manifest.below) {
            self.state.roll(batch.segment);
            self.state.replay(&batch.header, &batch.records, batch.position).unwrap();
        }
        let last = self.journal.last();
        self.model = last.map(|batch| batch.model.clone()).unwrap_or_default();
        self.next = last.map_or(0, |batch| batch.header.last_offset() + 1);
        self.segment = self.next;
        self.position = 0;
    }

    fn compare(&mut self) {
        self.state.check().unwrap();
        assert_eq!(self.state.w(), self.model.w);
        let bytes = self.model.pending.values().map(|item| u64::from(item.bytes)).sum();
        let records = self.model.pending.len() as u64;
        assert_eq!(self.state.pending(), Totals { records, bytes });
        let mut waiting: Vec<Key> = self.waiting_in_runs().map(|(key, _)| key).collect();
        waiting.extend(self.state.after(Key::MIN).map(|(_, slot)| slot.key));
        waiting.sort_unstable();
        assert_eq!(waiting, self.model.pending.keys().copied().collect::<Vec<_>>());
        for (source, offset) in (0..2).flat_map(|source| (0..6).map(move |at| (source, at))) {
            let is_known = self.state.copies().contains(&origin(source, offset));
            assert_eq!(is_known, self.model.copied.contains(&(source, offset)));
        }
        let first = self.state.after(Key::MIN).peek();
        assert_eq!(self.state.first(), first);
    }

    fn drain(&mut self) {
        self.now_ms += 1_000;
        while !self.model.pending.is_empty() {
            self.release(7, false);
            self.compare();
        }
        let model = &self.model;
        assert!(model.out.is_sorted_by(|a, b| a < b), "{:?}", model.out);
        let mut all: Vec<i64> = model.out.iter().map(|key| key.ticket).collect();
        all.extend(&model.cancelled);
        all.sort_unstable();
        assert_eq!(all, model.put);
    }
}

fn origin(source: u8, offset: i64) -> Origin {
    let tp = TopicPartition::new(Uuid::from_u128(source.into()), 0);
    Origin { maker: Maker::Nack("group".into()), tp, offset }
}

impl Send {
    fn headers(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Put { delay_ms, id, replace, .. } => {
                let mut headers = vec![(headers::DELAY, delay_ms.to_string())];
                headers.extend(id.map(|id| (headers::ID, char::from(id).to_string())));
                headers.extend(replace.then(|| (headers::REPLACE, "true".to_owned())));
                headers
            }
            Self::CancelId(id) => vec![(headers::CANCEL, char::from(*id).to_string())],
            Self::CancelOffset(ticket) => vec![(headers::CANCEL, format!("@{ticket}"))],
            Self::CancelTicket(_) => unreachable!("resolved before"),
        }
    }

    fn content(&self) -> Option<[u8; 20]> {
        if let Self::Put { content, .. } = self { Some([*content; 20]) } else { None }
    }

    fn what(&self, now_ms: i64) -> What<'_> {
        match self {
            Self::Put { delay_ms, id, replace, .. } => What::Put {
                due_ms: now_ms + delay_ms,
                id: id.as_ref().map(std::slice::from_ref),
                replace: *replace,
            },
            Self::CancelId(id) => What::CancelId { id: std::slice::from_ref(id), strict: false },
            Self::CancelOffset(ticket) => What::CancelTicket { ticket: *ticket, strict: false },
            Self::CancelTicket(_) => unreachable!("resolved before"),
        }
    }

    fn put(&self, now_ms: i64, position: u32, bytes: u32) -> Option<Put> {
        let Self::Put { delay_ms, id, .. } = self else { return None };
        Some(Put {
            due_ms: now_ms + delay_ms,
            accepted_ms: now_ms,
            base_timestamp_ms: 77,
            expires_at_ms: i64::MAX,
            position,
            bytes,
            id_hash: id.map(|id| hash64(&[id])),
        })
    }
}

impl Model {
    /// What a record does, as [`kind`] says it; nothing if its batch is to be refused.
    fn take(&mut self, send: &Send, ticket: i64, now_ms: i64, bytes: u32) -> Option<&'static str> {
        match send {
            Send::Put { delay_ms, id, replace, content } => {
                let key = Key::new((now_ms + delay_ms).max(self.w.due_ms), ticket);
                let item = Item { id: *id, content: (*content, *delay_ms, *replace), bytes };
                let target = id.and_then(|id| self.with_id(id));
                let done = match target {
                    None => "put",
                    Some(target) if *replace => {
                        self.cancel(target);
                        "replace"
                    }
                    Some(target) if self.pending[&target].content == item.content => {
                        return Some("same");
                    }
                    Some(_) => return None,
                };
                self.pending.insert(key, item);
                self.put.push(ticket);
                Some(done)
            }
            Send::CancelId(id) => Some(self.cancel_or_not(self.with_id(*id))),
            Send::CancelOffset(ticket) => Some(self.cancel_or_not(self.with_ticket(*ticket))),
            Send::CancelTicket(_) => unreachable!("resolved before"),
        }
    }

    fn cancel_or_not(&mut self, target: Option<Key>) -> &'static str {
        target.map_or("not cancelled", |key| {
            self.cancel(key);
            "cancelled"
        })
    }

    /// The lengths that the records of the batch at `base` have in the journal.
    fn measure(&mut self, base: i64, pieces: &[usize]) {
        for (key, item) in &mut self.pending {
            if let Some(bytes) =
                usize::try_from(key.ticket - base).ok().and_then(|at| pieces.get(at))
            {
                item.bytes = *bytes as u32;
            }
        }
    }
}

/// A decision without its target.
fn kind(decision: Decision) -> &'static str {
    match decision {
        Decision::Put => "put",
        Decision::Replace(_) => "replace",
        Decision::Same => "same",
        Decision::Cancelled(_) => "cancelled",
        Decision::TooLate | Decision::Unknown => "not cancelled",
        Decision::Nacked => "nacked",
    }
}

/// Records with their length fields.
fn pieces(records: &[u8]) -> Vec<&[u8]> {
    let mut rest = records;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let bytes = crate::delay::replay::record_bytes(rest).unwrap();
        let (piece, behind) = rest.split_at(bytes);
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

fn pieces_of(records: &[u8]) -> Vec<usize> {
    pieces(records).iter().map(|piece| piece.len()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn all_is_released_once_in_order_or_cancelled(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut bed = Bed::new();
        steps.iter().for_each(|step| bed.run(step));
        bed.drain();
    }
}
