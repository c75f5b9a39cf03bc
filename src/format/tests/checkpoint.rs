//! The example of a checkpoint: what is signed, and the signature that follows from the key.

use super::check;
use crate::format::checkpoint::{Checkpoint, CheckpointKey, ControlAt, TailAt, TenantAt};
use crate::id::{Seq, TenantId};
use crate::record::Timestamp;

#[test]
fn the_document_shows_a_checkpoint() {
    let tenant = TenantId::new("acme").expect("a name");
    let tail = Some(TailAt { last: Seq(42), leaf: *blake3::hash(b"two records").as_bytes() });
    let acme = TenantAt { tenant, entry: 2, head: [2; 32], sealed: Seq(40), tail };
    let checkpoint = Checkpoint {
        at: Timestamp(1_700_000_000_000_000_000),
        control: Some(ControlAt { frames: 1, hash: [1; 32] }),
        tenants: vec![acme],
    };
    check("checkpoint", &checkpoint.signed_bytes());
    // The key of RFC 8032, section 7.1, test 1.
    let secret = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60\n";
    let signed = CheckpointKey::parse(secret).expect("a key").sign(checkpoint);
    check("checkpoint-key", &signed.public_key);
    check("checkpoint-signature", &signed.signature);
    assert_eq!(signed.check(None), Ok(()));
}
