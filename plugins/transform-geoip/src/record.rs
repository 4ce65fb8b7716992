//! A database's record as it is decoded: MaxMind's nested schema (`city.names.en`) and the flat one of
//! ip-location-db (`city`, `state1`). Texts are those of the database; nothing is copied.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

/// All that is asked of a record. Names are the English ones.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Record<'a> {
    pub(crate) city_name: Option<&'a str>,
    pub(crate) continent_code: Option<&'a str>,
    pub(crate) continent_name: Option<&'a str>,
    pub(crate) country_code: Option<&'a str>,
    pub(crate) country_name: Option<&'a str>,
    pub(crate) region_code: Option<&'a str>,
    pub(crate) region_name: Option<&'a str>,
    pub(crate) postal_code: Option<&'a str>,
    pub(crate) timezone: Option<&'a str>,
    pub(crate) latitude: Option<f64>,
    pub(crate) longitude: Option<f64>,
    pub(crate) dma_code: Option<u64>,
    pub(crate) traits: Traits<'a>,
}

/// What is known of the network itself. Stands in the record, or in its `traits` (Enterprise).
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Traits<'a> {
    pub(crate) autonomous_system_number: Whole,
    pub(crate) autonomous_system_organization: Option<&'a str>,
    pub(crate) isp: Option<&'a str>,
    pub(crate) organization: Option<&'a str>,
    pub(crate) domain: Option<&'a str>,
    pub(crate) is_anonymous: Flag,
    pub(crate) is_anonymous_vpn: Flag,
    pub(crate) is_hosting_provider: Flag,
    pub(crate) is_public_proxy: Flag,
    pub(crate) is_residential_proxy: Flag,
    pub(crate) is_tor_exit_node: Flag,
}

/// Something with a code and names.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Place<'a> {
    #[serde(borrow)]
    iso_code: Option<&'a str>,
    code: Option<&'a str>,
    names: Names<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Names<'a> {
    en: Option<&'a str>,
}

/// `{"names": {"en": "London"}}` or `"London"`.
#[derive(Debug, Default)]
struct PlaceOrName<'a>(Place<'a>);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Location<'a> {
    latitude: Number,
    longitude: Number,
    metro_code: Whole,
    #[serde(borrow)]
    time_zone: Option<&'a str>,
}

/// The last of a list: the most specific subdivision.
#[derive(Debug, Default)]
struct Last<'a>(Option<Place<'a>>);

/// A number, however the database spells it: 64 or 32 bits, a whole one, or text.
#[derive(Clone, Copy, Debug, Default)]
struct Number(Option<f64>);

/// Yes or no; as a number, whether it is not 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Flag(pub(crate) bool);

/// A whole number of any size.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Whole(pub(crate) Option<u64>);

// === impl Record ===

impl<'de> Deserialize<'de> for Record<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Record<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a record, which is a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Record<'de>, A::Error> {
                let mut record = Record::default();
                while let Some(name) = members.next_key::<&str>()? {
                    record.read(name, &mut members)?;
                }
                Ok(record)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl<'de> Record<'de> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, members: &mut A) -> Result<(), A::Error> {
        match name {
            "city" => self.city_name = members.next_value::<PlaceOrName<'de>>()?.0.names.en,
            "continent" => {
                let Place { code, names, .. } = members.next_value()?;
                (self.continent_code, self.continent_name) = (code, names.en);
            }
            "country" => {
                let Place { iso_code, names, .. } = members.next_value()?;
                (self.country_code, self.country_name) = (iso_code, names.en);
            }
            "subdivisions" => {
                if let Last(Some(Place { iso_code, names, .. })) = members.next_value()? {
                    (self.region_code, self.region_name) = (iso_code, names.en);
                }
            }
            "postal" => self.postal_code = members.next_value::<Place<'de>>()?.code,
            "location" => {
                let Location { latitude, longitude, metro_code, time_zone } = members.next_value()?;
                (self.latitude, self.longitude) = (latitude.0, longitude.0);
                (self.dma_code, self.timezone) = (metro_code.0, time_zone);
            }
            "traits" => self.traits = members.next_value()?,
            // The flat schema.
            "country_code" => self.country_code = members.next_value()?,
            "state1" => self.region_name = members.next_value()?,
            "postcode" => self.postal_code = members.next_value()?,
            "timezone" => self.timezone = members.next_value()?,
            "latitude" => self.latitude = members.next_value::<Number>()?.0,
            "longitude" => self.longitude = members.next_value::<Number>()?.0,
            "autonomous_system_number" => self.traits.autonomous_system_number = members.next_value()?,
            "autonomous_system_organization" => {
                self.traits.autonomous_system_organization = members.next_value()?;
            }
            "isp" => self.traits.isp = members.next_value()?,
            "organization" => self.traits.organization = members.next_value()?,
            "domain" => self.traits.domain = members.next_value()?,
            "is_anonymous" => self.traits.is_anonymous = members.next_value()?,
            "is_anonymous_vpn" => self.traits.is_anonymous_vpn = members.next_value()?,
            "is_hosting_provider" => self.traits.is_hosting_provider = members.next_value()?,
            "is_public_proxy" => self.traits.is_public_proxy = members.next_value()?,
            "is_residential_proxy" => self.traits.is_residential_proxy = members.next_value()?,
            "is_tor_exit_node" => self.traits.is_tor_exit_node = members.next_value()?,
            _ => {
                members.next_value::<serde::de::IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

// === impl PlaceOrName, Last, Number, Flag, Whole ===

impl<'de> Deserialize<'de> for PlaceOrName<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = PlaceOrName<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map with names, or a name")
            }

            fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
                let names = Names { en: Some(name) };
                Ok(PlaceOrName(Place { names, ..Place::default() }))
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
                Place::deserialize(MapAccessDeserializer::new(members)).map(PlaceOrName)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Last<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items;
        impl<'de> Visitor<'de> for Items {
            type Value = Last<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut last = None;
                while let Some(item) = items.next_element()? {
                    last = Some(item);
                }
                Ok(Last(last))
            }
        }
        deserializer.deserialize_seq(Items)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;
        impl Visitor<'_> for Digits {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Number, E> {
                Ok(Number(Some(value)))
            }

            /// As its decimal digits say: 51.5142, not 51.514198303222656.
            fn visit_f32<E: Error>(self, value: f32) -> Result<Number, E> {
                Ok(Number(value.to_string().parse().ok()))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Number, E> {
                Ok(Number(Some(value as f64)))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Number, E> {
                Ok(Number(Some(value as f64)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Number, E> {
                Ok(Number(text.parse().ok()))
            }
        }
        deserializer.deserialize_any(Digits)
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Answer;
        impl Visitor<'_> for Answer {
            type Value = Flag;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("yes or no")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Flag, E> {
                Ok(Flag(value))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Flag, E> {
                Ok(Flag(value != 0))
            }
        }
        deserializer.deserialize_any(Answer)
    }
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;
        impl Visitor<'_> for Digits {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Whole, E> {
                Ok(Whole(Some(value)))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Whole, E> {
                Ok(Whole(u64::try_from(value).ok()))
            }
        }
        deserializer.deserialize_any(Digits)
    }
}
