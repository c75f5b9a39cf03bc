//! Where the logs are: a store's folder, or a server.

use crate::failure::Failure;
use crate::remote::Remote;
use duramen::store::DEFAULT_TENANT;
use duramen::{Options, Store, Tenant};
use std::path::PathBuf;

/// `--data`, or `--url` and `--token`, and the tenant.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct LocationArgs {
    /// The store's folder [env: DURAMEN_DATA]
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    data: Option<PathBuf>,
    /// A server in place of a folder, such as http://127.0.0.1:4880 [env: DURAMEN_URL]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The token for the server [env: DURAMEN_TOKEN]
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// The tenant
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
}

/// `--data` alone, for what a server does not do for others.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct DataArgs {
    /// The store's folder [env: DURAMEN_DATA]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// A place that was settled on.
pub enum Location {
    /// A store's folder.
    Folder(PathBuf),
    /// A server.
    Server(Remote),
}

/// A variable of the environment; an empty one counts as none.
fn env(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn env_text(name: &str) -> Option<String> {
    env(name).map(|value| value.to_string_lossy().into_owned())
}

impl DataArgs {
    /// The folder, by option or environment.
    pub fn folder(&self) -> Result<PathBuf, Failure> {
        let named = self.data.clone().or_else(|| env("DURAMEN_DATA").map(PathBuf::from));
        named.ok_or_else(|| Failure::Usage("no store is named: give --data DIR, or set DURAMEN_DATA".into()))
    }
}

impl LocationArgs {
    /// The tenant's name.
    pub fn tenant_name(&self) -> &str {
        self.tenant.as_deref().unwrap_or(DEFAULT_TENANT)
    }

    /// The tenant's name, if one was given.
    pub fn given_tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// Where, by options and then by environment.
    pub fn settle(&self) -> Result<Location, Failure> {
        let server = |url: &str| {
            let token = self.token.clone().or_else(|| env_text("DURAMEN_TOKEN"));
            Remote::new(url, token, self.tenant.clone()).map(Location::Server)
        };
        match (&self.data, &self.url, env("DURAMEN_DATA"), env_text("DURAMEN_URL")) {
            (Some(data), ..) => Ok(Location::Folder(data.clone())),
            (None, Some(url), ..) => server(url),
            (None, None, Some(_), Some(_)) => {
                Err(Failure::Usage("DURAMEN_DATA and DURAMEN_URL are both set: say which with --data or --url".into()))
            }
            (None, None, Some(data), None) => Ok(Location::Folder(data.into())),
            (None, None, None, Some(url)) => server(&url),
            (None, None, None, None) => Err(Failure::Usage(
                "no store is named: give --data DIR or --url URL, or set DURAMEN_DATA or DURAMEN_URL".into(),
            )),
        }
    }

    /// The folder, for a command that works on the files.
    pub fn folder(&self, command: &str) -> Result<PathBuf, Failure> {
        match self.settle()? {
            Location::Folder(folder) => Ok(folder),
            Location::Server(_) => {
                Err(Failure::Usage(format!("`{command}` works on a store's folder: give --data DIR")))
            }
        }
    }
}

/// The options for a command that ends soon: what it appends is sealed and merged when the store is opened for long.
pub fn options() -> Options {
    let mut options = Options::default();
    options.merge = false;
    options.master_key = crate::keys::master_key();
    options.audit = Some("command line".into());
    options
}

/// The options for a store's folder, with its configuration.
pub fn options_in(folder: &std::path::Path) -> Result<Options, Failure> {
    let mut options = options();
    let config = crate::config::of_store(folder)?;
    (options.policy, options.ack) = (config.policy, config.ack);
    Ok(options)
}

/// Opens a tenant for reading, beside a server perhaps; makes nothing.
pub fn open_to_read(folder: &std::path::Path, tenant: &str) -> Result<Tenant, Failure> {
    let store = Store::open_read_only_with(folder, options_in(folder)?)?;
    Ok(store.existing_tenant(tenant)?)
}

/// Opens a store for writing. A folder without a store is an error: only `ingest`, `run` and `serve` make one.
pub fn open_to_change(folder: &std::path::Path) -> Result<Store, Failure> {
    Store::open_read_only_with(folder, options())?;
    Ok(Store::open_with(folder, options_in(folder)?)?)
}

/// Opens a tenant for appending. `default` is made where it is missing, others are made by `tenant create`.
pub fn open_to_append(store: &Store, tenant: &str) -> Result<Tenant, Failure> {
    if tenant == DEFAULT_TENANT {
        let id = duramen::TenantId::new(tenant).map_err(|e| Failure::Usage(e.to_string()))?;
        let opened = store.tenant(tenant)?;
        // Its folder first: a tenant that control.log has and that has none is one that was lost.
        store.catalog()?.ensure_tenant(&id)?;
        return Ok(opened);
    }
    store.existing_tenant(tenant).map_err(|error| match error.is_no_such_tenant() {
        true => Failure::Failed(format!("{error}: make it with `duramen tenant create {tenant}`")),
        false => error.into(),
    })
}
