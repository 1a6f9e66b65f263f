//! The uplink where nobody names one: the interface of the best default route that doesn't lead into the pod network.

use tweed_model::{Dual, Family};

use super::{Hit, Search};
use crate::host::uplink::host::{DefaultRoute, Interface};

impl<'a> Search<'a> {
    pub(super) fn default_route(&self) -> Result<Hit<'a>, String> {
        let mut found: Option<(Family, &Interface, u32)> = None;
        for family in self.families {
            let routes = self.facts.defaults.iter().filter(|r| r.family == *family);
            let fit = routes.filter(|route| self.unfit_hop(route).is_none());
            let route = fit.min_by_key(|route| route.metric).ok_or_else(|| {
                let others = self.led_astray(*family, u32::MAX).join(", ");
                let others = match others.is_empty() {
                    true => others,
                    false => format!(" but for {others}"),
                };
                format!(
                    "there is no {family} default route{others}; name the interface with --iface"
                )
            })?;
            let index = route.interface.ok_or_else(|| {
                format!(
                    "the {family} default route has next hops on several interfaces; name the interface with --iface"
                )
            })?;
            let interface = self.facts.by_index(index)?;
            match found {
                Some((other, before, _)) if before.index != index => {
                    return Err(format!(
                        "the {other} default route is on {}, the {family} one on {}; name the interface with --iface",
                        before.name, interface.name
                    ));
                }
                Some(_) => {}
                None => found = Some((*family, interface, route.metric)),
            }
        }
        let (_, interface, metric) = found.ok_or("no address family is enabled")?;
        Ok(Hit {
            interface,
            pinned: Dual::default(),
            reason: format!("it has the default route, metric {metric}"),
        })
    }

    /// Default routes that lead over what can't be the uplink, up to a metric.
    fn led_astray(&self, family: Family, metric: u32) -> Vec<String> {
        let routes = self.facts.defaults.iter();
        routes
            .filter(|route| route.family == family && route.metric <= metric)
            .filter_map(|route| {
                let unfit = self.unfit_hop(route)?;
                Some(format!("the one over {unfit}"))
            })
            .collect()
    }

    /// What a route leads over, and why that can't be the uplink, if it can't.
    fn unfit_hop(&self, route: &DefaultRoute) -> Option<String> {
        let interface = self.facts.by_index(route.interface?).ok()?;
        let reason = self.unfit.get(&interface.index)?;
        Some(format!("{} ({reason})", interface.name))
    }

    /// Adds the default routes that would have come first.
    pub(super) fn passed_over(&self, mut wishes: Vec<String>) -> Vec<String> {
        for family in self.families {
            let routes = self.facts.defaults.iter().filter(|r| r.family == *family);
            let fit = routes.filter(|route| self.unfit_hop(route).is_none());
            let best = fit.map(|route| route.metric).min().unwrap_or(u32::MAX);
            let astray = self.led_astray(*family, best).into_iter();
            wishes.extend(astray.map(|which| format!("of the {family} default routes {which}")));
        }
        wishes
    }
}
