//! A source that is not asked while the device says that it has no network.

use std::{fmt, sync::Arc};

use keyswap::{
    CredentialSet, Error, ErrorKind, Source,
    source::{BoxFuture, Fetched, Hints, Report, Terms},
};

use crate::foreign::NativeReachability;

/// A fetch without a network fails at once, and costs neither a timeout nor a radio. What the device says
/// is no more than that: if asking it fails, the source is asked.
pub(crate) struct Reachable {
    source: Arc<dyn Source>,
    device: Arc<dyn NativeReachability>,
}

impl Reachable {
    pub(crate) fn new(source: Arc<dyn Source>, device: Arc<dyn NativeReachability>) -> Self {
        Self { source, device }
    }
}

impl Source for Reachable {
    fn fetch<'a>(
        &'a self,
        held: Option<&'a CredentialSet>,
    ) -> BoxFuture<'a, Result<Fetched, Error>> {
        if self.device.is_reachable().unwrap_or(true) {
            return self.source.fetch(held);
        }
        Box::pin(async {
            Err(Error::new(ErrorKind::Unavailable, "the device says that it has no network"))
        })
    }

    fn mints(&self) -> bool {
        self.source.mints()
    }

    fn begin(&self, terms: &Terms) -> Result<(), Error> {
        self.source.begin(terms)
    }

    fn watch(&self, hints: Hints) -> Option<BoxFuture<'static, ()>> {
        self.source.watch(hints)
    }

    fn report(&self, report: Report) -> Option<BoxFuture<'static, Result<(), Error>>> {
        self.source.report(report)
    }
}

impl fmt::Debug for Reachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}
