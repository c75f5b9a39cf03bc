//! `duramen key`.

use crate::failure::Failure;
use crate::location::{DataArgs, open_to_change};
use crate::output::{self, FormatArgs};
use duramen::Store;
use duramen::exec::{Cell, Row};
use duramen::record::Tag;
use duramen::store::MasterKey;
use std::path::PathBuf;
use std::process::ExitCode;

/// Makes, changes and lists the keys of encrypted tenants
#[derive(clap::Args)]
#[command(after_help = "Example: duramen key generate master.key\n         \
duramen key rotate --data logs --master-key-file master.key --new-master-key-file next.key")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Makes a master key, in a file that is not there yet
    ///
    /// Keep a copy where the store is not: who loses the master key loses the records.
    Generate {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Changes keys, and writes no record anew
    ///
    /// With --new-master-key-file the tenants' keys are brought under a new master key; the present one is given as
    /// for any command. Without it each tenant gets a new key for the files that come. Where it is cut short, doing it
    /// again, with either master key, completes it.
    Rotate {
        #[command(flatten)]
        data: DataArgs,
        /// Only this tenant; all encrypted ones otherwise
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
        /// The master key from now on
        #[arg(long, value_name = "FILE")]
        new_master_key_file: Option<PathBuf>,
    },
    /// Lists which tenants are encrypted, how old their keys are, and which master keys open them
    List {
        #[command(flatten)]
        data: DataArgs,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Writes anew what is not encrypted yet or is under an older key
    Renew {
        #[command(flatten)]
        data: DataArgs,
        /// Only this tenant; all encrypted ones otherwise
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
    },
}

impl Args {
    pub fn run(self) -> Result<ExitCode, Failure> {
        match self.command {
            Command::Generate { file } => {
                let key = MasterKey::generate(&file).map_err(|error| Failure::Failed(error.to_string()))?;
                eprintln!("{}: the master key of id {}", file.display(), key.id());
            }
            Command::Rotate { data, tenant, new_master_key_file } => rotate(&data, tenant, new_master_key_file)?,
            Command::List { data, format } => list(&data, &format)?,
            Command::Renew { data, tenant } => {
                let store = open_to_change(&data.folder()?)?;
                for name in encrypted(&store, tenant)? {
                    let segments = store.existing_tenant(&name)?.renew()?;
                    eprintln!("tenant `{name}`: {segments} segments were written anew");
                }
                store.close()?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The tenant that was named, or all encrypted ones.
fn encrypted(store: &Store, tenant: Option<String>) -> Result<Vec<String>, Failure> {
    if let Some(name) = tenant {
        return match store.key_info(&name)? {
            Some(_) => Ok(vec![name]),
            None => Err(Failure::Usage(format!("the tenant `{name}` is not encrypted"))),
        };
    }
    let mut names = Vec::new();
    for name in store.tenants()? {
        if store.key_info(&name)?.is_some() {
            names.push(name);
        }
    }
    if names.is_empty() {
        eprintln!("no tenant is encrypted");
    }
    Ok(names)
}

fn rotate(data: &DataArgs, tenant: Option<String>, new: Option<PathBuf>) -> Result<(), Failure> {
    let new = new.map(|file| MasterKey::from_file(&file)).transpose();
    let new = new.map_err(|error| Failure::Usage(error.to_string()))?;
    let store = open_to_change(&data.folder()?)?;
    let names = encrypted(&store, tenant.clone())?;
    match new {
        Some(_) if names.is_empty() => {}
        Some(new) => {
            for name in store.rotate_master_key(tenant.as_deref(), &new)? {
                eprintln!("tenant `{name}`: under the master key of id {}", new.id());
            }
        }
        None => {
            for name in names {
                let generation = store.rotate_tenant_key(&name)?;
                eprintln!("tenant `{name}`: generation {generation} of its key");
            }
        }
    }
    Ok(store.close()?)
}

/// Reads beside a server, from the files alone, and takes no key.
fn list(data: &DataArgs, format: &FormatArgs) -> Result<(), Failure> {
    let store = Store::open_read_only(data.folder()?)?;
    let mut rows = store.tenants()?.into_iter().map(|name| {
        let info = store.key_info(&name)?;
        let mut row = Row::default();
        let mut cell = |name: &str, tag: Tag, text: Option<String>| {
            let tag = if text.is_some() { tag } else { Tag::Null };
            row.cells.push(Cell { name: name.into(), tag, text: text.unwrap_or_default().into() });
        };
        cell("tenant", Tag::String, Some(name));
        cell("encrypted", Tag::Bool, Some(info.is_some().to_string()));
        cell("generation", Tag::Number, info.as_ref().map(|i| i.generation.to_string()));
        cell("rotated", Tag::String, info.as_ref().map(|i| i.rotated.to_string()));
        cell("master_keys", Tag::String, info.map(|i| i.masters.join(" ")));
        Ok::<Row, Failure>(row)
    });
    output::write_rows(&mut rows, output::stdout(format.or_fitting()))?;
    Ok(())
}
