//! Where a service is asked: what the settings, the environment and the profile say, otherwise by region.

use aws_types::SdkConfig;
use aws_types::service_config::ServiceConfigKey;

/// A service of AWS's that flowstone asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    Logs,
    Ec2,
    CloudWatch,
    Sts,
}

/// Where a service is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// `https://logs.eu-west-1.amazonaws.com`, without a slash at its end.
    pub(super) url: String,
    /// A host that certainly exists if AWS's own names can be resolved here: the same service's in the partition's
    /// first region. `None` if that is this one, and for endpoints that are set: then the region is not in doubt.
    pub(super) witness: Option<String>,
}

// === impl Service ===

impl Service {
    /// What hosts are called after, and what a signature is for; the two are the same for these services.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Ec2 => "ec2",
            Self::CloudWatch => "monitoring",
            Self::Sts => "sts",
        }
    }

    /// Its id in the model of its API: `AWS_ENDPOINT_URL_CLOUDWATCH_LOGS` is made from it, and the section `services`
    /// of a profile.
    fn id(self) -> &'static str {
        match self {
            Self::Logs => "CloudWatch Logs",
            Self::Ec2 => "EC2",
            Self::CloudWatch => "CloudWatch",
            Self::Sts => "STS",
        }
    }

    /// Where it is asked. `set` is the settings' endpoint, which goes before everything else, as it
    /// does in the SDK.
    pub(super) fn endpoint(self, config: &SdkConfig, set: Option<&str>, region: &str) -> Endpoint {
        let key = ServiceConfigKey::builder()
            .service_id(self.id())
            .env("AWS_ENDPOINT_URL")
            .profile("endpoint_url")
            .build()
            .expect("all three are given");
        let url = set
            .map(str::to_owned)
            .or_else(|| config.service_config().and_then(|services| services.load_config(key)))
            .or_else(|| config.endpoint_url().map(str::to_owned));
        match url {
            Some(url) => Endpoint { url: url.trim_end_matches('/').to_owned(), witness: None },
            None => {
                let (fips, dual_stack) = (config.use_fips(), config.use_dual_stack());
                let url = |region| self.by_region(region, fips.unwrap_or(false), dual_stack.unwrap_or(false));
                let home = Partition::of_region(region).home;
                let witness = (region != home).then(|| url(home).trim_start_matches("https://").to_owned());
                Endpoint { url: url(region), witness }
            }
        }
    }

    /// The endpoint of a region, by the rules that these services' endpoint rule sets have in common.
    fn by_region(self, region: &str, fips: bool, dual_stack: bool) -> String {
        // GovCloud's usual endpoints are the FIPS ones.
        let fips = if fips && (dual_stack || !region.starts_with("us-gov-")) { "-fips" } else { "" };
        let partition = Partition::of_region(region);
        let domain = if dual_stack { partition.dual_stack_domain } else { partition.domain };
        format!("https://{}{fips}.{region}.{domain}", self.name())
    }
}

/// One of the clouds that share nothing, by botocore 1.44's `partitions.json`.
struct Partition {
    /// What an ARN calls it.
    id: &'static str,
    /// How the names of its regions begin; the first partition's begin in many ways.
    prefix: &'static str,
    domain: &'static str,
    dual_stack_domain: &'static str,
    /// The region that global services are signed for.
    home: &'static str,
}

#[rustfmt::skip]
static PARTITIONS: [Partition; 8] = [
    Partition { id: "aws", prefix: "", domain: "amazonaws.com", dual_stack_domain: "api.aws", home: "us-east-1" },
    Partition { id: "aws-cn", prefix: "cn-", domain: "amazonaws.com.cn", dual_stack_domain: "api.amazonwebservices.com.cn", home: "cn-northwest-1" },
    Partition { id: "aws-eusc", prefix: "eusc-", domain: "amazonaws.eu", dual_stack_domain: "api.amazonwebservices.eu", home: "eusc-de-east-1" },
    Partition { id: "aws-iso", prefix: "us-iso-", domain: "c2s.ic.gov", dual_stack_domain: "api.aws.ic.gov", home: "us-iso-east-1" },
    Partition { id: "aws-iso-b", prefix: "us-isob-", domain: "sc2s.sgov.gov", dual_stack_domain: "api.aws.scloud", home: "us-isob-east-1" },
    Partition { id: "aws-iso-e", prefix: "eu-isoe-", domain: "cloud.adc-e.uk", dual_stack_domain: "api.cloud-aws.adc-e.uk", home: "eu-isoe-west-1" },
    Partition { id: "aws-iso-f", prefix: "us-isof-", domain: "csp.hci.ic.gov", dual_stack_domain: "api.aws.hci.ic.gov", home: "us-isof-south-1" },
    Partition { id: "aws-us-gov", prefix: "us-gov-", domain: "amazonaws.com", dual_stack_domain: "api.aws", home: "us-gov-west-1" },
];

impl Partition {
    fn of_region(region: &str) -> &'static Self {
        let named = PARTITIONS[1..].iter().find(|partition| region.starts_with(partition.prefix));
        named.unwrap_or(&PARTITIONS[0])
    }
}

/// The region whose STS is asked for a role where no region is set.
pub(super) fn home_region(partition: &str) -> &'static str {
    let known = PARTITIONS.iter().find(|known| known.id == partition);
    known.unwrap_or(&PARTITIONS[0]).home
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_has_its_partitions_endpoint() {
        use Service::*;
        for (service, region, fips, dual, url) in [
            (Logs, "eu-west-1", false, false, "https://logs.eu-west-1.amazonaws.com"),
            (Ec2, "cn-north-1", false, false, "https://ec2.cn-north-1.amazonaws.com.cn"),
            (CloudWatch, "us-gov-west-1", true, false, "https://monitoring.us-gov-west-1.amazonaws.com"),
            (Ec2, "us-gov-west-1", true, true, "https://ec2-fips.us-gov-west-1.api.aws"),
            (CloudWatch, "us-west-2", true, false, "https://monitoring-fips.us-west-2.amazonaws.com"),
            (Sts, "us-west-2", false, true, "https://sts.us-west-2.api.aws"),
            (Logs, "us-isob-east-1", false, false, "https://logs.us-isob-east-1.sc2s.sgov.gov"),
            (Logs, "xx-nowhere-1", false, false, "https://logs.xx-nowhere-1.amazonaws.com"),
        ] {
            assert_eq!(service.by_region(region, fips, dual), url);
        }
        for partition in &PARTITIONS {
            assert_eq!(Partition::of_region(home_region(partition.id)).id, partition.id);
        }
    }
}
