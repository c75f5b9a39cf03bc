//! Addresses inside a network or a range.

use crate::query::ast::IpRange;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Is the text, as a whole, an address in the range?
pub(crate) fn contains(range: IpRange, text: &str) -> bool {
    match range {
        IpRange::V4(first, last) => {
            text.parse::<Ipv4Addr>().is_ok_and(|address| (first..=last).contains(&u32::from(address)))
        }
        IpRange::V6(first, last) => {
            text.parse::<Ipv6Addr>().is_ok_and(|address| (first..=last).contains(&u128::from(address)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let ten = IpRange::V4(0x0a00_0000, 0x0aff_ffff);
        let six = IpRange::V6(1, 2);
        for (range, text, expect) in [
            (ten, "10.1.2.3", true),
            (ten, "11.1.2.3", false),
            (ten, "10.1.2.3 ", false),
            (ten, "10.1", false),
            (ten, "::1", false),
            (six, "::1", true),
            (six, "::3", false),
        ] {
            assert_eq!(contains(range, text), expect, "{text}");
        }
    }
}
