//! flowstone transform that parses AWS VPC Flow Log records.
