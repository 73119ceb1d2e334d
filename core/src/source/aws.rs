//! Keys in AWS: Secrets Manager, the Parameter Store, and the local Secrets Manager Agent.
