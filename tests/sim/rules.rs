//! Settings of tenants: what they live by, what goes to an archive, and their keys.

use super::model::{Batch, Setting, Tenant};
use super::world::{STREAMS, Stop, World};
use duramen::catalog::CatalogError;
use duramen::{Error, TenantId};

/// Older than ten years: between the two times that records have.
const SETTINGS: [Setting; 9] = [
    ("retention", Some("3650d")),
    ("rules", Some("app=web age=3650d")),
    ("rules", Some("app=db age=3650d; app=jobs age=3650d")),
    ("archive", Some("all after=3000d to=cold")),
    ("archive", Some("app=db after=3000d to=cold")),
    ("archive", Some("app=web after=3000d to=cold; app=jobs after=3000d to=cold")),
    ("retention", None),
    ("rules", None),
    ("archive", None),
];

/// May rules that may count let go the old records of a batch?
pub fn covers(model: &Tenant, batch: &Batch) -> bool {
    let of_stream = format!("app={} ", STREAMS[batch.stream]);
    model.may_be_set("retention").next().is_some() || model.may_be_set("rules").any(|rules| rules.contains(&of_stream))
}

impl World {
    /// Gives a tenant a setting, or takes it back.
    pub fn set(&mut self) -> Result<(), Stop> {
        let name = self.some_tenant();
        if !self.is_managed || self.handle(name)?.is_none() {
            return Ok(());
        }
        let any = self.random.below(SETTINGS.len() as u64) as usize;
        let of_archives = 3 + self.random.below(3) as usize;
        let is_archive = self.is_archiving && self.random.below(6) > 0;
        let (setting, value) = SETTINGS[if is_archive { of_archives } else { any }];
        let model = self.tenants.entry(name).or_default();
        if model.asked.is_some() {
            // First it is seen, after a crash, whether the one before counts.
            return Ok(());
        }
        model.asked = Some((setting, value));
        self.ever_asked.extend(value.map(|value| (setting, value)));
        let id = TenantId::new(name).map_err(|e| e.to_string())?;
        let store = self.store()?;
        let result = store.catalog().and_then(|catalog| {
            let done = catalog.ensure_tenant(&id).and_then(|_| catalog.set(&id, setting, value));
            done.map_err(|e: CatalogError| Error::from(e))
        });
        if self.judge(&format!("set {setting} of {name} to {value:?}"), None, result)?.is_some() {
            let model = self.tenants.entry(name).or_default();
            model.asked = None;
            model.settings.remove(setting);
            model.settings.extend(value.map(|value| (setting, value)));
            if self.random.coin() {
                self.live_by_rules();
                return self.maintain();
            }
        }
        Ok(())
    }

    /// Compares a tenant's settings with what was decided, and takes over what may have been.
    pub fn recover_settings(&mut self, name: &'static str) -> Result<(), String> {
        if !self.is_managed {
            return Ok(());
        }
        let store = self.store.clone().ok_or("no store is open")?;
        let id = TenantId::new(name).map_err(|e| e.to_string())?;
        let catalog = store.catalog().map_err(|e| e.to_string())?;
        let found = catalog.tenant(&id).map_err(|e| e.to_string())?.map(|info| info.settings).unwrap_or_default();
        let found: Vec<(&str, &str)> = found.iter().map(|(name, value)| (&**name, &**value)).collect();
        let Some(model) = self.tenants.get_mut(name) else { return Ok(()) };
        // Those of a tenant whose deletion was forgotten are those of the next one of its name.
        if std::mem::take(&mut model.may_lose_settings) || self.forgets_deletions {
            let known = self.ever_asked.iter().filter(|known| found.contains(known)).copied();
            (model.settings, model.asked) = (known.collect(), None);
            return match model.settings.len() == found.len() {
                true => Ok(()),
                false => Err(format!("has the settings {found:?}, of {:?} that were ever given", self.ever_asked)),
            };
        }
        let mut asked = model.settings.clone();
        if let Some((setting, value)) = model.asked.take() {
            asked.remove(setting);
            asked.extend(value.map(|value| (setting, value)));
        }
        let known = [&model.settings, &asked].map(|all| all.iter().map(|(n, v)| (*n, *v)).collect::<Vec<_>>());
        match known.iter().position(|known| *known == found) {
            Some(0) => {}
            Some(_) => model.settings = asked,
            None => return Err(format!("has the settings {found:?}, not one of {known:?}")),
        }
        Ok(())
    }

    /// Encrypts a tenant, changes its key, or writes anew what is under an older one.
    pub fn change_keys(&mut self) -> Result<(), Stop> {
        let name = self.some_tenant();
        let tenant = if self.is_managed { self.handle(name)? } else { None };
        let Some(tenant) = tenant else { return Ok(()) };
        let store = self.store()?;
        let info = store.key_info(name);
        let Some(info) = self.judge(&format!("look at the keys of {name}"), Some(name), info)? else { return Ok(()) };
        let how = self.random.below(3);
        let (what, result) = match how {
            _ if info.is_none() => ("encrypt", store.encrypt_tenant(name)),
            0 => ("renew", tenant.renew().map(drop)),
            _ => ("change the key of", store.rotate_tenant_key(name).map(drop)),
        };
        // What is decided is in the store's log, and the rest in the tenant's folder.
        if self.judge(&format!("{what} {name}"), None, result)?.is_some() && (info.is_none() || how == 0) {
            self.tenants.entry(name).or_default().all_durable();
        }
        Ok(())
    }
}
