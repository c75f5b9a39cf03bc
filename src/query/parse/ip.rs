//! Ranges of addresses: `10.0.0.0/8`, `ipv4_range(10.0.0.1, 10.0.0.9)`.

use nom::Err;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::super::ast::IpRange;
use super::input::{Fault, Located};

/// The network that a bare word is; an error where its mask is too long.
pub(super) fn network(i: Located<'_>, word: &str) -> Result<Option<IpRange>, Err<Fault>> {
    let Some((address, bits)) = word.split_once('/') else { return Ok(None) };
    if bits.is_empty() || bits.len() > 3 || !bits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    let bits: u32 = bits.parse().unwrap_or(u32::MAX);
    let width = match (address.parse::<Ipv4Addr>(), address.parse::<Ipv6Addr>()) {
        (Ok(address), _) if bits <= 32 => return Ok(Some(v4_network(address.into(), bits))),
        (_, Ok(address)) if bits <= 128 => return Ok(Some(v6_network(address.into(), bits))),
        (Ok(_), _) => 32,
        (_, Ok(_)) => 128,
        _ => return Ok(None),
    };
    Err(Fault::new(i.span(word.len()), format!("a network of this kind has at most {width} bits")).stop())
}

fn v4_network(address: u32, bits: u32) -> IpRange {
    let host = u32::MAX.checked_shr(bits).unwrap_or(0);
    IpRange::V4(address & !host, address | host)
}

fn v6_network(address: u128, bits: u32) -> IpRange {
    let host = u128::MAX.checked_shr(bits).unwrap_or(0);
    IpRange::V6(address & !host, address | host)
}

/// The range that the arguments of `ipv4_range` or `ipv6_range` mean.
pub(super) fn from_arguments(i: Located<'_>, six: bool, arguments: &[Box<str>]) -> Result<IpRange, Err<Fault>> {
    let wrong = || {
        let (kind, example) = if six {
            ("ipv6_range", "`ipv6_range(2001:db8::/32)` or `ipv6_range(::1, ::9)`")
        } else {
            ("ipv4_range", "`ipv4_range(10.0.0.0/8)` or `ipv4_range(10.0.0.1, 10.0.0.9)`")
        };
        i.fault(format!("`{kind}` takes a network, an address, or the first and the last address")).expected(example)
    };
    let range = match arguments {
        [one] => match network(i, one)? {
            Some(range) => Some(range),
            None => between(one, one),
        },
        [first, last] => between(first, last),
        _ => None,
    };
    match range {
        Some(IpRange::V4(a, b)) if !six && a <= b => Ok(IpRange::V4(a, b)),
        Some(IpRange::V6(a, b)) if six && a <= b => Ok(IpRange::V6(a, b)),
        Some(IpRange::V4(..)) if six => Err(wrong().hint("for IPv4 there is `ipv4_range`").stop()),
        Some(IpRange::V6(..)) if !six => Err(wrong().hint("for IPv6 there is `ipv6_range`").stop()),
        Some(_) => Err(wrong().hint("the first address is greater than the last").stop()),
        None => Err(wrong().stop()),
    }
}

fn between(first: &str, last: &str) -> Option<IpRange> {
    match (first.parse::<Ipv4Addr>(), last.parse::<Ipv4Addr>()) {
        (Ok(a), Ok(b)) => return Some(IpRange::V4(a.into(), b.into())),
        (Err(_), Err(_)) => {}
        _ => return None,
    }
    Some(IpRange::V6(first.parse::<Ipv6Addr>().ok()?.into(), last.parse::<Ipv6Addr>().ok()?.into()))
}
