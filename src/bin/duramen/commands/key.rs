//! `duramen key`.

use crate::failure::{FAILED, Failure};
use crate::location::{DataArgs, open_to_change};
use crate::output::{self, FormatArgs};
use duramen::exec::{Cell, Row};
use duramen::record::Tag;
use duramen::store::MasterKey;
use duramen::{Error, Store};
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
            Command::Rotate { data, tenant, new_master_key_file } => return rotate(&data, tenant, new_master_key_file),
            Command::List { data, format } => list(&data, &format)?,
            Command::Renew { data, tenant } => {
                let store = open_to_change(&data.folder()?)?;
                let code = each(encrypted(&store, tenant)?, |name| {
                    let segments = store.existing_tenant(name)?.renew()?;
                    Ok(format!("{segments} segments were written anew"))
                });
                store.close()?;
                return Ok(code);
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
    // One whose key can't be read is tried, and says so.
    let mut names = store.tenants()?;
    names.retain(|name| !matches!(store.key_info(name), Ok(None)));
    if names.is_empty() {
        eprintln!("no tenant is encrypted");
    }
    Ok(names)
}

/// Does something for each tenant; what went wrong with one does not keep the others from it.
fn each(names: Vec<String>, work: impl Fn(&str) -> Result<String, Error>) -> ExitCode {
    let mut failed = false;
    for name in names {
        match work(&name) {
            Ok(done) => eprintln!("tenant `{name}`: {done}"),
            Err(error) => {
                eprintln!("duramen: tenant `{name}`: {error}");
                failed = true;
            }
        }
    }
    if failed { ExitCode::from(FAILED) } else { ExitCode::SUCCESS }
}

fn rotate(data: &DataArgs, tenant: Option<String>, new: Option<PathBuf>) -> Result<ExitCode, Failure> {
    let new = new.map(|file| MasterKey::from_file(&file)).transpose();
    let new = new.map_err(|error| Failure::Usage(error.to_string()))?;
    let store = open_to_change(&data.folder()?)?;
    let names = encrypted(&store, tenant.clone())?;
    let code = match new {
        Some(_) if names.is_empty() => ExitCode::SUCCESS,
        // All or none: it is either key that opens them.
        Some(new) => {
            for name in store.rotate_master_key(tenant.as_deref(), &new)? {
                eprintln!("tenant `{name}`: under the master key of id {}", new.id());
            }
            ExitCode::SUCCESS
        }
        None => each(names, |name| Ok(format!("generation {} of its key", store.rotate_tenant_key(name)?))),
    };
    store.close()?;
    Ok(code)
}

/// Reads beside a server, from the files alone, and takes no key.
fn list(data: &DataArgs, format: &FormatArgs) -> Result<(), Failure> {
    let store = Store::open_read_only(data.folder()?)?;
    let mut rows = store.tenants()?.into_iter().map(|name| {
        let (info, error) = match store.key_info(&name) {
            Ok(info) => (info, None),
            Err(error) => (None, Some(error.to_string())),
        };
        let encrypted = error.is_none().then(|| info.is_some().to_string());
        let mut row = Row::default();
        let mut cell = |name: &str, tag: Tag, text: Option<String>| {
            let tag = if text.is_some() { tag } else { Tag::Null };
            row.cells.push(Cell { name: name.into(), tag, text: text.unwrap_or_default().into() });
        };
        cell("tenant", Tag::String, Some(name));
        cell("error", Tag::String, error);
        cell("encrypted", Tag::Bool, encrypted);
        cell("generation", Tag::Number, info.as_ref().map(|i| i.generation.to_string()));
        cell("rotated", Tag::String, info.as_ref().map(|i| i.rotated.to_string()));
        cell("master_keys", Tag::String, info.map(|i| i.masters.join(" ")));
        Ok::<Row, Failure>(row)
    });
    output::write_rows(&mut rows, output::stdout(format.or_fitting()))?;
    Ok(())
}
