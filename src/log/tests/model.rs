//! Random lives of a log against the simplest thing that can be right: a list of batches.

use proptest::prelude::*;

use super::kit::*;
use crate::log::recover::OpenHint;
use crate::log::settings::LogSettings;

#[derive(Clone, Debug)]
enum Do {
    /// So many records of so many bytes, by the producer or by nobody.
    Append {
        records: usize,
        bytes: usize,
        signed: bool,
    },
    /// The journal takes so many offsets.
    Elsewhere(i64),
    /// The producer's last batch again.
    Retry,
    /// Up to this share, in percent, of what there is.
    DeleteRecords(i64),
    Retain,
    Restart,
    /// The end of the process, everything written is there, with the last checkpoint known.
    Crash,
    Checkpoint,
    /// As a crash, and so many bytes of the last segment's unsynced end are gone.
    Cut(usize),
}

fn any_step() -> impl Strategy<Value = Do> {
    prop_oneof![
        8 => (1..4_usize, 0..900_usize, any::<bool>())
            .prop_map(|(records, bytes, signed)| Do::Append { records, bytes, signed }),
        2 => (1..40_i64).prop_map(Do::Elsewhere),
        2 => Just(Do::Retry),
        1 => (0..=100_i64).prop_map(Do::DeleteRecords),
        1 => Just(Do::Retain),
        1 => Just(Do::Restart),
        1 => Just(Do::Crash),
        1 => Just(Do::Checkpoint),
        1 => (0..3_000_usize).prop_map(Do::Cut),
    ]
}

/// What the log should be.
#[derive(Default)]
struct Model {
    /// First and last offset of every batch ever kept.
    batches: Vec<(i64, i64)>,
    end: i64,
    /// How far the journal has come.
    floor: i64,
    log_start: i64,
    /// The producer's next sequence, and its last batch.
    sequence: i32,
    last: Option<(Batch, i64)>,
    hint: OpenHint,
}

impl Model {
    fn check(&self, rig: &Rig) {
        let view = rig.view();
        assert_eq!((view.log_start(), view.log_end()), (self.log_start, self.next_offset()));
        assert_eq!(view.high_watermark(), self.end);
        assert!(view.log_start() <= view.high_watermark());
        let expected: Vec<(i64, i64)> =
            self.batches.iter().copied().filter(|batch| batch.1 >= self.log_start).collect();
        for max_bytes in [1, 1_500] {
            assert_eq!(rig.read_on(self.log_start, max_bytes), expected);
        }
        rig.log.producers().check();
    }

    fn hint(&self) -> OpenHint {
        OpenHint { log_start: self.log_start, ..self.hint.clone() }
    }

    fn next_offset(&self) -> i64 {
        self.end.max(self.floor)
    }

    fn append(&mut self, rig: &mut Rig, records: usize, bytes: usize, signed: bool) {
        let mut batch = Batch::of(records, bytes, NOW_MS);
        if signed {
            batch = batch.from(7, 0, self.sequence);
            self.sequence += i32::try_from(records).unwrap();
            self.last = Some((batch.clone(), self.next_offset()));
        }
        let appended = rig.publish(&batch);
        let base_offset = self.next_offset();
        let last_offset = base_offset + records as i64 - 1;
        assert_eq!((appended.base_offset, appended.last_offset), (base_offset, last_offset));
        self.batches.push((base_offset, last_offset));
        self.end = last_offset + 1;
    }

    /// What lies beyond the new end never was; its producer starts anew.
    fn cut(&mut self, end: i64) {
        assert!(end >= self.hint.recovery_point, "what was synced is never cut");
        self.batches.retain(|batch| batch.1 < end);
        self.end = end;
        if self.last.as_ref().is_some_and(|(_, offset)| *offset >= end) {
            self.last = None;
        }
    }
}

/// Unsynced bytes of the last segment that a cut may take.
fn cut_tail(rig: &Rig, bytes: usize, recovery_point: i64) -> crate::store::memory::MemoryFiles {
    let files = rig.files.snapshot();
    let segments = rig.view().segments.load_full();
    let Some(last) = segments.last().filter(|last| last.base_offset() >= recovery_point) else {
        return files;
    };
    let log = path(&format!("{:020}.log", last.base_offset()));
    let mut content = files.read(&log).unwrap();
    content.truncate(content.len().saturating_sub(bytes));
    files.put(&log, content);
    files
}

/// As the owner makes one now and then, and after every recovery before it serves.
fn checkpoint(rig: &mut Rig, model: &mut Model) {
    let (checkpoint, work) = rig.log.checkpoint().unwrap();
    work.run(&rig.files).unwrap();
    model.hint.recovery_point = checkpoint.recovery_point;
    model.hint.producers = checkpoint.producers;
    rig.view().note_checkpoint(checkpoint.recovery_point);
}

fn step(rig: Rig, model: &mut Model, step: &Do) -> Rig {
    let mut rig = rig;
    match step {
        Do::Append { records, bytes, signed } => model.append(&mut rig, *records, *bytes, *signed),
        Do::Elsewhere(count) => {
            model.floor = model.next_offset() + count;
            rig.log.set_floor(model.floor);
        }
        Do::Retry => {
            if let Some((batch, offset)) = &model.last {
                let retry = rig.append(batch);
                assert!(retry.duplicate);
                assert_eq!(retry.base_offset, *offset);
            }
        }
        Do::DeleteRecords(percent) => {
            let before = model.log_start + (model.end - model.log_start) * percent / 100;
            model.log_start = rig.log.delete_records(before).unwrap();
            assert_eq!(model.log_start, before);
        }
        Do::Retain => {
            for gone in rig.log.retain(NOW_MS).unwrap() {
                assert!(gone.base_offset < rig.view().log_start());
            }
            assert!(rig.view().log_start() >= model.log_start);
            model.log_start = rig.view().log_start();
        }
        Do::Restart => {
            rig = rig.restart();
            model.hint = OpenHint { recovery_point: model.end, ..OpenHint::default() };
            model.hint.producers = rig.log.producers().to_checkpoint();
            rig.view().note_checkpoint(model.end);
        }
        Do::Checkpoint => checkpoint(&mut rig, model),
        Do::Crash => {
            rig = rig.crash(model.hint());
            checkpoint(&mut rig, model);
        }
        Do::Cut(bytes) => {
            let files = cut_tail(&rig, *bytes, model.hint.recovery_point);
            let epoch = rig.view().leader_epoch() + 1;
            let old_end = model.end;
            rig = Rig::open_in(epoch, &files, rig.log.settings().clone(), model.hint());
            let end = rig.log.end().offset;
            assert!(end <= old_end);
            model.cut(end);
            model.end = end.max(model.log_start);
            // What the producer lost it would send again; here it is another producer's turn.
            if end < old_end {
                model.sequence = rig.log.producers().get(7).map_or(0, |p| p.last_sequence() + 1);
            }
            checkpoint(&mut rig, model);
        }
    }
    rig.log.set_floor(model.floor);
    rig.show_all();
    rig
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_log_is_a_list_of_batches(steps in proptest::collection::vec(any_step(), 1..60)) {
        let settings = LogSettings { retention_bytes: 5_000, ..small_segments() };
        let mut rig = Rig::new(settings);
        let mut model = Model::default();
        for one in &steps {
            rig = step(rig, &mut model, one);
            model.check(&rig);
        }
    }
}
