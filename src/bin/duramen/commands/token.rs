//! `duramen token`.

use crate::failure::Failure;
use crate::location::{DataArgs, open_to_change, options, options_in};
use crate::output::{self, FormatArgs};
use duramen::catalog::{Catalog, Cidr, NewToken, Roles};
use duramen::exec::{Cell, Row};
use duramen::record::{Tag, Timestamp, parse_duration_ns};
use duramen::store::DEFAULT_TENANT;
use duramen::vfs::RealVfs;
use duramen::{Store, TenantId};
use std::io::{self, Write};
use std::process::ExitCode;

/// Makes, lists and revokes the tokens that a server lets in
#[derive(clap::Args)]
#[command(after_help = "Example: duramen token create --data logs --tenant acme --roles read,write --expires 90d")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Makes a token, and prints its secret, which is kept nowhere
    Create {
        #[command(flatten)]
        data: DataArgs,
        /// The tenant that it is for
        #[arg(long, value_name = "NAME", value_parser = TenantId::new, required_unless_present = "system")]
        tenant: Option<TenantId>,
        /// It is for the system: who has it names the tenant
        #[arg(long, conflicts_with = "tenant")]
        system: bool,
        /// read, write, admin, with commas between them
        #[arg(long, value_name = "ROLES")]
        roles: Roles,
        /// It ends after so long: 24h, 90d
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        expires: Option<i64>,
        /// Addresses that it may be used from: 10.0.0.0/8
        #[arg(long, value_name = "NET")]
        cidr: Option<Cidr>,
    },
    /// Lists all tokens, without their secrets
    List {
        #[command(flatten)]
        data: DataArgs,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Takes a token back
    Revoke {
        #[command(flatten)]
        data: DataArgs,
        /// The token's id, as `token list` shows it
        id: String,
    },
}

fn duration(text: &str) -> Result<i64, String> {
    let ns = parse_duration_ns(text).filter(|&ns| ns > 0);
    ns.ok_or_else(|| "a duration above zero is expected, such as 24h or 90d".to_string())
}

impl Args {
    pub fn run(self) -> Result<ExitCode, Failure> {
        match self.command {
            Command::Create { data, tenant, system: _, roles, expires, cidr } => {
                let store = match tenant.as_ref().map(TenantId::as_str) {
                    // What a first `ingest` makes may get its token before.
                    Some(DEFAULT_TENANT) | None => Store::open_with(data.folder()?, options_in(&data.folder()?)?)?,
                    Some(_) => open_to_change(&data.folder()?)?,
                };
                if let Some(tenant) = &tenant {
                    crate::location::open_to_append(&store, tenant.as_str())?;
                    store.catalog()?.ensure_tenant(tenant)?;
                }
                let expires = expires.map(|ns| Timestamp(Timestamp::now().0.saturating_add(ns)));
                let token = store.catalog()?.create_token(NewToken { tenant, roles, expires, cidr })?;
                store.close()?;
                let mut out = io::stdout().lock();
                writeln!(out, "{} {}", token.id, token.secret.reveal())?;
                out.flush()?;
            }
            Command::List { data, format } => return list(&data, &format),
            Command::Revoke { data, id } => {
                let store = open_to_change(&data.folder()?)?;
                store.catalog()?.revoke_token(&id)?;
                store.close()?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Reads beside a server, from the control log alone.
fn list(data: &DataArgs, format: &FormatArgs) -> Result<ExitCode, Failure> {
    let folder = data.folder()?;
    Store::open_read_only_with(&folder, options())?;
    let (_, tokens) = Catalog::read(&RealVfs, &folder)?;
    let mut rows = tokens.into_iter().map(|token| {
        let mut row = Row::default();
        let mut cell = |name: &str, value: Option<String>| {
            let tag = if value.is_some() { Tag::String } else { Tag::Null };
            row.cells.push(Cell { name: name.into(), tag, text: value.unwrap_or_default().into() });
        };
        cell("id", Some(token.entry.id.to_string()));
        cell("tenant", token.entry.tenant.map(|t| t.to_string()));
        cell("roles", Some(token.entry.roles.to_string()));
        cell("created", Some(token.created.to_string()));
        cell("expires", token.entry.expires.map(|t| t.to_string()));
        cell("cidr", token.entry.cidr.map(|c| c.to_string()));
        cell("revoked", token.revoked.map(|t| t.to_string()));
        Ok::<Row, Failure>(row)
    });
    output::write_rows(&mut rows, output::stdout(format.or_fitting()))?;
    Ok(ExitCode::SUCCESS)
}
