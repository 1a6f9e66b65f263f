//! `static`: gives the addresses that the configuration or the runtime names. It keeps nothing.

mod config;

use std::fmt::Debug;

use config::StaticConfig;

use crate::runtime::plugin::{Plugin, Request};
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::{CniError, CniResult};

pub(crate) struct StaticIpam;

impl Plugin for StaticIpam {
    fn configuration(&self, request: &Request<'_>) -> Result<Box<dyn Debug>, CniError> {
        let config = StaticConfig::parse(request.conf, &request.call.args)?;
        Ok(Box::new(config))
    }

    fn add(&self, request: &Request<'_>, _undo: &mut Undo) -> Result<CniResult, CniError> {
        let config = StaticConfig::parse(request.conf, &request.call.args)?;
        Ok(CniResult {
            ips: config.addresses,
            routes: config.routes,
            dns: config.dns,
            interfaces: Vec::new(),
        })
    }

    fn del(&self, _request: &Request<'_>, _removal: &mut Removal) -> Result<(), CniError> {
        Ok(())
    }

    /// Another configuration gives other addresses than the container has.
    fn check(&self, request: &Request<'_>) -> Result<(), CniError> {
        let config = StaticConfig::parse(request.conf, &request.call.args)?;
        let prev = request.conf.required_prev_result()?;
        let ifname = &request.call.attachment.ifname;
        for wanted in &config.addresses {
            let mut present = prev.addresses_of(ifname);
            let found = present.find(|ip| ip.address == wanted.address);
            let Some(found) = found else {
                let msg = format!("static: Failed to match addr {}", wanted.address);
                return Err(CniError::drift(msg).details(format!("{ifname} does not have it")));
            };
            if found.gateway != wanted.gateway {
                let shown = |ip: &crate::spec::IpConfig| {
                    let gateway = ip.gateway.map(|gateway| gateway.to_string());
                    gateway.unwrap_or_else(|| "none".into())
                };
                return Err(CniError::drift(format!(
                    "static: Failed to match gateway of {}: configured is {}, the container has {}",
                    wanted.address,
                    shown(wanted),
                    shown(found)
                )));
            }
        }
        Ok(())
    }

    fn gc(&self, _request: &Request<'_>, _removal: &mut Removal) -> Result<(), CniError> {
        Ok(())
    }

    fn status(&self, _request: &Request<'_>) -> Result<(), CniError> {
        Ok(())
    }
}
