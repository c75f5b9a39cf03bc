//! `duramen tenant`.

use crate::failure::Failure;
use crate::location::{DataArgs, open_to_change, options};
use crate::output::{self, FormatArgs};
use duramen::exec::{Cell, Row};
use duramen::record::Tag;
use duramen::vfs::RealVfs;
use duramen::{Store, TenantId};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Makes, lists, sets up and deletes tenants
#[derive(clap::Args)]
#[command(after_help = "Example: duramen tenant create --data logs acme\n         \
duramen tenant set --data logs acme --retention 30d")]
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
    /// Changes the settings of a tenant
    Set {
        #[command(flatten)]
        data: DataArgs,
        /// Keep records for so long: 12h, 30d; `none` for ever
        #[arg(long, value_name = "DURATION", required = true)]
        retention: Option<String>,
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

impl Args {
    pub fn run(self) -> Result<ExitCode, Failure> {
        match self.command {
            Command::Create { data, name } => {
                let store = Store::open_with(data.folder()?, options())?;
                // The folder first: a crash between the two leaves an empty tenant, which making it again completes.
                match store.create_tenant(name.as_str()) {
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
            Command::Set { data, retention, name } => {
                let store = open_to_change(&data.folder()?)?;
                store.existing_tenant(name.as_str())?;
                let catalog = store.catalog()?;
                catalog.ensure_tenant(&name)?;
                catalog.set(&name, "retention", retention.as_deref().filter(|r| *r != "none"))?;
                store.close()?;
            }
            Command::Delete { data, yes, name } => {
                if !yes {
                    let text = format!("all records of `{name}` will be gone: say --yes");
                    return Err(Failure::Usage(text));
                }
                let store = open_to_change(&data.folder()?)?;
                // Its tokens first: a crash between the two must not leave keys to what is half gone.
                if store.catalog()?.tenant(&name)?.is_some() {
                    store.catalog()?.delete_tenant(&name)?;
                }
                store.delete_tenant(name.as_str())?;
                store.close()?;
                eprintln!("tenant `{name}` was deleted");
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
        cell("created", info.map(|i| i.created.to_string()));
        cell("retention", info.and_then(|i| i.settings.get("retention").map(|r| r.to_string())));
        Ok::<Row, Failure>(row)
    });
    output::write_rows(&mut rows, output::stdout(format.or_fitting()))?;
    Ok(ExitCode::SUCCESS)
}
