//! `duramen tenant`.

use crate::failure::Failure;
use crate::location::{DataArgs, open_to_change, options, options_in};
use crate::output::{self, FormatArgs};
use duramen::exec::{Cell, Row};
use duramen::record::{Tag, Timestamp};
use duramen::vfs::RealVfs;
use duramen::{Store, TenantId};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Makes, lists, sets up and deletes tenants
#[derive(clap::Args)]
#[command(after_help = "Example: duramen tenant create --data logs acme\n         \
duramen tenant set --data logs acme --retention 30d\n         \
duramen tenant set --data logs acme --rule 'source=access age=30d bytes=50MB'")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Makes a tenant, and the store where there is none
    Create {
        #[command(flatten)]
        data: DataArgs,
        /// Encrypt its records on disk, under the master key
        #[arg(long)]
        encrypt: bool,
        /// 1 to 64 letters, digits, `.`, `_` or `-`
        #[arg(value_parser = TenantId::new)]
        name: TenantId,
    },
    /// Lists the tenants and their settings
    List {
        #[command(flatten)]
        data: DataArgs,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Changes the settings of a tenant; `none` takes one back
    Set {
        #[command(flatten)]
        data: DataArgs,
        #[command(flatten)]
        settings: Box<Settings>,
        #[arg(value_parser = TenantId::new)]
        name: TenantId,
    },
    /// Deletes a tenant with all its records, and revokes its tokens
    Delete {
        #[command(flatten)]
        data: DataArgs,
        /// Yes, delete it
        #[arg(long)]
        yes: bool,
        #[arg(value_parser = TenantId::new)]
        name: TenantId,
    },
}

/// What `tenant set` sets.
#[derive(clap::Args)]
#[group(required = true, multiple = true)]
struct Settings {
    /// Keep records for so long: 12h, 30d
    #[arg(long, value_name = "DURATION")]
    retention: Option<String>,
    /// Keep at most so many bytes of segments: 5GB
    #[arg(long, value_name = "SIZE")]
    retention_bytes: Option<String>,
    /// Keep at most so many records: 5M
    #[arg(long, value_name = "NUMBER")]
    retention_records: Option<String>,
    /// A rule for streams with labels: `source=access age=30d bytes=50MB`; all rules that count
    #[arg(long, value_name = "RULE")]
    rule: Vec<String>,
    /// What goes to an archive: `category=audit after=30d to=cold`; all rules that count
    #[arg(long, value_name = "RULE")]
    archive: Vec<String>,
    /// Refuse records beyond so many bytes of segments and unsealed records
    #[arg(long, value_name = "SIZE")]
    quota_bytes: Option<String>,
    /// Refuse records beyond so many
    #[arg(long, value_name = "NUMBER")]
    quota_records: Option<String>,
    /// Refuse records beyond so many bytes a day
    #[arg(long, value_name = "SIZE")]
    quota_ingest_bytes_per_day: Option<String>,
    /// Encrypt what it is given from now on, under the master key; there is no way back
    #[arg(long, value_name = "on", value_parser = ["on"])]
    encrypt: Option<String>,
    /// The logs of this instance live by rules for deleted ones from now on
    #[arg(long, value_name = "ID")]
    instance_deleted: Vec<String>,
    /// They do not any more
    #[arg(long, value_name = "ID")]
    instance_restored: Vec<String>,
}

impl Settings {
    /// Names of settings with their new values, `None` to take one back.
    fn changes(&self) -> Vec<(String, Option<String>)> {
        let joined = |rules: &[String]| (!rules.is_empty()).then(|| rules.join("; "));
        let plain = [
            ("retention", self.retention.clone()),
            ("retention_bytes", self.retention_bytes.clone()),
            ("retention_records", self.retention_records.clone()),
            ("rules", joined(&self.rule)),
            ("archive", joined(&self.archive)),
            ("quota_bytes", self.quota_bytes.clone()),
            ("quota_records", self.quota_records.clone()),
            ("quota_ingest_bytes_per_day", self.quota_ingest_bytes_per_day.clone()),
        ];
        let given = plain.into_iter().filter_map(|(name, value)| Some((name.to_string(), value?)));
        let mut changes: Vec<_> = given.map(|(name, value)| (name, Some(value).filter(|v| v != "none"))).collect();
        let now = Timestamp::now().to_string();
        changes.extend(self.instance_deleted.iter().map(|id| (format!("deleted/{id}"), Some(now.clone()))));
        changes.extend(self.instance_restored.iter().map(|id| (format!("deleted/{id}"), None)));
        changes
    }
}

impl Args {
    pub fn run(self) -> Result<ExitCode, Failure> {
        match self.command {
            Command::Create { data, encrypt, name } => {
                let folder = data.folder()?;
                let store = Store::open_with(&folder, options_in(&folder)?)?;
                // The folder first: a crash between the two leaves an empty tenant, which making it again completes.
                let made = match encrypt {
                    true => store.create_encrypted_tenant(name.as_str()),
                    false => store.create_tenant(name.as_str()),
                };
                match made {
                    Ok(_) => {}
                    Err(error) if error.is_tenant_exists() && store.catalog()?.tenant(&name)?.is_none() => {}
                    Err(error) if error.is_tenant_exists() => return Err(Failure::Usage(error.to_string())),
                    Err(error) => return Err(error.into()),
                }
                store.catalog()?.ensure_tenant(&name)?;
                store.close()?;
                eprintln!("tenant `{name}` was made");
            }
            Command::List { data, format } => return list(&data, &format),
            Command::Set { data, settings, name } => {
                let folder = data.folder()?;
                let store = open_to_change(&folder)?;
                store.existing_tenant(name.as_str())?;
                let catalog = store.catalog()?;
                catalog.ensure_tenant(&name)?;
                let changes = settings.changes();
                // All of them together, before the first is written: also that an archive is there.
                let mut after = catalog.tenant(&name)?.map(|t| t.settings).unwrap_or_default();
                for (setting, value) in &changes {
                    match value {
                        Some(value) => drop(after.insert(setting.as_str().into(), value.as_str().into())),
                        None => drop(after.remove(setting.as_str())),
                    }
                }
                let policy = crate::config::of_store(&folder)?.policy;
                policy.of_tenant(&name, &after).map_err(|e| Failure::Usage(e.to_string()))?;
                for (setting, value) in &changes {
                    catalog.set(&name, setting, value.as_deref())?;
                }
                if settings.encrypt.is_some() {
                    store.encrypt_tenant(name.as_str())?;
                }
                store.close()?;
            }
            Command::Delete { data, yes, name } => {
                if !yes {
                    let text = format!("all records of `{name}` will be gone: say --yes");
                    return Err(Failure::Usage(text));
                }
                let store = open_to_change(&data.folder()?)?;
                store.delete_tenant(name.as_str())?;
                store.close()?;
                eprintln!("tenant `{name}` was deleted; what backups hold of it is still there");
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Reads beside a server, from the files alone.
fn list(data: &DataArgs, format: &FormatArgs) -> Result<ExitCode, Failure> {
    let folder = data.folder()?;
    let store = Store::open_read_only_with(&folder, options())?;
    let (known, _) = duramen::catalog::Catalog::read(&RealVfs, &folder)?;
    let known: BTreeMap<&str, _> = known.iter().map(|t| (t.name.as_str(), t)).collect();
    let mut rows = store.tenants()?.into_iter().map(|name| {
        let mut row = Row::default();
        let info = known.get(name.as_str());
        let mut cell = |name: &str, value: Option<String>| {
            let tag = if value.is_some() { Tag::String } else { Tag::Null };
            row.cells.push(Cell { name: name.into(), tag, text: value.unwrap_or_default().into() });
        };
        cell("tenant", Some(name.clone()));
        // One tenant that can't be opened does not hide the others.
        cell("error", store.existing_tenant(&name).err().map(|e| e.to_string()));
        let keys = store.key_info(&name);
        cell("encrypted", keys.ok().map(|keys| if keys.is_some() { "yes" } else { "no" }.to_string()));
        cell("created", info.map(|i| i.created.to_string()));
        let others = info.map(|i| i.settings.iter().filter(|(name, _)| &***name != "retention"));
        let others: Vec<String> =
            others.into_iter().flatten().map(|(name, value)| format!("{name}: {value}")).collect();
        cell("settings", (!others.is_empty()).then(|| others.join(", ")));
        cell("retention", info.and_then(|i| i.settings.get("retention").map(|r| r.to_string())));
        Ok::<Row, Failure>(row)
    });
    output::write_rows(&mut rows, output::stdout(format.or_fitting()))?;
    Ok(ExitCode::SUCCESS)
}
