//! Where a recovery goes: this host, by a name or an address that is its own.

use std::net::{ToSocketAddrs as _, UdpSocket};

use lifeboat_model::PlaceName;
use lifeboat_runbook::Run;

use super::ProcedureError;
use super::conduct::{DIRECTORY, HOST, PLACE};
use crate::residence;
use crate::wire::Site;

/// Names of this very host.
pub(super) const HERE: [&str; 4] = ["localhost", "127.0.0.1", "::1", ""];

/// Where a recovery goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The host on which services run afterwards.
    pub host: String,
    /// Which place of the plan that is, if it is one.
    pub place: Option<PlaceName>,
    /// A directory for what a runbook puts beside what is there.
    pub directory: Option<String>,
}

impl Target {
    /// Where a run was declared to go; nothing if its declaration does not say.
    pub(super) fn of_run(run: &Run) -> Option<Self> {
        let about = |key: &str| run.began().about.get(key).cloned();
        let place = about(PLACE).and_then(|place| place.parse().ok());
        Some(Self { host: about(HOST)?, place, directory: about(DIRECTORY) })
    }

    /// This host, as its place in the plan calls it, else as it calls itself; or by another name that leads to it.
    ///
    /// # Errors
    ///
    /// If `named` is not known to be this host: a recovery would be done here and told of there.
    pub fn here(
        site: &Site,
        named: Option<&str>,
        directory: Option<String>,
    ) -> Result<Self, ProcedureError> {
        let place = residence::own(site)?.and_then(|here| here.place);
        let planned = place.as_ref().and_then(|place| site.plan().places().get(place));
        let planned = planned.map(|place| place.host.as_str());
        let hostname = site.surroundings().hostname.as_str();
        let Some(named) = named else {
            let host = planned.unwrap_or(hostname).to_owned();
            return Ok(Self { host, place, directory });
        };
        let is_own = HERE.contains(&named) || named == hostname || Some(named) == planned;
        if !is_own && !leads_here(named) {
            let (host, hostname) = (named.to_owned(), hostname.to_owned());
            return Err(ProcedureError::AnotherHost { host, hostname });
        }
        Ok(Self { host: named.to_owned(), place, directory })
    }
}

/// Whether a name or an address leads to this host and nowhere else: nobody listens at an address that is not his.
fn leads_here(name: &str) -> bool {
    let Ok(addresses) = (name, 0).to_socket_addrs() else { return false };
    let own: Vec<_> = addresses.map(|address| UdpSocket::bind(address).is_ok()).collect();
    !own.is_empty() && own.iter().all(|is_own| *is_own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_this_host_leads_here_and_others_do_not() {
        assert!(leads_here("127.0.0.2") && leads_here("localhost"));
        // Addresses and names of documentation, which nobody has.
        assert!(!leads_here("192.0.2.1") && !leads_here("nowhere.invalid"));
    }
}
