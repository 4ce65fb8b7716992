//! Which log groups are read: names, ARNs, globs and a prefix.

use flowstone_aws::{Arn, LogGroupName};
use flowstone_core::BuildError;
use glob::Pattern;

use crate::options::AccountPlan;

/// Which log groups are read.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    names: Vec<String>,
    arns: Vec<GroupArn>,
    globs: Vec<Pattern>,
    prefix: Option<String>,
    /// What `DescribeLogGroups` must be asked for.
    prefixes: Vec<String>,
}

/// A log group named by its ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
struct GroupArn {
    /// Where in `log_groups` it stands.
    index: usize,
    arn: String,
    region: String,
    account: String,
    name: String,
}

/// CloudWatch's limit.
const NAME_AT_MOST: usize = 512;

// === impl Groups ===

impl Groups {
    /// What `log_groups` and `log_group_prefix` say, or all that is wrong with it.
    pub fn new(log_groups: &[String], prefix: Option<&str>) -> Result<Self, Vec<BuildError>> {
        let mut groups = Self { prefix: prefix.map(str::to_owned), ..Self::default() };
        let mut errors = Vec::new();
        for (index, text) in log_groups.iter().enumerate() {
            if let Err(error) = groups.add(index, text) {
                errors.push(error.at_index(index));
            }
        }
        if let Some(prefix) = prefix.filter(|prefix| prefix.is_empty() || !prefix.bytes().all(is_name_byte)) {
            errors.push(
                BuildError::option("log_group_prefix", format!("{prefix:?} begins no name of a log group"))
                    .label("expected the beginning of a name, such as \"/aws/vpc/\""),
            );
        }
        if log_groups.is_empty() && prefix.is_none() {
            errors.push(
                BuildError::component("no log group is named")
                    .label("expected `log_groups` or `log_group_prefix`")
                    .help("for example `log_groups = [\"/vpc/flow\"]`"),
            );
        }
        groups.prefixes = groups.beginnings();
        if errors.is_empty() { Ok(groups) } else { Err(errors) }
    }

    fn add(&mut self, index: usize, text: &str) -> Result<(), BuildError> {
        let wrong = |message: String| BuildError::option("log_groups", message);
        if text.starts_with("arn:") {
            let arn = Arn::parse(text).and_then(|arn| Some((arn.clone(), arn.log_group()?.to_owned())));
            let Some((arn, name)) = arn.filter(|(arn, _)| !arn.region.is_empty() && !arn.account.is_empty())
            else {
                let expected = "expected \"arn:aws:logs:REGION:ACCOUNT:log-group:NAME\"";
                return Err(wrong(format!("{text:?} is no ARN of a log group")).label(expected));
            };
            self.arns.push(GroupArn {
                index,
                arn: text.strip_suffix(":*").unwrap_or(text).to_owned(),
                region: arn.region.to_owned(),
                account: arn.account.to_owned(),
                name,
            });
        } else if text.contains(['*', '?', '[']) {
            let glob = Pattern::new(text).map_err(|error| {
                wrong(format!("{text:?} is no glob: {}", error.msg))
                    .label("expected `*`, `?` and `[a-z]` to be complete")
            })?;
            self.globs.push(glob);
        } else {
            if text.is_empty() || text.len() > NAME_AT_MOST || !text.bytes().all(is_name_byte) {
                let expected = "expected up to 512 letters, digits and any of `_-/.#`";
                return Err(wrong(format!("{text:?} is no name of a log group")).label(expected));
            }
            self.names.push(text.to_owned());
        }
        Ok(())
    }

    /// Whether each ARN's region is one that some account is read in.
    pub(crate) fn check_regions(&self, accounts: &[AccountPlan], errors: &mut Vec<BuildError>) {
        // A region that the environment names is not known yet.
        if accounts.iter().any(|account| account.regions.is_empty()) {
            return;
        }
        for arn in &self.arns {
            if !accounts.iter().any(|account| account.regions.contains(&arn.region)) {
                errors.push(
                    BuildError::option("log_groups", format!("no account is read in region {}", arn.region))
                        .at_index(arn.index)
                        .label(format!("expected {:?} among `regions`", arn.region)),
                );
            }
        }
    }

    /// The groups of an account and region that need not be looked for. Groups of the accounts that it monitors are read
    /// from here as well, by cross-account observability.
    pub fn named(&self, account: &str, region: &str, monitors: &[String]) -> Vec<LogGroupName> {
        let mut named: Vec<LogGroupName> = self.names.iter().map(LogGroupName::own).collect();
        for arn in self.arns.iter().filter(|arn| arn.region == region) {
            if arn.account == account {
                named.push(LogGroupName::own(&arn.name));
            } else if monitors.contains(&arn.account) {
                named.push(LogGroupName { name: arn.name.clone(), foreign_arn: Some(arn.arn.clone()) });
            }
        }
        named.sort();
        named.dedup();
        named
    }

    /// The first group that is named, without its account.
    pub fn first_name(&self) -> Option<&str> {
        self.names.first().or(self.arns.first().map(|arn| &arn.name)).map(String::as_str)
    }

    /// The accounts of all ARNs.
    pub fn accounts(&self) -> Vec<String> {
        self.arns.iter().map(|arn| arn.account.clone()).collect()
    }

    /// Whether an account's group was named by its ARN.
    pub fn has_arn(&self, account: &str, region: &str, name: &str) -> bool {
        self.arns.iter().any(|arn| arn.account == account && arn.region == region && arn.name == name)
    }

    /// The accounts of the ARNs in a region.
    pub fn accounts_in(&self, region: &str) -> Vec<String> {
        self.arns.iter().filter(|arn| arn.region == region).map(|arn| arn.account.clone()).collect()
    }

    /// The beginnings of names that `DescribeLogGroups` must be asked for: few, and none twice. Empty where every group is
    /// named.
    pub fn prefixes(&self) -> &[String] {
        &self.prefixes
    }

    fn beginnings(&self) -> Vec<String> {
        let literal = |glob: &Pattern| {
            let text = glob.as_str();
            text[..text.find(['*', '?', '[']).unwrap_or(text.len())].to_owned()
        };
        let mut all: Vec<String> = self.globs.iter().map(literal).chain(self.prefix.clone()).collect();
        all.sort();
        // Sorted, whatever begins with another one stands behind it.
        all.dedup_by(|longer, shorter| longer.starts_with(&**shorter));
        all
    }

    /// Whether a group that was found is one of them.
    pub fn matches(&self, name: &str) -> bool {
        self.prefix.as_ref().is_some_and(|prefix| name.starts_with(&**prefix))
            || self.globs.iter().any(|glob| glob.matches(name))
    }
}

/// The characters of log groups' names (CloudWatch Logs API reference, `CreateLogGroup`).
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-/.#".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: &str = "111111111111";

    fn groups(texts: &[&str], prefix: Option<&str>) -> Groups {
        Groups::new(&texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>(), prefix).unwrap()
    }

    fn named(groups: &Groups, account: &str, monitors: &[String]) -> Vec<LogGroupName> {
        groups.named(account, "eu-west-1", monitors)
    }

    #[test]
    fn globs_and_the_prefix_say_what_to_look_for_and_what_of_it_is_meant() {
        let groups = groups(&["/vpc/*-prod", "/vpc/a?c", "plain"], Some("/aws/vpc/"));
        assert_eq!(groups.prefixes(), ["/aws/vpc/", "/vpc/"]);
        for (name, expect) in [
            ("/vpc/eu/deep-prod", true),
            ("/vpc/abc", true),
            ("/vpc/abbc", false),
            ("/aws/vpc/x", true),
            ("plain", false),
        ] {
            assert_eq!(groups.matches(name), expect, "{name}");
        }
        assert_eq!(named(&groups, HOME, &[]), [LogGroupName::own("plain")]);
        assert_eq!(self::groups(&["*"], Some("/aws/")).prefixes(), [""]);
    }

    #[test]
    fn an_arn_is_read_in_its_region_by_its_account_or_by_the_one_that_monitors_it() {
        let own = "arn:aws:logs:eu-west-1:111111111111:log-group:/vpc/own:*";
        let other = "arn:aws:logs:eu-west-1:222222222222:log-group:/vpc/other";
        let far = "arn:aws:logs:us-east-1:111111111111:log-group:/vpc/far";
        let groups = groups(&[own, other, far, "/vpc/own"], None);
        let foreign = LogGroupName { name: "/vpc/other".into(), foreign_arn: Some(other.into()) };
        assert_eq!(groups.accounts_in("eu-west-1"), ["111111111111", "222222222222"]);
        let monitored = ["222222222222".to_owned()];
        assert_eq!(named(&groups, HOME, &monitored), [foreign, LogGroupName::own("/vpc/own")]);
        assert_eq!(named(&groups, HOME, &[]), [LogGroupName::own("/vpc/own")], "another site reads it");
        assert_eq!(
            named(&groups, "222222222222", &[]),
            [LogGroupName::own("/vpc/other"), LogGroupName::own("/vpc/own")]
        );
    }

    #[test]
    fn what_names_no_group_is_an_error_at_its_place() {
        let texts = ["ok", "has space", "arn:aws:s3:::bucket", "[a-"].map(str::to_owned);
        let errors = Groups::new(&texts, Some("")).unwrap_err();
        let found: Vec<(Option<usize>, &str)> =
            errors.iter().map(|error| (error.index, &*error.message)).collect();
        assert_eq!(found.len(), 4);
        assert_eq!(found[0], (Some(1), "\"has space\" is no name of a log group"));
        assert_eq!(found[1], (Some(2), "\"arn:aws:s3:::bucket\" is no ARN of a log group"));
        assert!(found[2].1.starts_with("\"[a-\" is no glob"));
        assert_eq!(found[3], (None, "\"\" begins no name of a log group"));
        assert_eq!(Groups::new(&[], None).unwrap_err()[0].message, "no log group is named");
    }
}
