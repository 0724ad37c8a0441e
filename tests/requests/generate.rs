//! Request bodies made from the schema tables: every field of the version present, with values
//! that are not its defaults wherever there is a choice.

use klamm::wire::schema::{Api, Element, ElementKind, Field, Kind};

/// SplitMix64: small, seedable, good enough for tests.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.roll() % limit as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// The body of a valid request.
pub fn body(api: &Api, version: i16, dice: &mut Dice) -> Vec<u8> {
    let mut maker = Maker { out: Vec::new(), version, flexible: api.is_flexible(version), dice };
    maker.fields(api.fields);
    maker.out
}

/// A whole frame without its size: header and body.
#[allow(dead_code, reason = "the fuzz seeds take frames, the schema tests bodies")]
pub fn frame(api: &Api, version: i16, dice: &mut Dice) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend_from_slice(&api.key.to_be_bytes());
    frame.extend_from_slice(&version.to_be_bytes());
    frame.extend_from_slice(&[0, 0, 0, 7, 0, 2, b'm', b'e']);
    if api.is_flexible(version) {
        frame.push(0);
    }
    frame.extend(body(api, version, dice));
    frame
}

struct Maker<'a> {
    out: Vec<u8>,
    version: i16,
    flexible: bool,
    dice: &'a mut Dice,
}

impl Maker<'_> {
    fn fields(&mut self, fields: &[Field]) {
        let version = self.version;
        for field in fields.iter().filter(|f| f.is_plain(version)) {
            self.field(field, field.may_be_null(version));
        }
        if self.flexible {
            self.tags(fields);
        }
    }

    fn field(&mut self, field: &Field, nullable: bool) {
        let null = nullable && self.dice.one_in(4);
        match &field.kind {
            Kind::Fixed(bytes) => self.fixed(*bytes),
            Kind::String => self.string(null),
            Kind::Bytes if null => self.length(None),
            Kind::Bytes => {
                let bytes = self.dice.below(40);
                self.length(Some(bytes));
                (0..bytes).for_each(|_| self.fixed(1));
            }
            Kind::Array(_) if null => self.length(None),
            Kind::Array(element) => self.array(element),
            Kind::Struct(_) if null => self.out.push(0xff),
            Kind::Struct(fields) => {
                if nullable {
                    self.out.push(1);
                }
                self.fields(fields);
            }
        }
    }

    /// Single bytes are 0 or 1, since they may be bools.
    fn fixed(&mut self, bytes: usize) {
        for _ in 0..bytes {
            let value = self.dice.roll() as u8;
            self.out.push(if bytes == 1 { value & 1 } else { value });
        }
    }

    fn string(&mut self, null: bool) {
        let bytes = self.dice.below(13);
        match (self.flexible, null) {
            (true, true) => self.uvarint(0),
            (true, false) => self.uvarint(bytes + 1),
            (false, true) => self.out.extend_from_slice(&[0xff, 0xff]),
            (false, false) => self.out.extend_from_slice(&(bytes as i16).to_be_bytes()),
        }
        if !null {
            self.out.extend((0..bytes).map(|_| b'a' + self.dice.below(26) as u8));
        }
    }

    fn array(&mut self, element: &Element) {
        let count = if self.dice.one_in(16) { self.dice.below(60) } else { self.dice.below(4) };
        self.length(Some(count));
        for _ in 0..count {
            match &element.kind {
                ElementKind::Fixed(bytes) => self.fixed(*bytes),
                ElementKind::String => self.string(false),
                ElementKind::Struct(fields) => self.fields(fields),
            }
        }
    }

    /// Known tags in their order, then unknown ones: the order in which they are encoded again.
    fn tags(&mut self, fields: &[Field]) {
        let version = self.version;
        let mut known: Vec<(u32, &Field)> = fields
            .iter()
            .filter(|field| field.exists(version))
            .filter_map(|field| field.tag.map(|tag| (tag, field)))
            .filter(|_| self.dice.one_in(2))
            .collect();
        known.sort_by_key(|(tag, _)| *tag);
        let unknown = if self.dice.one_in(3) { self.dice.below(3) } else { 0 };
        self.uvarint(known.len() + unknown);
        for (tag, field) in known {
            let before = std::mem::take(&mut self.out);
            self.field(field, false); // null is the default, and defaults are not encoded
            let value = std::mem::replace(&mut self.out, before);
            self.tag(tag as usize, &value);
        }
        for number in 0..unknown {
            let value = vec![0xaa; self.dice.below(9)];
            self.tag(100 + number, &value);
        }
    }

    fn tag(&mut self, tag: usize, value: &[u8]) {
        self.uvarint(tag);
        self.uvarint(value.len());
        self.out.extend_from_slice(value);
    }

    fn length(&mut self, length: Option<usize>) {
        match (self.flexible, length) {
            (true, length) => self.uvarint(length.map_or(0, |l| l + 1)),
            (false, Some(length)) => self.out.extend_from_slice(&(length as i32).to_be_bytes()),
            (false, None) => self.out.extend_from_slice(&[0xff; 4]),
        }
    }

    fn uvarint(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }
}
