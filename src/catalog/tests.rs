use super::*;
use crate::vfs::RealVfs;
use std::net::Ipv4Addr;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn open(dir: &Path) -> Result<Catalog, CatalogError> {
    Catalog::open(Arc::new(RealVfs), dir)
}

fn name(text: &str) -> TenantId {
    TenantId::new(text).expect("a name")
}

fn token(tenant: Option<&str>) -> NewToken {
    NewToken { tenant: tenant.map(name), roles: Roles::READ, expires: None, cidr: None }
}

fn principal(catalog: &Catalog, secret: &str) -> Result<Principal, String> {
    catalog.authenticate(secret, HERE, Timestamp(1000)).map_err(|e| e.to_string())
}

/// A catalog with something of everything in it; its folder and a secret that works.
fn filled() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().expect("a folder");
    let catalog = open(dir.path()).expect("a new catalog");
    for tenant in ["acme", "gone", "default"] {
        catalog.create_tenant(&name(tenant)).expect("a tenant");
    }
    catalog.set(&name("acme"), "retention", Some("30d")).expect("a setting");
    let kept = catalog.create_token(token(Some("acme"))).expect("a token");
    catalog.create_token(token(Some("gone"))).expect("a token");
    let revoked = catalog.create_token(token(None)).expect("a token");
    catalog.revoke_token(&revoked.id).expect("revoked");
    catalog.delete_tenant(&name("gone")).expect("deleted");
    catalog.due(&name("acme"), "seal", Some(Timestamp(77))).expect("due");
    (dir, kept.secret.reveal().to_string())
}

/// Everything that the filled catalog should answer.
fn check(catalog: &Catalog, secret: &str) {
    let tenants = catalog.tenants().expect("tenants");
    assert_eq!(tenants.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["acme", "default"]);
    assert_eq!(tenants[0].retention_ns(), Some(30 * 86_400 * 1_000_000_000));
    let tokens = catalog.tokens().expect("tokens");
    assert_eq!(tokens.iter().map(|t| t.revoked.is_some()).collect::<Vec<_>>(), [false, true, true]);
    let who = principal(catalog, secret).expect("let in");
    assert_eq!((who.scope, who.roles), (Scope::Tenant(name("acme")), Roles::READ));
    assert!(catalog.has_tokens().expect("an answer"));
}

#[test]
fn what_was_decided_is_there_after_opening_anew() {
    let (dir, secret) = filled();
    let catalog = open(dir.path()).expect("opens");
    assert_eq!(catalog.report(), &OpenReport::default());
    check(&catalog, &secret);
    let due = catalog.due_by(Timestamp(100)).expect("due");
    assert_eq!(due, [Due { tenant: name("acme"), kind: "seal".into(), at: Timestamp(77) }]);
    drop(catalog);
    let (tenants, tokens) = Catalog::read(&RealVfs, dir.path()).expect("reads");
    assert_eq!((tenants.len(), tokens.len()), (2, 3));
}

#[test]
fn a_view_that_is_gone_garbage_or_of_another_time_is_made_anew() {
    let (dir, secret) = filled();
    let view = dir.path().join(CATALOG_DIR);
    let rebuilt = |what: &str| {
        let catalog = open(dir.path()).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(catalog.report().rebuilt.is_some(), "{what}");
        assert_eq!(catalog.report().lost_events, 0, "{what}");
        check(&catalog, &secret);
        let due = catalog.due_by(Timestamp(0)).expect("due");
        assert_eq!(due.iter().map(|d| d.tenant.as_str()).collect::<Vec<_>>(), ["acme", "default"], "{what}");
    };
    std::fs::remove_dir_all(&view).expect("removed");
    rebuilt("gone");
    for file in std::fs::read_dir(&view).expect("files").flatten() {
        if file.path().is_file() {
            std::fs::write(file.path(), vec![0xa5; 10_000]).expect("written");
        }
    }
    rebuilt("garbage");
    std::fs::remove_dir_all(&view).expect("removed");
    std::fs::write(&view, "a file").expect("written");
    rebuilt("a file in its place");
    // An older view: set aside before, put back after a change.
    let aside = tempfile::tempdir().expect("a folder");
    std::fs::rename(&view, aside.path().join("old")).expect("moved");
    open(dir.path()).and_then(|c| c.set(&name("default"), "retention", Some("1d"))).expect("a setting");
    std::fs::remove_dir_all(&view).expect("removed");
    std::fs::rename(aside.path().join("old"), &view).expect("moved");
    rebuilt("older");
}

#[test]
fn every_flipped_byte_of_the_control_log_is_refused_with_its_place() {
    let (dir, _) = filled();
    let path = dir.path().join(CONTROL_LOG);
    let good = std::fs::read(&path).expect("read");
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        std::fs::write(&path, &bad).expect("written");
        let error = ControlLog::open(&RealVfs, &path).map(|_| ()).expect_err("refused");
        let CatalogError::Storage(StorageError::Damage(damage)) = error else { panic!("byte {at}: {error}") };
        assert_eq!(damage.file, path, "byte {at}");
        assert!(!damage.expected.is_empty() && !damage.found.is_empty() && damage.offset < good.len() as u64);
        assert_eq!(std::fs::read(&path).expect("read"), bad, "what is damaged stays as it was");
    }
    assert!(Catalog::read(&RealVfs, dir.path()).is_err());
    assert!(open(dir.path()).is_err());
}

#[test]
fn a_torn_write_is_cut_off_and_reported_and_the_log_goes_on() {
    let (dir, secret) = filled();
    let path = dir.path().join(CONTROL_LOG);
    let whole = std::fs::read(&path).expect("read");
    let mut torn = whole.clone();
    torn.extend_from_slice(b"DCtl\x20\x00\x00\x00 and then the power went");
    std::fs::write(&path, &torn).expect("written");
    // A reader without the lock sees the same, and cuts nothing.
    assert_eq!(Catalog::read(&RealVfs, dir.path()).map(|(t, _)| t.len()).ok(), Some(2));
    assert_eq!(std::fs::read(&path).ok().as_ref(), Some(&torn));
    let catalog = open(dir.path()).expect("opens");
    let report = catalog.report().clone();
    assert_eq!(report.torn.map(|t| (t.offset, t.bytes)), Some((whole.len() as u64, 32)));
    assert_eq!((report.rebuilt, report.lost_events), (None, 0));
    check(&catalog, &secret);
    catalog.create_tenant(&name("later")).expect("a tenant");
    drop(catalog);
    assert!(open(dir.path()).expect("opens").tenant(&name("later")).expect("asked").is_some());
}

#[test]
fn a_log_that_lost_its_end_is_told_by_the_view() {
    let (dir, _) = filled();
    let path = dir.path().join(CONTROL_LOG);
    let whole = std::fs::read(&path).expect("read");
    std::fs::write(&path, &whole[..whole.len() - 1]).expect("written");
    let catalog = open(dir.path()).expect("opens");
    assert_eq!(catalog.report().lost_events, 1);
    assert!(catalog.report().torn.is_some() && catalog.report().rebuilt.is_some());
    assert!(catalog.tenant(&name("gone")).expect("asked").is_some(), "its deletion was the last event");
}

#[test]
fn tokens_end_by_time_by_address_and_with_their_tenant() {
    let dir = tempfile::tempdir().expect("a folder");
    let catalog = open(dir.path()).expect("opens");
    assert!(!catalog.has_tokens().expect("an answer"));
    catalog.create_tenant(&name("acme")).expect("a tenant");
    assert!(matches!(catalog.create_token(token(Some("nobody"))), Err(CatalogError::NoSuchTenant(_))));
    let expires = Some(Timestamp(1000));
    let short = catalog.create_token(NewToken { expires, ..token(Some("acme")) }).expect("a token");
    let cidr = "10.0.0.0/8".parse().ok();
    let near = catalog.create_token(NewToken { cidr, ..token(Some("acme")) }).expect("a token");
    let ask = |secret: &Secret, from: [u8; 4], now| catalog.authenticate(secret.reveal(), from.into(), Timestamp(now));
    assert!(ask(&short.secret, [1, 2, 3, 4], 999).is_ok());
    assert!(matches!(ask(&short.secret, [1, 2, 3, 4], 1000), Err(AuthError::Expired)));
    assert!(ask(&near.secret, [10, 2, 3, 4], 0).is_ok());
    assert!(matches!(ask(&near.secret, [11, 2, 3, 4], 0), Err(AuthError::Address)));
    for wrong in ["", "dmn_", &near.secret.reveal()[1..], &format!("{}x", near.secret.reveal()), &"x".repeat(1 << 20)] {
        assert!(matches!(catalog.authenticate(wrong, HERE, Timestamp(0)), Err(AuthError::Unknown)));
    }
    catalog.delete_tenant(&name("acme")).expect("deleted");
    catalog.create_tenant(&name("acme")).expect("made anew");
    assert!(matches!(ask(&near.secret, [10, 2, 3, 4], 0), Err(AuthError::Revoked)));
    assert!(matches!(catalog.revoke_token("tok_none"), Err(CatalogError::NoSuchToken(_))));
}

#[test]
fn secrets_are_on_no_disk() {
    let (dir, secret) = filled();
    assert!(secret.starts_with("dmn_") && secret.len() == 47);
    let mut folders = vec![dir.path().to_path_buf()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("files").flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
                continue;
            }
            files += 1;
            let bytes = std::fs::read(entry.path()).expect("read");
            for part in [&secret[4..], &secret[4..20]] {
                assert!(memchr::memmem::find(&bytes, part.as_bytes()).is_none(), "{}", entry.path().display());
            }
        }
    }
    assert!(files > 1);
    assert_eq!(
        format!("{:?}", open(dir.path()).and_then(|c| c.create_token(token(None))).map(|t| t.secret).ok()),
        "Some(Secret(..))"
    );
}

#[test]
fn what_makes_no_sense_is_refused_and_writes_nothing() {
    let (dir, _) = filled();
    let before = std::fs::metadata(dir.path().join(CONTROL_LOG)).map(|m| m.len()).ok();
    let catalog = open(dir.path()).expect("opens");
    assert!(matches!(catalog.create_tenant(&name("acme")), Err(CatalogError::TenantExists(_))));
    assert!(matches!(catalog.ensure_tenant(&name("acme")), Ok(false)));
    assert!(matches!(catalog.delete_tenant(&name("gone")), Err(CatalogError::NoSuchTenant(_))));
    for (setting, value) in [("color", Some("red")), ("retention", Some("soon")), ("retention", Some("-1d"))] {
        assert!(matches!(catalog.set(&name("acme"), setting, value), Err(CatalogError::BadSetting(_))), "{setting}");
    }
    assert_eq!(std::fs::metadata(dir.path().join(CONTROL_LOG)).map(|m| m.len()).ok(), before);
}

#[test]
fn due_work_comes_by_time() {
    let (dir, _) = filled();
    let catalog = open(dir.path()).expect("opens");
    let due = |tenant: &str, kind: &str, at: Option<i64>| {
        catalog.due(&name(tenant), kind, at.map(Timestamp)).expect("set");
    };
    due("default", "seal", Some(50));
    due("default", "retention", Some(-5));
    due("acme", "seal", Some(60));
    due("acme", "seal", Some(40));
    let kinds = |now| -> Vec<(String, i64)> {
        let all = catalog.due_by(Timestamp(now)).expect("due");
        all.iter().map(|d| (format!("{} {}", d.tenant, d.kind), d.at.0)).collect()
    };
    assert_eq!(kinds(45), [("default retention".to_string(), -5), ("acme seal".to_string(), 40)]);
    due("default", "retention", None);
    assert_eq!(catalog.next_due().expect("due"), Some(Timestamp(40)));
    catalog.delete_tenant(&name("acme")).expect("deleted");
    assert_eq!(kinds(i64::MAX), [("default seal".to_string(), 50)]);
}
