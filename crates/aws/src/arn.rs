//! Amazon Resource Names, as far as log groups and roles need them.

/// `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arn<'a> {
    /// `aws`, `aws-cn`, `aws-us-gov`.
    pub partition: &'a str,
    /// `logs`, `iam`.
    pub service: &'a str,
    /// `eu-west-1`; empty for IAM.
    pub region: &'a str,
    /// Twelve digits.
    pub account: &'a str,
    /// `log-group:/vpc/flow:*`, `role/reader`.
    pub resource: &'a str,
}

impl<'a> Arn<'a> {
    /// Takes an ARN apart; `None` for any other text.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        if parts.next()? != "arn" {
            return None;
        }
        let mut part = || parts.next();
        let arn = Self {
            partition: part()?,
            service: part()?,
            region: part()?,
            account: part()?,
            resource: part()?,
        };
        let known = !arn.partition.is_empty() && !arn.service.is_empty() && !arn.resource.is_empty();
        known.then_some(arn)
    }

    /// The log group's name, if the ARN names one; the `:*` that some of AWS's replies append is no part of it.
    pub fn log_group(&self) -> Option<&'a str> {
        let name = self.resource.strip_prefix("log-group:").filter(|_| self.service == "logs")?;
        let name = name.strip_suffix(":*").unwrap_or(name);
        (!name.is_empty() && !name.contains(':')).then_some(name)
    }

    /// Whether it names a role: what `sts:AssumeRole` takes.
    pub fn is_role(&self) -> bool {
        self.service == "iam"
            && self.resource.strip_prefix("role/").is_some_and(|name| !name.is_empty())
            && self.account.len() == 12
            && self.account.bytes().all(|byte| byte.is_ascii_digit())
    }
}

/// A log group as a request names it: by name within the account of the credentials, or by ARN in an account that
/// this one monitors (cross-account observability).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogGroupName {
    /// Its name, for the event's metadata.
    pub name: String,
    /// Its ARN without `:*`, when it belongs to another account.
    pub foreign_arn: Option<String>,
}

impl LogGroupName {
    /// A log group of the credentials' own account.
    pub fn own(name: impl Into<String>) -> Self {
        Self { name: name.into(), foreign_arn: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_groups_are_named_by_their_arns() {
        for (text, expect) in [
            ("arn:aws:logs:eu-west-1:123456789012:log-group:/vpc/flow:*", Some("/vpc/flow")),
            ("arn:aws:logs:eu-west-1:123456789012:log-group:/vpc/flow", Some("/vpc/flow")),
            ("arn:aws-cn:logs:cn-north-1:123456789012:log-group:x", Some("x")),
            ("arn:aws:logs:eu-west-1:123456789012:log-group:", None),
            ("arn:aws:logs:eu-west-1:123456789012:log-group:x:log-stream:y", None),
            ("arn:aws:iam::123456789012:role/log-group:x", None),
        ] {
            assert_eq!(Arn::parse(text).and_then(|arn| arn.log_group()), expect, "{text}");
        }
        assert_eq!(Arn::parse("/vpc/flow"), None);
        assert_eq!(Arn::parse("arn:aws:logs"), None);
    }

    #[test]
    fn only_roles_can_be_assumed() {
        for (text, expect) in [
            ("arn:aws:iam::123456789012:role/reader", true),
            ("arn:aws:iam::123456789012:role/a/path/reader", true),
            ("arn:aws:iam::123456789012:user/reader", false),
            ("arn:aws:iam::12:role/reader", false),
            ("arn:aws:iam::123456789012:role/", false),
        ] {
            assert_eq!(Arn::parse(text).is_some_and(|arn| arn.is_role()), expect, "{text}");
        }
    }
}
