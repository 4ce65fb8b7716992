//! What can be known of an address, by Logstash's names, and where it goes in each layout.

/// A thing that some database knows. The order is that in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Field {
    Ip,
    CityName,
    ContinentCode,
    ContinentName,
    CountryCode2,
    CountryCode3,
    CountryName,
    RegionName,
    RegionCode,
    RegionIsoCode,
    PostalCode,
    Timezone,
    Location,
    Latitude,
    Longitude,
    AutonomousSystemNumber,
    AutonomousSystemOrganization,
    DmaCode,
    Isp,
    Organization,
    Network,
    Anonymous,
    AnonymousVpn,
    HostingProvider,
    PublicProxy,
    ResidentialProxy,
    TorExitNode,
    Domain,
}

/// How many fields there are.
pub(crate) const FIELDS: usize = Field::Domain as usize + 1;

/// Where a field goes in the ECS layout: below which objects, by which name.
pub(crate) type EcsPath = (&'static [&'static str], &'static str);

struct Naming {
    field: Field,
    /// In the option `fields`, any case.
    option: &'static str,
    legacy: &'static str,
    /// `None` where the schema has no such field.
    ecs: Option<EcsPath>,
}

/// A set of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FieldSet(u32);

const GEO: &[&str] = &["geo"];
const AS: &[&str] = &["as"];
const AS_ORGANIZATION: &[&str] = &["as", "organization"];
const MMDB: &[&str] = &["mmdb"];
const TRAITS: &[&str] = &["ip_traits"];

const fn names(
    field: Field,
    option: &'static str,
    legacy: &'static str,
    parents: &'static [&'static str],
    name: &'static str,
) -> Naming {
    Naming { field, option, legacy, ecs: Some((parents, name)) }
}

/// In the order of the fields. Location, latitude and longitude are one object in the ECS layout (`render.rs`).
const NAMES: [Naming; FIELDS] = [
    names(Field::Ip, "ip", "ip", &[], "ip"),
    names(Field::CityName, "city_name", "city_name", GEO, "city_name"),
    names(Field::ContinentCode, "continent_code", "continent_code", GEO, "continent_code"),
    names(Field::ContinentName, "continent_name", "continent_name", GEO, "continent_name"),
    names(Field::CountryCode2, "country_code2", "country_code2", GEO, "country_iso_code"),
    Naming { field: Field::CountryCode3, option: "country_code3", legacy: "country_code3", ecs: None },
    names(Field::CountryName, "country_name", "country_name", GEO, "country_name"),
    names(Field::RegionName, "region_name", "region_name", GEO, "region_name"),
    names(Field::RegionCode, "region_code", "region_code", GEO, "region_code"),
    names(Field::RegionIsoCode, "region_iso_code", "region_iso_code", GEO, "region_iso_code"),
    names(Field::PostalCode, "postal_code", "postal_code", GEO, "postal_code"),
    names(Field::Timezone, "timezone", "timezone", GEO, "timezone"),
    names(Field::Location, "location", "location", GEO, "location"),
    names(Field::Latitude, "latitude", "latitude", GEO, "location"),
    names(Field::Longitude, "longitude", "longitude", GEO, "location"),
    names(Field::AutonomousSystemNumber, "autonomous_system_number", "asn", AS, "number"),
    names(
        Field::AutonomousSystemOrganization,
        "autonomous_system_organization",
        "as_org",
        AS_ORGANIZATION,
        "name",
    ),
    names(Field::DmaCode, "dma_code", "dma_code", MMDB, "dma_code"),
    names(Field::Isp, "isp", "isp", MMDB, "isp"),
    names(Field::Organization, "organization", "organization", MMDB, "organization"),
    names(Field::Network, "network", "network", TRAITS, "network"),
    names(Field::Anonymous, "anonymous", "anonymous", TRAITS, "anonymous"),
    names(Field::AnonymousVpn, "anonymous_vpn", "anonymous_vpn", TRAITS, "anonymous_vpn"),
    names(Field::HostingProvider, "hosting_provider", "hosting_provider", TRAITS, "hosting_provider"),
    names(Field::PublicProxy, "public_proxy", "public_proxy", TRAITS, "public_proxy"),
    names(Field::ResidentialProxy, "residential_proxy", "residential_proxy", TRAITS, "residential_proxy"),
    names(Field::TorExitNode, "tor_exit_node", "tor_exit_node", TRAITS, "tor_exit_node"),
    names(Field::Domain, "domain", "domain", &[], "domain"),
];

// === impl Field ===

impl Field {
    /// The field of this name, any case.
    pub(crate) fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|names| names.option.eq_ignore_ascii_case(name)).map(|names| names.field)
    }

    /// The names of all.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|names| names.option)
    }

    /// All, in the order in which they are written.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|names| names.field)
    }

    /// Its name in the legacy layout.
    pub(crate) fn legacy(self) -> &'static str {
        NAMES[self as usize].legacy
    }

    /// Its path in the ECS layout, if that has one.
    pub(crate) fn ecs(self) -> Option<EcsPath> {
        NAMES[self as usize].ecs
    }
}

// === impl FieldSet ===

impl FieldSet {
    /// These fields.
    pub(crate) const fn of(fields: &[Field]) -> Self {
        let mut set = 0;
        let mut at = 0;
        while at < fields.len() {
            set |= 1 << fields[at] as u32;
            at += 1;
        }
        Self(set)
    }

    pub(crate) const fn contains(self, field: Field) -> bool {
        self.0 >> field as u32 & 1 == 1
    }

    /// Those that are in both.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that are in either.
    pub(crate) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are not in `other`.
    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Field> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let names = NAMES.get(rest.trailing_zeros() as usize)?;
            rest &= rest - 1;
            Some(names.field)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_fields() {
        for (number, names) in NAMES.iter().enumerate() {
            assert_eq!(names.field as usize, number, "{}", names.option);
            assert_eq!(Field::named(&names.option.to_uppercase()), Some(names.field));
        }
        assert_eq!(Field::named("asn"), None, "that is what it is called in the document");
    }

    #[test]
    fn fields_of_one_object_stand_together_in_the_ecs_layout() {
        let mut seen: Vec<&[&str]> = vec![&[]];
        for (parents, name) in Field::all().filter_map(Field::ecs).filter(|(parents, _)| !parents.is_empty())
        {
            if seen.last() != Some(&parents) {
                assert!(!seen.contains(&parents), "{parents:?} is left before {name}");
                seen.push(parents);
            }
        }
    }
}
