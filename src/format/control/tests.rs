use super::*;
use crate::id::TenantId;

fn header() -> ControlHeader {
    ControlHeader { salt: 0x1122_3344_5566_7788, created: Timestamp(1_700_000_000_000_000_000) }
}

fn events() -> Vec<Event> {
    let tenant = TenantId::new("acme-1").expect("a name");
    let token = TokenEntry {
        id: "tok_1".into(),
        hash: [7; 32],
        tenant: Some(tenant.clone()),
        roles: Roles::READ.and(Roles::WRITE),
        expires: Some(Timestamp(5)),
        cidr: "10.0.0.0/8".parse().ok(),
    };
    let system = TokenEntry {
        id: "tok_2".into(),
        hash: [0; 32],
        tenant: None,
        roles: Roles::ADMIN,
        expires: None,
        cidr: "fd00::/8".parse().ok(),
    };
    [
        EventKind::TenantCreated { tenant: tenant.clone() },
        EventKind::TenantSet { tenant: tenant.clone(), name: "retention".into(), value: Some("30d".into()) },
        EventKind::TokenCreated(token),
        EventKind::TokenCreated(system),
        EventKind::TenantSet { tenant: tenant.clone(), name: "note".into(), value: Some("x".repeat(1500).into()) },
        EventKind::TenantSet { tenant: tenant.clone(), name: "retention".into(), value: None },
        EventKind::TokenRevoked { id: "tok_1".into() },
        EventKind::KeyChanged { tenant: tenant.clone(), change: KeyChange::Encrypted, generation: 1 },
        EventKind::KeyChanged { tenant: tenant.clone(), change: KeyChange::Rotated, generation: 300 },
        EventKind::KeyChanged {
            tenant: tenant.clone(),
            change: KeyChange::Master { id: "00ff".into() },
            generation: 2,
        },
        EventKind::TenantDeleted { tenant },
    ]
    .into_iter()
    .zip(1..)
    .map(|(kind, at)| Event { at: Timestamp(at * 1_000_000_007), kind })
    .collect()
}

/// A log of these events, and where each frame ends.
fn log(events: &[Event]) -> (Vec<u8>, Vec<usize>) {
    let header = header();
    let mut bytes = header.encode().to_vec();
    let mut head = header.start();
    let mut ends = vec![bytes.len()];
    for event in events {
        head = encode_frame(&header, &head, event, &mut bytes);
        assert_eq!(head.bytes, bytes.len() as u64);
        ends.push(bytes.len());
    }
    (bytes, ends)
}

#[test]
fn reads_what_was_written() {
    let (bytes, _) = log(&events());
    let contents = decode(&bytes).expect("a whole log");
    assert_eq!((contents.header, contents.events, contents.torn), (header(), events(), None));
    assert_eq!((contents.head.frames, contents.head.bytes), (11, bytes.len() as u64));
}

#[test]
fn every_flipped_bit_is_damage_and_never_a_torn_write() {
    let (bytes, _) = log(&events());
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&bad).is_err(), "bit {bit}");
    }
    for at in 0..bytes.len() {
        for other in [0, 0xff, bytes[at].wrapping_add(1)] {
            let mut bad = bytes.clone();
            bad[at] = other;
            assert!(other == bytes[at] || decode(&bad).is_err(), "byte {at} as {other}");
        }
    }
}

#[test]
fn a_log_cut_anywhere_keeps_its_whole_frames() {
    let (bytes, ends) = log(&events());
    for n in 0..bytes.len() {
        match decode(&bytes[..n]) {
            Err(_) => assert!(n < CONTROL_HEADER_BYTES, "{n}"),
            Ok(contents) => {
                let whole = ends.iter().filter(|&&end| end <= n).count() - 1;
                assert_eq!(contents.events, events()[..whole], "{n}");
                assert_eq!(contents.torn.is_some(), !ends.contains(&n), "{n}");
            }
        }
    }
}

#[test]
fn a_sector_that_was_never_written_is_torn_at_the_end_and_damage_before() {
    let all = events();
    // The last frame is the long one, which spans several sectors.
    let (bytes, ends) = log(&all[..5]);
    let last = ends[4];
    let mut from = last;
    while from < bytes.len() {
        let to = (from + SECTOR_BYTES - from % SECTOR_BYTES).min(bytes.len());
        let mut bad = bytes.clone();
        bad[from..to].fill(0);
        let contents = decode(&bad).expect("a torn tail");
        assert_eq!(contents.torn.map(|t| t.offset), Some(last as u64), "{from}..{to}");
        let (mut longer, _) = log(&all);
        longer[from..to].fill(0);
        assert!(decode(&longer).is_err(), "{from}..{to} of a longer log");
        from = to;
    }
}

#[test]
fn a_frame_whose_end_was_not_written_is_torn() {
    let all = events();
    for count in 1..all.len() {
        let (bytes, ends) = log(&all[..count]);
        let last = ends[count - 1];
        for from in last + 1..bytes.len() - 1 {
            let mut bad = bytes.clone();
            bad[from..].fill(0);
            let contents = decode(&bad).expect("a torn tail");
            assert_eq!(contents.torn.map(|t| t.offset), Some(last as u64), "{count} frames, zeros from {from}");
            let (mut longer, _) = log(&all[..count + 1]);
            longer[from..bytes.len()].fill(0);
            assert!(decode(&longer).is_err(), "{count} frames and one more, zeros from {from}");
        }
    }
}

#[test]
fn frames_left_out_moved_or_of_another_log_are_damage() {
    let (bytes, ends) = log(&events());
    let frame = |i: usize| bytes[ends[i]..ends[i + 1]].to_vec();
    let build = |order: &[usize]| {
        let mut all = header().encode().to_vec();
        order.iter().for_each(|&i| all.extend(frame(i)));
        all
    };
    assert!(decode(&build(&[0, 1, 2])).is_ok());
    for order in [&[1][..], &[0, 2], &[0, 2, 1], &[0, 0], &[0, 1, 3, 2]] {
        assert!(decode(&build(order)).is_err(), "{order:?}");
    }
    let mut other = ControlHeader { salt: 1, ..header() }.encode().to_vec();
    other.extend(frame(0));
    assert!(decode(&other).is_err());
}

#[test]
fn no_bytes_panic() {
    let (bytes, ends) = log(&events());
    for seed in 0..2000u64 {
        let mut bad = bytes.clone();
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for _ in 0..8 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (state >> 33) as usize % bad.len();
            bad[at] = (state >> 20) as u8;
        }
        bad.truncate((state >> 17) as usize % bad.len());
        let _ = decode(&bad);
        let payload = &bad[bad.len().min(ends[0] + 56)..];
        let _ = Event::decode(payload);
    }
}

#[test]
fn address_ranges() {
    let has = |range: &str, address: &str| {
        range.parse::<Cidr>().map(|r| r.contains(address.parse().expect("an address"))).expect("a range")
    };
    assert!(has("10.0.0.0/8", "10.255.0.1") && !has("10.0.0.0/8", "11.0.0.1"));
    assert!(has("0.0.0.0/0", "1.2.3.4") && !has("0.0.0.0/0", "::1"));
    assert!(has("127.0.0.1", "::ffff:127.0.0.1") && has("::ffff:127.0.0.0/104", "127.9.9.9"));
    assert!(has("fd00::/8", "fd12::1") && !has("fd00::/8", "fe80::1") && has("::/0", "::1"));
    for bad in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "a/8", "10.0.0.0/-1", "10.0.0.0/8/8"] {
        assert!(bad.parse::<Cidr>().is_err(), "{bad}");
    }
}

#[test]
fn roles() {
    assert_eq!("write, read".parse::<Roles>().map(|r| r.to_string()).as_deref(), Ok("read,write"));
    assert!(Roles::ADMIN.allow(Roles::READ) && !Roles::READ.allow(Roles::WRITE) && !Roles::WRITE.allow(Roles::ADMIN));
    assert!("".parse::<Roles>().is_err() && "root".parse::<Roles>().is_err() && "read,".parse::<Roles>().is_err());
}
