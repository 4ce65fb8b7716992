//! A database's record as it is decoded: MaxMind's nested schema (`city.names.en`) and the flat one of
//! ip-location-db (`city`, `state1`). Texts are those of the database; nothing is copied.

use crate::data::{Cursor, Damaged};

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
    pub(crate) autonomous_system_number: Option<u64>,
    pub(crate) autonomous_system_organization: Option<&'a str>,
    pub(crate) isp: Option<&'a str>,
    pub(crate) organization: Option<&'a str>,
    pub(crate) domain: Option<&'a str>,
    pub(crate) is_anonymous: bool,
    pub(crate) is_anonymous_vpn: bool,
    pub(crate) is_hosting_provider: bool,
    pub(crate) is_public_proxy: bool,
    pub(crate) is_residential_proxy: bool,
    pub(crate) is_tor_exit_node: bool,
}

/// Something with a code and a name.
#[derive(Default)]
struct Place<'a> {
    code: Option<&'a str>,
    name: Option<&'a str>,
}

// === impl Record ===

impl<'a> Record<'a> {
    /// The record at a place of the data section.
    pub(crate) fn read(data: &'a [u8], place: u32) -> Result<Self, Damaged> {
        let mut record = Self::default();
        Cursor::new(data, place).map(|name, value| record.member(name, value))?;
        Ok(record)
    }

    fn member(&mut self, name: &[u8], value: &mut Cursor<'a>) -> Result<(), Damaged> {
        match name {
            b"city" => {
                let mut place = Place::default();
                value.map_or_text(
                    |name, value| place.member(name, value),
                    |name| self.city_name = Some(name),
                )?;
                self.city_name = self.city_name.or(place.name);
            }
            b"continent" => {
                let place = Place::read(value)?;
                (self.continent_code, self.continent_name) = (place.code, place.name);
            }
            b"country" => {
                let place = Place::read(value)?;
                (self.country_code, self.country_name) = (place.code, place.name);
            }
            b"subdivisions" => value.list(|value| {
                // The last one is the most specific.
                let place = Place::read(value)?;
                (self.region_code, self.region_name) = (place.code, place.name);
                Ok(())
            })?,
            b"postal" => self.postal_code = Place::read(value)?.code,
            b"location" => value.map(|name, value| self.location(name, value))?,
            b"traits" => value.map(|name, value| self.trait_of_network(name, value))?,
            // The flat schema.
            b"country_code" => self.country_code = Some(value.text()?),
            b"state1" => self.region_name = Some(value.text()?),
            b"postcode" => self.postal_code = Some(value.text()?),
            b"timezone" => self.timezone = Some(value.text()?),
            b"latitude" | b"longitude" => self.location(name, value)?,
            _ => self.trait_of_network(name, value)?,
        }
        Ok(())
    }

    fn location(&mut self, name: &[u8], value: &mut Cursor<'a>) -> Result<(), Damaged> {
        match name {
            b"latitude" => self.latitude = value.float()?,
            b"longitude" => self.longitude = value.float()?,
            b"metro_code" => self.dma_code = value.whole()?,
            b"time_zone" => self.timezone = Some(value.text()?),
            _ => value.skip()?,
        }
        Ok(())
    }

    /// What is known of the network itself: stands in the record, or in its `traits` (Enterprise).
    fn trait_of_network(&mut self, name: &[u8], value: &mut Cursor<'a>) -> Result<(), Damaged> {
        match name {
            b"autonomous_system_number" => self.autonomous_system_number = value.whole()?,
            b"autonomous_system_organization" => self.autonomous_system_organization = Some(value.text()?),
            b"isp" => self.isp = Some(value.text()?),
            b"organization" => self.organization = Some(value.text()?),
            b"domain" => self.domain = Some(value.text()?),
            b"is_anonymous" => self.is_anonymous = value.flag()?,
            b"is_anonymous_vpn" => self.is_anonymous_vpn = value.flag()?,
            b"is_hosting_provider" => self.is_hosting_provider = value.flag()?,
            b"is_public_proxy" => self.is_public_proxy = value.flag()?,
            b"is_residential_proxy" => self.is_residential_proxy = value.flag()?,
            b"is_tor_exit_node" => self.is_tor_exit_node = value.flag()?,
            _ => value.skip()?,
        }
        Ok(())
    }
}

// === impl Place ===

impl<'a> Place<'a> {
    fn read(value: &mut Cursor<'a>) -> Result<Self, Damaged> {
        let mut place = Self::default();
        value.map(|name, value| place.member(name, value))?;
        Ok(place)
    }

    fn member(&mut self, name: &[u8], value: &mut Cursor<'a>) -> Result<(), Damaged> {
        match name {
            b"iso_code" | b"code" => self.code = Some(value.text()?),
            b"names" => value.map(|language, value| match language {
                b"en" => {
                    self.name = Some(value.text()?);
                    Ok(())
                }
                _ => value.skip(),
            })?,
            _ => value.skip()?,
        }
        Ok(())
    }
}
