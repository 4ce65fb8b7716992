//! The Community ID of a flow, version 1 with seed 0: one text for both directions of a conversation, by which flow
//! logs, Zeek, Suricata and Elastic's tools find each other's records (github.com/corelight/community-id-spec).

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

/// The length of an id in characters: `1:` and 20 bytes in base64.
const LEN: usize = 2 + 28;

/// One end of a flow; ports are not counted where the protocol has none.
pub(crate) type End = (IpAddr, Option<u16>);

/// The id of the flow between two ends, if the specification has one: TCP, UDP and SCTP need their ports.
///
/// ICMP gets none here, because its id is made of the message's type and code, which flow logs do not carry.
pub(crate) fn community_id(protocol: u8, source: End, destination: End) -> Option<[u8; LEN]> {
    let has_ports = match protocol {
        1 | 58 => return None,
        6 | 17 | 132 => true,
        _ => false,
    };
    let octets = [Octets::of(source.0), Octets::of(destination.0)];
    let ports = if has_ports { [source.1?, destination.1?] } else { [0, 0] };
    // The lower end comes first, whichever sent the packets.
    let [from, to] =
        if (octets[0].bytes(), ports[0]) <= (octets[1].bytes(), ports[1]) { [0, 1] } else { [1, 0] };
    let mut hash = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(&[0, 0]);
    hash.update(octets[from].bytes());
    hash.update(octets[to].bytes());
    hash.update(&[protocol, 0]);
    if has_ports {
        hash.update(&ports[from].to_be_bytes());
        hash.update(&ports[to].to_be_bytes());
    }
    let mut id = [0; LEN];
    id[..2].copy_from_slice(b"1:");
    STANDARD.encode_slice(hash.finish(), &mut id[2..]).ok()?;
    Some(id)
}

/// An address as the bytes of its packet header, 4 or 16.
enum Octets {
    V4([u8; 4]),
    V6([u8; 16]),
}

// === impl Octets ===

impl Octets {
    fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => Self::V6(address.octets()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::V4(octets) => octets,
            Self::V6(octets) => octets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(protocol: u8, source: (&str, u16), destination: (&str, u16)) -> Option<String> {
        let end = |(address, port): (&str, u16)| (address.parse().unwrap(), Some(port));
        Some(String::from_utf8(community_id(protocol, end(source), end(destination))?.to_vec()).unwrap())
    }

    #[test]
    fn ids_are_those_of_the_specification() {
        // The TCP and UDP values of the specification's baseline data, both ways round.
        for (protocol, source, destination, expect) in [
            (6, ("128.232.110.120", 34_855), ("66.35.250.204", 80), "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
            (17, ("192.168.1.52", 54_585), ("8.8.8.8", 53), "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
        ] {
            assert_eq!(id(protocol, source, destination).as_deref(), Some(expect));
            assert_eq!(id(protocol, destination, source).as_deref(), Some(expect));
        }
    }

    #[test]
    fn protocols_without_ports_do_not_look_at_them_and_icmp_has_no_id() {
        let (a, b) = ("10.0.0.1", "10.0.0.2");
        assert!(id(47, (a, 0), (b, 0)).is_some());
        assert_eq!(id(47, (a, 1), (b, 2)), id(47, (b, 3), (a, 4)));
        assert_eq!(id(1, (a, 0), (b, 0)), None);
        assert_eq!(id(58, ("2001:db8::1", 0), ("2001:db8::2", 0)), None);
        let ends = (a.parse().unwrap(), b.parse().unwrap());
        assert_eq!(community_id(6, (ends.0, None), (ends.1, Some(1))), None, "TCP without a port");
    }
}
