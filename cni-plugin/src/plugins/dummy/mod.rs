//! `dummy`: an interface that leads nowhere, for an address of the container's own.

use std::fmt::Debug;

use crate::net::{attachment, inner, namespace, options};
use crate::runtime::plugin::{Plugin, Request};
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::{CniError, CniResult};

const KIND: &str = "dummy";

pub(crate) struct Dummy;

impl Plugin for Dummy {
    fn configuration(&self, request: &Request<'_>) -> Result<Box<dyn Debug>, CniError> {
        attachment::required_ipam(request)?.configuration(request)?;
        Ok(Box::new(options::dns(request.conf)?))
    }

    fn add(&self, request: &Request<'_>, undo: &mut Undo) -> Result<CniResult, CniError> {
        let netns = namespace::open(request.call)?;
        let ipam = attachment::required_ipam(request)?;
        let dns = options::dns(request.conf)?;
        let job = inner::Job {
            request,
            ipam: Some(&ipam),
            netns: &netns,
            kind: KIND,
            given: CniResult::default(),
            dns: dns.as_ref(),
        };
        job.add(undo, &mut |inside, name| {
            inside.add_dummy(name).map_err(|error| {
                let errno = error.errno;
                let error = CniError::from(error).context("failed to create dummy");
                inner::explain(error, KIND, errno)
            })
        })
    }

    fn del(&self, request: &Request<'_>, removal: &mut Removal) -> Result<(), CniError> {
        inner::del(request, removal, KIND)
    }

    fn check(&self, request: &Request<'_>) -> Result<(), CniError> {
        inner::check(request, KIND, |_, _| Ok(()))
    }

    fn gc(&self, request: &Request<'_>, removal: &mut Removal) -> Result<(), CniError> {
        inner::gc(request, removal, KIND)
    }

    fn status(&self, request: &Request<'_>) -> Result<(), CniError> {
        attachment::required_ipam(request)?.status(request)
    }
}
