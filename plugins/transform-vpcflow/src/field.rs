//! The fields that AWS documents for flow log records, what type each has and what its values look like.
//!
//! Sources: "Flow log records" of the VPC guide (versions 2 to 5, 7 to 11; June 2026) and "Transit Gateway Flow Logs"
//! (version 6), with Amazon's Parquet types.

use std::net::IpAddr;

/// A documented field.
#[derive(Debug)]
pub(crate) struct Field {
    /// The name as AWS spells it in a format: `account-id`.
    pub(crate) name: &'static str,
    /// Whether its values are integers; all others are text.
    pub(crate) integer: bool,
    /// What its values look like, to tell formats of one length apart.
    pub(crate) look: Look,
}

/// What a field's values look like. `-`, which stands for "none", fits everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Any text: names, open lists of words, percent-encoded tags.
    Any,
    /// An integer.
    Integer,
    /// An integer from 0 to this.
    UpTo(i64),
    /// Seconds (or milliseconds) since the epoch, of this century.
    Epoch,
    /// An IPv4 or IPv6 address.
    Address,
    /// An account number, or `unknown`.
    Account,
    /// Begins like this: `eni-`.
    Prefix(&'static str),
    /// An Amazon Resource Name of this kind of thing: `:cluster/`.
    Arn(&'static str),
    /// One of these words.
    Word(&'static [&'static str]),
}

/// The 14 fields of the default format, all of version 2.
pub(crate) const DEFAULT_FORMAT: &str = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets \
                                         bytes start end action log-status";

const fn text(name: &'static str, look: Look) -> Field {
    Field { name, integer: false, look }
}

const fn integer(name: &'static str, look: Look) -> Field {
    Field { name, integer: true, look }
}

/// Every documented field, by the version that brought it.
pub(crate) const FIELDS: &[Field] = &[
    // version 2
    integer("version", Look::UpTo(99)),
    text("account-id", Look::Account),
    text("interface-id", Look::Prefix("eni-")),
    text("srcaddr", Look::Address),
    text("dstaddr", Look::Address),
    integer("srcport", Look::UpTo(65_535)),
    integer("dstport", Look::UpTo(65_535)),
    integer("protocol", Look::UpTo(255)),
    integer("packets", Look::Integer),
    integer("bytes", Look::Integer),
    integer("start", Look::Epoch),
    integer("end", Look::Epoch),
    text("action", Look::Word(&["ACCEPT", "REJECT"])),
    text("log-status", Look::Word(&["OK", "NODATA", "SKIPDATA"])),
    // version 3
    text("vpc-id", Look::Prefix("vpc-")),
    text("subnet-id", Look::Prefix("subnet-")),
    text("instance-id", Look::Prefix("i-")),
    integer("tcp-flags", Look::UpTo(255)),
    text("type", Look::Word(&["IPv4", "IPv6", "EFA"])),
    text("pkt-srcaddr", Look::Address),
    text("pkt-dstaddr", Look::Address),
    // version 4
    text("region", Look::Any),
    text("az-id", Look::Any),
    text("sublocation-type", Look::Any),
    text("sublocation-id", Look::Any),
    // version 5
    text("pkt-src-aws-service", Look::Any),
    text("pkt-dst-aws-service", Look::Any),
    text("flow-direction", Look::Word(&["ingress", "egress"])),
    integer("traffic-path", Look::UpTo(99)),
    // version 6: transit gateways only
    text("resource-type", Look::Any),
    text("tgw-id", Look::Prefix("tgw-")),
    text("tgw-attachment-id", Look::Prefix("tgw-attach-")),
    text("tgw-src-vpc-account-id", Look::Account),
    text("tgw-dst-vpc-account-id", Look::Account),
    text("tgw-src-vpc-id", Look::Prefix("vpc-")),
    text("tgw-dst-vpc-id", Look::Prefix("vpc-")),
    text("tgw-src-subnet-id", Look::Prefix("subnet-")),
    text("tgw-dst-subnet-id", Look::Prefix("subnet-")),
    text("tgw-src-eni", Look::Prefix("eni-")),
    text("tgw-dst-eni", Look::Prefix("eni-")),
    text("tgw-src-az-id", Look::Any),
    text("tgw-dst-az-id", Look::Any),
    text("tgw-pair-attachment-id", Look::Prefix("tgw-attach-")),
    integer("packets-lost-no-route", Look::Integer),
    integer("packets-lost-blackhole", Look::Integer),
    integer("packets-lost-mtu-exceeded", Look::Integer),
    integer("packets-lost-ttl-expired", Look::Integer),
    // version 7
    text("ecs-cluster-arn", Look::Arn(":cluster/")),
    text("ecs-cluster-name", Look::Any),
    text("ecs-container-instance-arn", Look::Arn(":container-instance/")),
    text("ecs-container-instance-id", Look::Any),
    text("ecs-container-id", Look::Any),
    text("ecs-second-container-id", Look::Any),
    text("ecs-service-name", Look::Any),
    text("ecs-task-definition-arn", Look::Arn(":task-definition/")),
    text("ecs-task-arn", Look::Arn(":task/")),
    text("ecs-task-id", Look::Any),
    // version 8: `BPA`, `EC`; the list grows
    text("reject-reason", Look::Any),
    // version 9
    text("resource-id", Look::Any),
    // version 10: 0 none, 1 Nitro, 2 by the application, 3 both
    integer("encryption-status", Look::UpTo(99)),
    // version 11
    text("instance-tag", Look::Any),
    text("instance-tag-2", Look::Any),
    text("interface-tag", Look::Any),
    text("interface-tag-2", Look::Any),
    text("asg-tag", Look::Any),
    text("asg-tag-2", Look::Any),
    text("interface-type", Look::Any),
    text("next-hop-interface-id", Look::Prefix("eni-")),
    text("next-hop-subnet-id", Look::Prefix("subnet-")),
    text("next-hop-az-id", Look::Any),
    text("next-hop-vpc-id", Look::Prefix("vpc-")),
    text("next-hop-interface-type", Look::Any),
];

/// The documented field of this name.
pub(crate) fn find(name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.name == name)
}

// === impl Look ===

impl Look {
    /// Whether `value` could be one of these.
    pub(crate) fn fits(self, value: &str) -> bool {
        if value == "-" {
            return true;
        }
        match self {
            Self::Any => true,
            Self::Integer => value.parse::<i64>().is_ok(),
            Self::UpTo(most) => value.parse::<i64>().is_ok_and(|number| (0..=most).contains(&number)),
            // Nine digits and fewer are before September 2001; thirteen are milliseconds.
            Self::Epoch => {
                value.parse::<i64>().is_ok_and(|number| (1_000_000_000..10_000_000_000_000).contains(&number))
            }
            Self::Address => value.parse::<IpAddr>().is_ok(),
            Self::Account => {
                value == "unknown" || (value.len() <= 12 && value.bytes().all(|byte| byte.is_ascii_digit()))
            }
            Self::Prefix(prefix) => value.len() > prefix.len() && value.starts_with(prefix),
            Self::Arn(kind) => value.starts_with("arn:") && value.contains(kind),
            Self::Word(words) => words.contains(&value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_what_each_version_brought() {
        // 54 fields of VPC records up to version 11, and the 18 that only transit gateways have.
        assert_eq!(FIELDS.len(), 54 + 18);
        assert_eq!(DEFAULT_FORMAT.split(' ').count(), 14);
        let mut names: Vec<&str> = FIELDS.iter().map(|field| field.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FIELDS.len(), "no field stands twice");
        assert!(DEFAULT_FORMAT.split(' ').all(|name| find(name).is_some()));
    }

    #[test]
    fn values_are_told_apart_by_their_look() {
        for (look, fits, does_not) in [
            (Look::Any, vec!["", "x", "-"], vec![]),
            (Look::Integer, vec!["0", "-", "18446744073", "-5"], vec!["", "x", "1.5", "9223372036854775808"]),
            (Look::UpTo(65_535), vec!["0", "65535", "-"], vec!["65536", "-1", "22a"]),
            (Look::Epoch, vec!["1418530010", "1512564058000", "-"], vec!["6", "949600000", "99999999999999"]),
            (Look::Address, vec!["10.0.0.1", "2001:db8::1", "-"], vec!["10.0.0.999", "eni-1"]),
            (Look::Account, vec!["000000000000", "unknown", "-"], vec!["1234567890123", "10.0.0.1"]),
            (Look::Prefix("eni-"), vec!["eni-1", "-"], vec!["eni-", "i-1"]),
            (
                Look::Arn(":task/"),
                vec!["arn:aws:ecs:us-east-1:1:task/c/1", "-"],
                vec!["arn:aws:ecs:us-east-1:1:task-definition/t:1", "x"],
            ),
            (Look::Word(&["ACCEPT", "REJECT"]), vec!["ACCEPT", "-"], vec!["accept", "OK"]),
        ] {
            for value in fits {
                assert!(look.fits(value), "{look:?} fits {value}");
            }
            for value in does_not {
                assert!(!look.fits(value), "{look:?} does not fit {value}");
            }
        }
    }
}
