//! Quotas, and how much room a disk must have.

/// How much a tenant may hold and send. What is missing is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Bytes of segments and logs.
    pub bytes: Option<u64>,
    /// Records.
    pub records: Option<u64>,
    /// Bytes of records in a day (UTC), before they are packed.
    pub ingest_bytes_per_day: Option<u64>,
}

/// What a tenant holds and has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of segments and memtables.
    pub bytes: u64,
    /// Records.
    pub records: u64,
    /// Bytes of records that came today (UTC), before they are packed.
    pub ingest_bytes_today: u64,
}

/// A quota that is used up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the quota `{quota}` of tenant `{tenant}` is used up: {used} of {limit} {unit}, and {asked} more were sent")]
pub struct QuotaError {
    /// Whose.
    pub tenant: String,
    /// Which: `bytes`, `records` or `ingest_bytes_per_day`.
    pub quota: &'static str,
    /// How much it is.
    pub limit: u64,
    /// How much of it is used.
    pub used: u64,
    /// How much was sent.
    pub asked: u64,
    /// Bytes or records.
    pub unit: &'static str,
}

impl Quota {
    /// These, and others where there is none.
    pub(super) fn or(self, other: &Quota) -> Quota {
        Quota {
            bytes: self.bytes.or(other.bytes),
            records: self.records.or(other.records),
            ingest_bytes_per_day: self.ingest_bytes_per_day.or(other.ingest_bytes_per_day),
        }
    }

    /// Is anything limited?
    pub fn is_any(&self) -> bool {
        *self != Quota::default()
    }

    /// May so many bytes and records be taken in? A batch that fits in part does not fit.
    pub fn admit(&self, tenant: &str, usage: &Usage, bytes: u64, records: u64) -> Result<(), QuotaError> {
        let all = [
            ("bytes", self.bytes, usage.bytes, bytes, "bytes"),
            ("records", self.records, usage.records, records, "records"),
            ("ingest_bytes_per_day", self.ingest_bytes_per_day, usage.ingest_bytes_today, bytes, "bytes"),
        ];
        for (quota, limit, used, asked, unit) in all {
            if let Some(limit) = limit
                && used.saturating_add(asked) > limit
            {
                return Err(QuotaError { tenant: tenant.to_string(), quota, limit, used, asked, unit });
            }
        }
        Ok(())
    }
}

/// How much room a disk must have. Where a limit is not given it is the less of a fixed one and a share of the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Below so many free bytes, what rules let go early goes; by default [`LOW_BYTES`] or 5 % of the disk.
    pub low_bytes: Option<u64>,
    /// Below so many free bytes, no records are taken; by default [`REFUSE_BYTES`] or 1 % of the disk.
    pub refuse_bytes: Option<u64>,
}

/// Free bytes below which a disk has little room, unless rules say otherwise: some hours of logs.
pub const LOW_BYTES: u64 = 1 << 30;
/// Free bytes below which nothing is taken, unless rules say otherwise: a full memtable can still be sealed.
pub const REFUSE_BYTES: u64 = 64 << 20;

/// How much room there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum SpaceLevel {
    /// Enough.
    #[default]
    Enough,
    /// Little: what rules let go early goes.
    Low,
    /// Too little: no records are taken.
    Refuse,
}

impl std::fmt::Display for SpaceLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            SpaceLevel::Enough => "enough",
            SpaceLevel::Low => "low",
            SpaceLevel::Refuse => "refuse",
        })
    }
}

impl Space {
    /// The limit below which no records are taken, on a disk of so many bytes.
    pub fn refuse_below(&self, total: u64) -> u64 {
        self.refuse_bytes.unwrap_or_else(|| REFUSE_BYTES.min(total / 100))
    }

    /// The limit below which there is little room, on a disk of so many bytes; not below the other.
    pub fn low_below(&self, total: u64) -> u64 {
        let low = self.low_bytes.unwrap_or_else(|| LOW_BYTES.min(total / 20));
        low.max(self.refuse_below(total))
    }

    /// How much room so many free bytes are.
    pub fn level(&self, total: u64, free: u64) -> SpaceLevel {
        match () {
            () if free < self.refuse_below(total) => SpaceLevel::Refuse,
            () if free < self.low_below(total) => SpaceLevel::Low,
            () => SpaceLevel::Enough,
        }
    }
}
