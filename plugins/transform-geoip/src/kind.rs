//! The kinds of database: what each can say and says by default, as in Logstash.

use Field::{
    Anonymous, AnonymousVpn, AutonomousSystemNumber, AutonomousSystemOrganization, CityName, ContinentCode,
    ContinentName, CountryCode2, CountryCode3, CountryName, DmaCode, Domain, HostingProvider, Ip, Isp,
    Latitude, Location, Longitude, Network, Organization, PostalCode, PublicProxy, RegionCode, RegionIsoCode,
    RegionName, ResidentialProxy, Timezone, TorExitNode,
};

use crate::field::{Field, FieldSet};

/// What a database is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    City,
    Country,
    Domain,
    Asn,
    Isp,
    Enterprise,
    AnonymousIp,
}

/// Words in a database's type, in the order in which Logstash looks for them.
const WORDS: [(&str, Kind); 7] = [
    ("city", Kind::City),
    ("country", Kind::Country),
    ("domain", Kind::Domain),
    ("asn", Kind::Asn),
    ("isp", Kind::Isp),
    ("enterprise", Kind::Enterprise),
    ("anonymous", Kind::AnonymousIp),
];

/// For a message.
pub(crate) const KINDS: &str = "City, Country, ASN, ISP, Domain, Anonymous-IP or Enterprise";

const FLAGS: FieldSet =
    FieldSet::of(&[HostingProvider, TorExitNode, AnonymousVpn, Anonymous, PublicProxy, ResidentialProxy]);
const CITY: FieldSet = FieldSet::of(&[
    Ip,
    CityName,
    ContinentCode,
    CountryName,
    CountryCode2,
    CountryCode3,
    PostalCode,
    DmaCode,
    RegionName,
    Timezone,
    Location,
    Latitude,
    Longitude,
]);
const COUNTRY: FieldSet = FieldSet::of(&[Ip, CountryCode2, CountryName, ContinentName]);
const ASN: FieldSet = FieldSet::of(&[Ip, AutonomousSystemNumber, AutonomousSystemOrganization]);
const ISP: FieldSet = ASN.or(FieldSet::of(&[Isp, Organization]));
const ENTERPRISE: FieldSet = COUNTRY.or(FieldSet::of(&[RegionIsoCode, RegionName, CityName, Location]));

// === impl Kind ===

impl Kind {
    /// The kind that a database's type names: `GeoLite2-City`, `DBIP-ASN-Lite (compat=GeoLite2-ASN)`, `country ipv4`.
    pub(crate) fn of_type(database_type: &str) -> Option<Self> {
        let lower = database_type.to_ascii_lowercase();
        // What it says it can stand in for counts before its own name.
        let claims = lower.split_once("compat=").map(|(_, compatible)| compatible);
        [claims, Some(lower.as_str())].into_iter().flatten().find_map(|text| {
            let has = |word: &str| text.split(|c: char| !c.is_ascii_alphanumeric()).any(|part| part == word);
            WORDS.iter().find(|(word, _)| has(word)).map(|(_, kind)| *kind)
        })
    }

    /// What such a database can say.
    pub(crate) const fn can_say(self) -> FieldSet {
        match self {
            Self::City => CITY.or(FieldSet::of(&[ContinentName, RegionCode, RegionIsoCode])),
            Self::Country => COUNTRY,
            Self::Domain => FieldSet::of(&[Domain]),
            Self::Asn => ASN.or(FieldSet::of(&[Network])),
            Self::Isp => ISP,
            Self::Enterprise => ENTERPRISE
                .or(FieldSet::of(&[Timezone, AutonomousSystemNumber, AutonomousSystemOrganization, Network]))
                .or(FLAGS),
            Self::AnonymousIp => FLAGS.or(FieldSet::of(&[Ip])),
        }
    }

    /// What it says when nothing is asked for. Of a region the two layouts have different codes.
    pub(crate) const fn says_by_default(self, ecs: bool) -> FieldSet {
        match self {
            Self::City if ecs => CITY.or(FieldSet::of(&[RegionIsoCode])),
            Self::City => CITY.or(FieldSet::of(&[RegionCode])),
            Self::Country => COUNTRY,
            Self::Domain => FieldSet::of(&[Domain]),
            Self::Asn => ASN,
            Self::Isp => ISP,
            Self::Enterprise => ENTERPRISE,
            Self::AnonymousIp => FLAGS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_names_its_kind() {
        for (name, kind) in [
            ("GeoLite2-City", Some(Kind::City)),
            ("GeoIP2-City-North-America", Some(Kind::City)),
            ("GeoLite2-Country", Some(Kind::Country)),
            ("GeoLite2-ASN", Some(Kind::Asn)),
            ("GeoIP2-ISP", Some(Kind::Isp)),
            ("GeoIP2-Domain", Some(Kind::Domain)),
            ("GeoIP2-Anonymous-IP", Some(Kind::AnonymousIp)),
            ("GeoIP2-Enterprise", Some(Kind::Enterprise)),
            ("DBIP-City-Lite", Some(Kind::City)),
            ("DBIP-ASN-Lite (compat=GeoLite2-ASN)", Some(Kind::Asn)),
            ("DBIP-Location-ISP (compat=Enterprise)", Some(Kind::Enterprise)),
            ("country ipv4", Some(Kind::Country)),
            ("asn ipvAll", Some(Kind::Asn)),
            ("GeoIP2-Connection-Type", None),
            ("Felicity", None),
            ("", None),
        ] {
            assert_eq!(Kind::of_type(name), kind, "{name}");
        }
    }

    #[test]
    fn what_is_said_by_default_can_be_said() {
        for (_, kind) in WORDS {
            for ecs in [false, true] {
                assert_eq!(
                    kind.says_by_default(ecs).and(kind.can_say()),
                    kind.says_by_default(ecs),
                    "{kind:?}"
                );
            }
        }
    }
}
