//! Gateways in front of an API, whose keys are changed under load.
