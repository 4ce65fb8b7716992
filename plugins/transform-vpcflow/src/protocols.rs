//! The names of IP protocols, as IANA registers them ("Assigned Internet Protocol Numbers", June 2026), in lower case.

/// The keyword of each protocol number; empty where IANA has assigned none.
pub(crate) const PROTOCOLS: [&str; 256] = {
    let mut names = [""; 256];
    let mut number = 0;
    while number < ASSIGNED.len() {
        names[number] = ASSIGNED[number];
        number += 1;
    }
    names[255] = "reserved";
    names
};

#[rustfmt::skip]
const ASSIGNED: [&str; 148] = [
    "hopopt", "icmp", "igmp", "ggp", "ipv4", "st", "tcp", "cbt", "egp", "igp",                                     // 0
    "bbn-rcc-mon", "nvp-ii", "pup", "argus", "emcon", "xnet", "chaos", "udp", "mux", "dcn-meas",                   // 10
    "hmp", "prm", "xns-idp", "trunk-1", "trunk-2", "leaf-1", "leaf-2", "rdp", "irtp", "iso-tp4",                   // 20
    "netblt", "mfe-nsp", "merit-inp", "dccp", "3pc", "idpr", "xtp", "ddp", "idpr-cmtp", "tp++",                    // 30
    "il", "ipv6", "sdrp", "ipv6-route", "ipv6-frag", "idrp", "rsvp", "gre", "dsr", "bna",                          // 40
    "esp", "ah", "i-nlsp", "swipe", "narp", "min-ipv4", "tlsp", "skip", "ipv6-icmp", "ipv6-nonxt",                 // 50
    "ipv6-opts", "", "cftp", "", "sat-expak", "kryptolan", "rvd", "ippc", "", "sat-mon",                           // 60
    "visa", "ipcv", "cpnx", "cphb", "wsn", "pvp", "br-sat-mon", "sun-nd", "wb-mon", "wb-expak",                    // 70
    "iso-ip", "vmtp", "secure-vmtp", "vines", "iptm", "nsfnet-igp", "dgp", "tcf", "eigrp", "ospf",                 // 80
    "sprite-rpc", "larp", "mtp", "ax.25", "ipip", "micp", "scc-sp", "etherip", "encap", "",                        // 90
    "gmtp", "ifmp", "pnni", "pim", "aris", "scps", "qnx", "a/n", "ipcomp", "snp",                                  // 100
    "compaq-peer", "ipx-in-ip", "vrrp", "pgm", "", "l2tp", "ddx", "iatp", "stp", "srp",                            // 110
    "uti", "smp", "sm", "ptp", "isis", "fire", "crtp", "crudp", "sscopmce", "iplt",                                // 120
    "sps", "pipe", "sctp", "fc", "rsvp-e2e-ignore", "mobility-header", "udplite", "mpls-in-ip", "manet", "hip",    // 130
    "shim6", "wesp", "rohc", "ethernet", "aggfrag", "nsh", "homa", "bit-emu",                                      // 140
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_numbers_have_their_names() {
        for (number, name) in [
            (0, "hopopt"),
            (1, "icmp"),
            (6, "tcp"),
            (17, "udp"),
            (29, "iso-tp4"),
            (41, "ipv6"),
            (47, "gre"),
            (50, "esp"),
            (51, "ah"),
            (58, "ipv6-icmp"),
            (69, "sat-mon"),
            (88, "eigrp"),
            (89, "ospf"),
            (97, "etherip"),
            (103, "pim"),
            (108, "ipcomp"),
            (112, "vrrp"),
            (115, "l2tp"),
            (124, "isis"),
            (132, "sctp"),
            (136, "udplite"),
            (137, "mpls-in-ip"),
            (143, "ethernet"),
            (144, "aggfrag"),
            (145, "nsh"),
            (146, "homa"),
            (148, ""),
            (253, ""),
            (255, "reserved"),
        ] {
            assert_eq!(PROTOCOLS[number], name, "{number}");
        }
    }
}
