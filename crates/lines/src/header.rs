//! Header lines: the first line of a flow-log file that AWS writes to S3 names the record's fields.

/// Field names of VPC Flow Logs (versions 2 to 11) and of transit gateway flow logs (version 6), as AWS spells them.
/// Sorted, for the search.
const FIELD_NAMES: &[&str] = &[
    "account-id",
    "action",
    "asg-tag",
    "asg-tag-2",
    "az-id",
    "bytes",
    "dstaddr",
    "dstport",
    "ecs-cluster-arn",
    "ecs-cluster-name",
    "ecs-container-id",
    "ecs-container-instance-arn",
    "ecs-container-instance-id",
    "ecs-second-container-id",
    "ecs-service-name",
    "ecs-task-arn",
    "ecs-task-definition-arn",
    "ecs-task-id",
    "encryption-status",
    "end",
    "flow-direction",
    "instance-id",
    "instance-tag",
    "instance-tag-2",
    "interface-id",
    "interface-tag",
    "interface-tag-2",
    "interface-type",
    "log-status",
    "next-hop-az-id",
    "next-hop-interface-id",
    "next-hop-interface-type",
    "next-hop-subnet-id",
    "next-hop-vpc-id",
    "packets",
    "packets-lost-blackhole",
    "packets-lost-mtu-exceeded",
    "packets-lost-no-route",
    "packets-lost-ttl-expired",
    "pkt-dst-aws-service",
    "pkt-dstaddr",
    "pkt-src-aws-service",
    "pkt-srcaddr",
    "protocol",
    "region",
    "reject-reason",
    "resource-id",
    "resource-type",
    "srcaddr",
    "srcport",
    "start",
    "sublocation-id",
    "sublocation-type",
    "subnet-id",
    "tcp-flags",
    "tgw-attachment-id",
    "tgw-dst-az-id",
    "tgw-dst-eni",
    "tgw-dst-subnet-id",
    "tgw-dst-vpc-account-id",
    "tgw-dst-vpc-id",
    "tgw-id",
    "tgw-pair-attachment-id",
    "tgw-src-az-id",
    "tgw-src-eni",
    "tgw-src-subnet-id",
    "tgw-src-vpc-account-id",
    "tgw-src-vpc-id",
    "traffic-path",
    "type",
    "version",
    "vpc-id",
];

/// Names that are no words of a language: one of them must be there, or `start end` would be a header.
const UNMISTAKABLE: &[&str] = &["dstaddr", "dstport", "srcaddr", "srcport"];

/// The format that `line` names if it is a header, trimmed.
///
/// Every word must look like a field name (letters, digits, `-`, `_`; a letter first) and occur once, at least half
/// must be known, so that fields that AWS adds later do not hide a header, and one must be unmistakable. A record can
/// never pass: it has numbers, addresses or `-`.
pub fn flow_log_format(line: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(line).ok()?.trim();
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let known: Vec<bool> = words.iter().map(|word| is_known(word)).collect();
    let all_names = words.iter().all(|word| is_name(word));
    let repeated = words.iter().enumerate().any(|(index, word)| words[..index].contains(word));
    let many_known = known.iter().filter(|known| **known).count() * 2 >= words.len();
    let sure = words
        .iter()
        .zip(&known)
        .any(|(word, known)| *known && (word.contains(['-', '_']) || UNMISTAKABLE.contains(word)));
    (all_names && !repeated && many_known && sure).then_some(line)
}

fn is_name(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_lowercase())
        && word
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_'))
}

fn is_known(word: &str) -> bool {
    FIELD_NAMES.binary_search(&word).is_ok() || FIELD_NAMES.binary_search(&&*word.replace('_', "-")).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_sorted_for_the_search() {
        assert!(FIELD_NAMES.is_sorted());
    }

    #[test]
    fn header_lines_are_told_from_records_and_prose() {
        let v2 = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status";
        for (line, expect) in [
            (v2, true),
            (
                "account-id bytes dstaddr dstport end instance-id packets pkt-dstaddr pkt-srcaddr protocol srcaddr",
                true,
            ),
            ("  version  interface-id\tsrcaddr ", true),
            ("version account_id interface_id log_status", true),
            ("interface-id", true),
            ("srcaddr dstaddr", true),
            // Fields of a version to come.
            ("version account-id quantum-state flux-2", true),
            ("account-id all-new names-here and-there", false),
            ("", false),
            ("start end", false),
            ("version", false),
            ("action", false),
            (
                "2 123456789010 eni-1235b8ca123456789 172.31.16.139 172.31.16.21 20641 22 6 20 4249 1418530010 1418530070 ACCEPT OK",
                false,
            ),
            ("2 123456789010 eni-1235b8ca123456789 - - - - - - - 1431280876 1431280934 - NODATA", false),
            ("version account-id -", false),
            ("version account-id 2", false),
            ("version account-id account-id", false),
            ("Version Account-Id", false),
            ("some-thing happened in vpc-id", false),
            ("{\"version\":2,\"account-id\":1}", false),
            ("version,account-id,srcaddr", false),
        ] {
            assert_eq!(flow_log_format(line.as_bytes()).is_some(), expect, "{line:?}");
        }
        assert_eq!(flow_log_format(b" a-b \xff"), None);
        assert_eq!(flow_log_format(b" srcaddr dstaddr\t"), Some("srcaddr dstaddr"));
    }
}
