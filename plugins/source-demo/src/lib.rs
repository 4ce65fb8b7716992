//! flowstone source of believable VPC Flow Log lines.
