//! A checkpoint: how far a store's chains had come at a moment, signed, to be kept where the store is not.
//!
//! What is signed are bytes of one form only ([`Checkpoint::signed_bytes`]); the file that people keep is JSON with the
//! same in words, and the signature.

use super::bytes::{put_bytes, put_i64, put_u64, put_varint};
use super::header::hex;
use crate::id::{Seq, TenantId};
use crate::record::Timestamp;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde_json::{Map, Value};

/// How the signed bytes begin, so that no signature of something else is one of a checkpoint.
pub const CHECKPOINT_MAGIC: [u8; 8] = *b"DURACHKP";
/// The version of checkpoints that this code writes, and the only one that it reads.
pub const CHECKPOINT_VERSION: u64 = 1;
/// Largest file of a checkpoint that is read, in bytes: room for some 100,000 tenants.
pub const CHECKPOINT_BYTES_MAX: u64 = 64 << 20;

/// How far a store had come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// When it was taken, by the clock of the machine.
    pub at: Timestamp,
    /// How far `control.log` had come; missing where there was none.
    pub control: Option<ControlAt>,
    /// Tenants, by name.
    pub tenants: Vec<TenantAt>,
}

/// A place of `control.log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlAt {
    /// Number of the last frame.
    pub frames: u64,
    /// Its hash.
    pub hash: [u8; 32],
}

/// How far a tenant had come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantAt {
    /// Which.
    pub tenant: TenantId,
    /// Number of the last entry of its chain.
    pub entry: u64,
    /// The chain's hash after that entry.
    pub head: [u8; 32],
    /// Every record up to and with this Seq was in a segment.
    pub sealed: Seq,
    /// The records behind those, that the log had; missing where it had none.
    pub tail: Option<TailAt>,
}

/// Records of a log that were durable and not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailAt {
    /// Seq of the last one; the first one's is that behind the sealed ones.
    pub last: Seq,
    /// BLAKE3 of their canonical bytes, taken as one batch.
    pub leaf: [u8; 32],
}

/// A checkpoint with its signature, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// What was signed.
    pub checkpoint: Checkpoint,
    /// The key that it says it was signed with. Whether that is a key to be trusted is for the reader to know.
    pub public_key: [u8; 32],
    /// The signature of [`Checkpoint::signed_bytes`].
    pub signature: [u8; 64],
}

/// Why a text is no checkpoint, or its signature does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCheckpoint {
    /// Not what the format says.
    #[error("no checkpoint: {expected} was expected, and there is {found}")]
    Form {
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// It was signed with another key than the one that is trusted.
    #[error("signed with key {found}, and not with {expected}")]
    OtherKey {
        /// The trusted key, in hexadecimal.
        expected: String,
        /// The key that it names.
        found: String,
    },
    /// The signature is not that of these bytes by this key.
    #[error("the signature does not hold")]
    Signature,
}

/// A key that checkpoints are signed with.
pub struct CheckpointKey {
    key: SigningKey,
}

impl CheckpointKey {
    /// A key from 32 random bytes.
    pub fn new(secret: &[u8; 32]) -> Self {
        CheckpointKey { key: SigningKey::from_bytes(secret) }
    }

    /// Reads the file of a key: 64 hexadecimal digits and a line feed.
    pub fn parse(text: &str) -> Result<Self, BadCheckpoint> {
        let secret = unhex::<32>(text.trim_end());
        let found = || format!("{} bytes", text.len());
        secret.map(|secret| CheckpointKey::new(&secret)).ok_or_else(|| form("a key of 64 hexadecimal digits", found()))
    }

    /// What may be known to everybody: with it a signature is checked.
    pub fn public(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    /// Signs a checkpoint.
    pub fn sign(&self, checkpoint: Checkpoint) -> SignedCheckpoint {
        let signature = self.key.sign(&checkpoint.signed_bytes()).to_bytes();
        SignedCheckpoint { checkpoint, public_key: self.public(), signature }
    }
}

fn form(expected: &'static str, found: impl ToString) -> BadCheckpoint {
    BadCheckpoint::Form { expected, found: found.to_string() }
}

/// Bytes from hexadecimal digits in lower case, exactly so many.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    let digit = |b: u8| (b as char).to_digit(16).filter(|_| !b.is_ascii_uppercase());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        *byte = (digit(*high)? << 4 | digit(*low)?) as u8;
    }
    Some(out)
}

impl Checkpoint {
    /// The bytes that are signed.
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut out = CHECKPOINT_MAGIC.to_vec();
        put_varint(&mut out, CHECKPOINT_VERSION);
        put_i64(&mut out, self.at.0);
        match &self.control {
            None => out.push(0),
            Some(control) => {
                out.push(1);
                put_u64(&mut out, control.frames);
                out.extend_from_slice(&control.hash);
            }
        }
        put_varint(&mut out, self.tenants.len() as u64);
        for t in &self.tenants {
            put_bytes(&mut out, t.tenant.as_str().as_bytes());
            put_u64(&mut out, t.entry);
            out.extend_from_slice(&t.head);
            put_u64(&mut out, t.sealed.0);
            match &t.tail {
                None => out.push(0),
                Some(tail) => {
                    out.push(1);
                    put_u64(&mut out, tail.last.0);
                    out.extend_from_slice(&tail.leaf);
                }
            }
        }
        out
    }
}

impl SignedCheckpoint {
    /// Checks the signature, and that it is by `trusted` where that is given.
    pub fn check(&self, trusted: Option<&[u8; 32]>) -> Result<(), BadCheckpoint> {
        if let Some(trusted) = trusted.filter(|key| **key != self.public_key) {
            return Err(BadCheckpoint::OtherKey { expected: hex(trusted), found: hex(&self.public_key) });
        }
        let key = VerifyingKey::from_bytes(&self.public_key).map_err(|_| BadCheckpoint::Signature)?;
        let signature = Signature::from_bytes(&self.signature);
        key.verify_strict(&self.checkpoint.signed_bytes(), &signature).map_err(|_| BadCheckpoint::Signature)
    }

    /// The file's text: a JSON object and a line feed.
    pub fn to_json(&self) -> String {
        let Checkpoint { at, control, tenants } = &self.checkpoint;
        let tenants: Vec<Value> = tenants.iter().map(tenant_to_json).collect();
        let control = control.map(|c| serde_json::json!({ "frames": c.frames, "hash": hex(&c.hash) }));
        let all = serde_json::json!({
            "duramen_checkpoint": CHECKPOINT_VERSION,
            "at": at.to_string(),
            "at_ns": at.0,
            "control": control,
            "tenants": tenants,
            "public_key": hex(&self.public_key),
            "signature": hex(&self.signature),
        });
        format!("{all}\n")
    }

    /// Reads the file's text. The signature is not checked by this.
    pub fn parse(text: &str) -> Result<Self, BadCheckpoint> {
        let value: Value = serde_json::from_str(text).map_err(|e| form("a JSON object", e))?;
        let all = object(&value)?;
        let version = number(all, "duramen_checkpoint")?;
        if version != CHECKPOINT_VERSION {
            return Err(form("a checkpoint of version 1", version));
        }
        let at = all.get("at_ns").and_then(Value::as_i64).map(Timestamp);
        let at = at.ok_or_else(|| form("the time in `at_ns`", "none"))?;
        // For people, and not signed: so it must say the same.
        if all.get("at").and_then(Value::as_str) != Some(&*at.to_string()) {
            return Err(form("the same time in `at` as in `at_ns`", all.get("at").unwrap_or(&Value::Null)));
        }
        let control = match all.get("control") {
            None | Some(Value::Null) => None,
            Some(control) => {
                let control = object(control)?;
                Some(ControlAt { frames: number(control, "frames")?, hash: hash(control, "hash")? })
            }
        };
        let tenants = all.get("tenants").and_then(Value::as_array);
        let tenants = tenants.ok_or_else(|| form("a list in `tenants`", "none"))?;
        let tenants = tenants.iter().map(tenant_from_json).collect::<Result<Vec<_>, _>>()?;
        let checkpoint = Checkpoint { at, control, tenants };
        Ok(SignedCheckpoint { checkpoint, public_key: hash(all, "public_key")?, signature: hash(all, "signature")? })
    }
}

fn tenant_to_json(t: &TenantAt) -> Value {
    let tail = t.tail.map(|tail| serde_json::json!({ "last": tail.last.0, "leaf": hex(&tail.leaf) }));
    serde_json::json!({
        "tenant": t.tenant.as_str(),
        "entry": t.entry,
        "head": hex(&t.head),
        "sealed": t.sealed.0,
        "tail": tail,
    })
}

fn tenant_from_json(value: &Value) -> Result<TenantAt, BadCheckpoint> {
    let t = object(value)?;
    let name = t.get("tenant").and_then(Value::as_str).and_then(|name| TenantId::new(name).ok());
    let tenant = name.ok_or_else(|| form("a tenant's name", value))?;
    let tail = match t.get("tail") {
        None | Some(Value::Null) => None,
        Some(tail) => {
            let tail = object(tail)?;
            Some(TailAt { last: Seq(number(tail, "last")?), leaf: hash(tail, "leaf")? })
        }
    };
    let sealed = Seq(number(t, "sealed")?);
    Ok(TenantAt { tenant, entry: number(t, "entry")?, head: hash(t, "head")?, sealed, tail })
}

fn object(value: &Value) -> Result<&Map<String, Value>, BadCheckpoint> {
    value.as_object().ok_or_else(|| form("an object", value))
}

fn number(object: &Map<String, Value>, name: &'static str) -> Result<u64, BadCheckpoint> {
    let value = object.get(name);
    value.and_then(Value::as_u64).ok_or_else(|| form(name, value.unwrap_or(&Value::Null)))
}

fn hash<const N: usize>(object: &Map<String, Value>, name: &'static str) -> Result<[u8; N], BadCheckpoint> {
    let value = object.get(name);
    value.and_then(Value::as_str).and_then(unhex).ok_or_else(|| form(name, value.unwrap_or(&Value::Null)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            at: Timestamp(1_700_000_000_000_000_000),
            control: Some(ControlAt { frames: 2, hash: [1; 32] }),
            tenants: vec![
                TenantAt {
                    tenant: TenantId::new("acme").unwrap(),
                    entry: 3,
                    head: [2; 32],
                    sealed: Seq(40),
                    tail: Some(TailAt { last: Seq(42), leaf: [3; 32] }),
                },
                TenantAt { tenant: TenantId::new("b").unwrap(), entry: 1, head: [4; 32], sealed: Seq(0), tail: None },
            ],
        }
    }

    #[test]
    fn what_is_signed_comes_back_and_holds() {
        let key = CheckpointKey::new(&[7; 32]);
        let signed = key.sign(checkpoint());
        let again = SignedCheckpoint::parse(&signed.to_json()).expect("it reads back");
        assert_eq!(again, signed);
        assert_eq!(again.check(Some(&key.public())), Ok(()));
        let other = CheckpointKey::new(&[8; 32]).public();
        assert!(matches!(again.check(Some(&other)), Err(BadCheckpoint::OtherKey { .. })));
    }

    #[test]
    fn nothing_of_it_can_be_changed() {
        let key = CheckpointKey::new(&[7; 32]);
        let text = key.sign(checkpoint()).to_json();
        let mut changed = 0;
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(text) = String::from_utf8(bytes) else { continue };
            let Ok(read) = SignedCheckpoint::parse(&text) else { continue };
            if read != key.sign(checkpoint()) {
                assert!(read.check(Some(&key.public())).is_err(), "byte {at}: {text}");
                changed += 1;
            }
        }
        assert!(changed > 300, "{changed}");
    }
}
