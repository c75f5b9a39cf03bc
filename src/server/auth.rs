//! Who asks, and for which tenant.

use super::App;
use super::error::ApiError;
use crate::record::Timestamp;
use crate::store::{DEFAULT_TENANT, Principal, Roles, Scope, Tenant};
use axum::http::{HeaderMap, header};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// The headers that name a tenant; they mean the same.
const TENANT_HEADERS: [&str; 2] = ["x-duramen-tenant", "x-scope-orgid"];

impl App {
    /// The tenant that a request may use in a role. Blocking: it may open the tenant.
    pub(super) fn admit(&self, headers: &HeaderMap, peer: IpAddr, role: Roles) -> Result<Tenant, ApiError> {
        let named = tenant_named(headers)?;
        let name = match self.principal(headers, peer)? {
            None => {
                if named.is_some_and(|name| name != DEFAULT_TENANT) {
                    return Err(ApiError::access_denied());
                }
                DEFAULT_TENANT.to_string()
            }
            Some(Principal { scope: Scope::Tenant(own), roles, .. }) => {
                // Which tenants there are is no business of one: the same answer, whether this one exists or not.
                if named.is_some_and(|name| name != own.as_str()) {
                    return Err(ApiError::access_denied());
                }
                check_role(roles, role)?;
                own.as_str().to_string()
            }
            Some(Principal { scope: Scope::System, roles, .. }) => {
                check_role(roles, Roles::ADMIN)?;
                named.unwrap_or(DEFAULT_TENANT).to_string()
            }
        };
        if !self.rates.take(&name, Instant::now()) {
            let message = "more requests a second than limits.requests_per_s_max allows";
            return Err(ApiError::too_many(message, 1));
        }
        Ok(self.store.existing_tenant(&name)?)
    }

    /// May this request see what the server says of itself: is it from this host, or an administrator's?
    pub(super) fn admit_operator(&self, headers: &HeaderMap, peer: IpAddr) -> Result<(), ApiError> {
        if peer.to_canonical().is_loopback() {
            return Ok(());
        }
        match self.principal(headers, peer)? {
            Some(Principal { scope: Scope::System, roles, .. }) => check_role(roles, Roles::ADMIN),
            _ => Err(ApiError::role("admin")),
        }
    }

    /// May this request change what all tenants share? Only an administrator of the system.
    pub(super) fn admit_system(&self, headers: &HeaderMap, peer: IpAddr) -> Result<(), ApiError> {
        match self.principal(headers, peer)? {
            Some(Principal { scope: Scope::System, roles, .. }) => check_role(roles, Roles::ADMIN),
            Some(_) => Err(ApiError::role("admin")),
            None => Err(ApiError::role("admin").hint("make one with `duramen token create --system --roles admin`")),
        }
    }

    /// Who asks, for audit records: the id of a token, which is no secret, and the address.
    pub(super) fn asker(&self, headers: &HeaderMap, peer: IpAddr) -> Result<String, ApiError> {
        Ok(match self.principal(headers, peer)? {
            Some(Principal { token_id, .. }) => format!("token {token_id} from {}", peer.to_canonical()),
            None => format!("no token, from {}", peer.to_canonical()),
        })
    }

    /// Who holds the token of a request; `None` where the server asks for none.
    fn principal(&self, headers: &HeaderMap, peer: IpAddr) -> Result<Option<Principal>, ApiError> {
        if self.open {
            return check_origin(headers).map(|()| None);
        }
        let Some(secret) = secret(headers)? else {
            return Err(ApiError::unauthorized("no token was given")
                .hint("send it as `Authorization: Bearer TOKEN`, or as the password of Basic"));
        };
        let principal = self.store.catalog()?.authenticate(&secret, peer, Timestamp::now())?;
        Ok(Some(principal))
    }
}

/// Runs what blocks away from the threads that serve sockets.
pub(super) async fn admit(app: &Arc<App>, headers: &HeaderMap, peer: IpAddr, role: Roles) -> Result<Tenant, ApiError> {
    let (app, headers) = (app.clone(), headers.clone());
    let admitted = tokio::task::spawn_blocking(move || app.admit(&headers, peer, role)).await;
    admitted.unwrap_or_else(|e| Err(ApiError::internal(e.to_string())))
}

fn check_role(roles: Roles, role: Roles) -> Result<(), ApiError> {
    if roles.allow(role) { Ok(()) } else { Err(ApiError::role(role.names().next().unwrap_or_default())) }
}

fn tenant_named(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut named = None;
    for header in TENANT_HEADERS {
        for value in headers.get_all(header) {
            let name = value.to_str().map_err(|_| ApiError::access_denied())?.trim();
            // Two names would be read by us as one of them, and by what stands before us as the other, perhaps.
            if named.is_some_and(|other| other != name) {
                return Err(ApiError::bad_request("two different tenants are named"));
            }
            named = Some(name);
        }
    }
    Ok(named.filter(|name| !name.is_empty()))
}

/// The secret of `Authorization`: a bearer's, or the password of Basic.
fn secret(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let bad = || ApiError::unauthorized("`Authorization` is neither Bearer nor Basic");
    let (scheme, rest) = value.to_str().map_err(|_| bad())?.trim().split_once(' ').ok_or_else(bad)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Some(rest.trim().to_string()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(bad());
    }
    let decoded = base64(rest.trim().as_bytes()).and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(bad)?;
    let (_, password) = decoded.split_once(':').ok_or_else(bad)?;
    Ok(Some(password.to_string()))
}

/// RFC 4648, section 4.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let mut bits = 0u32;
    for (i, &c) in text.iter().enumerate() {
        let digit = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        match i % 4 {
            0 => {}
            1 => out.push((bits >> 4) as u8),
            2 => out.push((bits >> 2) as u8),
            _ => out.push(bits as u8),
        }
    }
    (text.len() % 4 != 1).then_some(out)
}

/// A server that asks for no token answers programs of this host. Pages of the web that a browser on it shows are none:
/// a page's requests to other hosts have its `Origin`, and one that had its own name point here has that as `Host`.
fn check_origin(headers: &HeaderMap) -> Result<(), ApiError> {
    let own = |host: &str| {
        let name = match host.strip_prefix('[') {
            Some(v6) => v6.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        let ip = name.parse::<IpAddr>();
        ip.map_or(name == "localhost" || name.ends_with(".localhost") || !name.contains('.'), |ip| ip.is_loopback())
    };
    let text = |name: header::HeaderName| headers.get(name).map(|v| v.to_str().unwrap_or("..").to_string());
    let host_ok = text(header::HOST).is_none_or(|host| own(&host));
    let origin_ok = text(header::ORIGIN).is_none_or(|origin| {
        origin.split_once("://").is_some_and(|(_, host)| own(host) && host.split(':').next() != Some(""))
    });
    if host_ok && origin_ok {
        return Ok(());
    }
    Err(ApiError::new(axum::http::StatusCode::FORBIDDEN, "forbidden", "a page of another site asks")
        .hint("make a token, and the server answers whoever has it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (n.parse().expect("a name"), HeaderValue::from_str(v).expect("a value"))).collect()
    }

    #[test]
    fn secrets() {
        let get = |value: &str| secret(&headers(&[("authorization", value)]));
        assert_eq!(get("Bearer  dmn_x").ok().flatten().as_deref(), Some("dmn_x"));
        assert_eq!(get("basic YW55OmRtbl94OnkK").ok().flatten().as_deref(), Some("dmn_x:y\n"));
        assert_eq!(get("Basic OnA=").ok().flatten().as_deref(), Some("p"));
        for bad in ["dmn_x", "Digest x", "Basic ???", "Basic YQ==", "Basic A"] {
            assert!(get(bad).is_err(), "{bad}");
        }
        assert!(secret(&HeaderMap::new()).is_ok_and(|s| s.is_none()));
    }

    #[test]
    fn pages_of_other_sites_are_no_programs_of_this_host() {
        for good in [
            &[][..],
            &[("host", "127.0.0.1:4880")],
            &[("host", "localhost")],
            &[("host", "[::1]:4880")],
            &[("host", "localhost:1"), ("origin", "http://localhost:3000")],
        ] {
            assert!(check_origin(&headers(good)).is_ok(), "{good:?}");
        }
        for bad in [
            &[("host", "logs.example.com")][..],
            &[("host", "10.0.0.1")],
            &[("host", "localhost"), ("origin", "https://example.com")],
            &[("host", "localhost"), ("origin", "null")],
        ] {
            assert!(check_origin(&headers(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn one_tenant_is_named() {
        let get = |pairs: &[(&'static str, &str)]| tenant_named(&headers(pairs)).map(|t| t.map(String::from)).ok();
        assert_eq!(get(&[("x-duramen-tenant", "a"), ("x-scope-orgid", "a")]), Some(Some("a".into())));
        assert_eq!(get(&[("x-duramen-tenant", "a"), ("x-scope-orgid", "b")]), None);
        assert_eq!(get(&[]), Some(None));
    }
}
