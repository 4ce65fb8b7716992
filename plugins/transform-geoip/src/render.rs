//! The object that becomes a field of the event, in either layout.

use std::sync::LazyLock;

use flowstone_core::event::{Cell, MemberName, ObjectText, ObjectWriter};
use flowstone_mmdb::Record;

use crate::field::{EcsPath, FIELDS, Field, FieldSet};
use crate::kind::Kind;

/// What databases say of an address, by field.
#[derive(Debug, Default)]
pub(crate) struct Facts<'a> {
    facts: [Option<Fact<'a>>; FIELDS],
}

#[derive(Clone, Copy, Debug)]
enum Fact<'a> {
    Text(&'a str),
    /// `GB-WBK`.
    Joined(&'a str, &'a str),
    Whole(u64),
    Number(f64),
    Flag(bool),
    /// Latitude and longitude.
    Point(f64, f64),
    /// The address itself, which is the row's own and not written here.
    Own,
}

/// How fields are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Layout {
    /// Logstash's own names, side by side.
    Legacy,
    /// The Elastic Common Schema's.
    Ecs,
}

/// The names that are written, made once.
struct MemberNames {
    /// By field.
    legacy: Vec<MemberName>,
    /// By field: the names of the objects that it is in, and its own.
    ecs: Vec<Option<(Vec<MemberName>, MemberName)>>,
    location: MemberName,
    lat: MemberName,
    lon: MemberName,
}

static NAMES: LazyLock<MemberNames> = LazyLock::new(|| {
    let of_ecs = |(parents, name): EcsPath| {
        (parents.iter().map(|parent| MemberName::of(parent)).collect(), MemberName::of(name))
    };
    MemberNames {
        legacy: Field::all().map(|field| MemberName::of(field.legacy())).collect(),
        ecs: Field::all().map(|field| field.ecs().map(of_ecs)).collect(),
        location: MemberName::of("location"),
        lat: MemberName::of("lat"),
        lon: MemberName::of("lon"),
    }
});

// === impl Facts ===

impl<'a> Facts<'a> {
    /// Adds the fields of a record that are wanted and that no database before had.
    pub(crate) fn add(
        &mut self,
        kind: Kind,
        wanted: FieldSet,
        record: &Record<'a>,
        network: Option<&'a str>,
    ) {
        // As in Logstash, which reads nothing out of such a record.
        if kind == Kind::City && record.latitude.is_none() && record.longitude.is_none() {
            return;
        }
        for field in wanted.and(kind.can_say()).iter() {
            if self.facts[field as usize].is_none() {
                self.facts[field as usize] = Fact::of(field, record, network);
            }
        }
    }

    /// Whether nothing is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.facts.iter().all(Option::is_none)
    }

    /// Whether the address itself is to be told.
    pub(crate) fn has_ip(&self) -> bool {
        self.facts[Field::Ip as usize].is_some()
    }

    /// The object, without the address itself.
    pub(crate) fn render(&self, layout: Layout, object: &mut ObjectWriter) -> ObjectText {
        let names = &*NAMES;
        match layout {
            Layout::Legacy => {
                self.known()
                    .for_each(|(field, fact)| fact.write(&names.legacy[field as usize], names, object));
            }
            Layout::Ecs => self.render_ecs(names, object),
        }
        object.finish()
    }

    fn known(&self) -> impl Iterator<Item = (Field, Fact<'a>)> {
        Field::all().filter_map(|field| Some((field, self.facts[field as usize]?)))
    }

    fn render_ecs(&self, names: &MemberNames, object: &mut ObjectWriter) {
        let mut open: &[&str] = &[];
        for (field, fact) in self.known() {
            let (Some((parents, _)), Some((openings, name))) = (field.ecs(), &names.ecs[field as usize])
            else {
                continue;
            };
            let shared = open.iter().zip(parents).take_while(|(a, b)| a == b).count();
            open[shared..].iter().for_each(|_| object.close());
            openings[shared..].iter().for_each(|parent| object.open(parent));
            open = parents;
            match field {
                Field::Location | Field::Latitude | Field::Longitude => {
                    self.render_point(field, names, object)
                }
                _ => fact.write(name, names, object),
            }
        }
    }

    /// Writes one object for the three fields of the other layout, at the position of the first of them.
    fn render_point(&self, first: Field, names: &MemberNames, object: &mut ObjectWriter) {
        let [point, latitude, longitude] =
            [Field::Location, Field::Latitude, Field::Longitude].map(|field| self.facts[field as usize]);
        match (point, first) {
            (Some(point), Field::Location) => return point.write(&names.location, names, object),
            (None, Field::Latitude) => {}
            (None, _) if latitude.is_none() => {}
            _ => return,
        }
        object.open(&names.location);
        latitude.into_iter().for_each(|fact| fact.write(&names.lat, names, object));
        longitude.into_iter().for_each(|fact| fact.write(&names.lon, names, object));
        object.close();
    }
}

// === impl Fact ===

impl<'a> Fact<'a> {
    fn of(field: Field, record: &Record<'a>, network: Option<&'a str>) -> Option<Self> {
        match field {
            Field::Ip => Some(Self::Own),
            Field::CityName => record.city_name.map(Self::Text),
            Field::ContinentCode => record.continent_code.map(Self::Text),
            Field::ContinentName => record.continent_name.map(Self::Text),
            // Both have two letters: the databases know no others, and Logstash has it so.
            Field::CountryCode2 | Field::CountryCode3 => record.country_code.map(Self::Text),
            Field::CountryName => record.country_name.map(Self::Text),
            Field::RegionName => record.region_name.map(Self::Text),
            Field::RegionCode => record.region_code.map(Self::Text),
            Field::RegionIsoCode => Some(Self::Joined(record.country_code?, record.region_code?)),
            Field::PostalCode => record.postal_code.map(Self::Text),
            Field::Timezone => record.timezone.map(Self::Text),
            Field::Location => Some(Self::Point(record.latitude?, record.longitude?)),
            Field::Latitude => record.latitude.map(Self::Number),
            Field::Longitude => record.longitude.map(Self::Number),
            Field::AutonomousSystemNumber => record.autonomous_system_number.map(Self::Whole),
            Field::AutonomousSystemOrganization => record.autonomous_system_organization.map(Self::Text),
            Field::DmaCode => record.dma_code.map(Self::Whole),
            Field::Isp => record.isp.map(Self::Text),
            Field::Organization => record.organization.map(Self::Text),
            Field::Network => network.map(Self::Text),
            Field::Anonymous => Some(Self::Flag(record.is_anonymous)),
            Field::AnonymousVpn => Some(Self::Flag(record.is_anonymous_vpn)),
            Field::HostingProvider => Some(Self::Flag(record.is_hosting_provider)),
            Field::PublicProxy => Some(Self::Flag(record.is_public_proxy)),
            Field::ResidentialProxy => Some(Self::Flag(record.is_residential_proxy)),
            Field::TorExitNode => Some(Self::Flag(record.is_tor_exit_node)),
            Field::Domain => record.domain.map(Self::Text),
        }
    }

    fn write(self, name: &MemberName, names: &MemberNames, object: &mut ObjectWriter) {
        match self {
            Self::Text(text) => object.member(name, Cell::Str(text)),
            Self::Joined(country, region) => object.member(name, Cell::Str(&format!("{country}-{region}"))),
            Self::Whole(number) => object.member(name, Cell::Int(i64::try_from(number).unwrap_or(i64::MAX))),
            Self::Number(number) => object.member(name, Cell::Float(number)),
            Self::Flag(flag) => object.member(name, Cell::Bool(flag)),
            Self::Point(lat, lon) => {
                object.open(name);
                object.member(&names.lat, Cell::Float(lat));
                object.member(&names.lon, Cell::Float(lon));
                object.close();
            }
            Self::Own => {}
        }
    }
}
