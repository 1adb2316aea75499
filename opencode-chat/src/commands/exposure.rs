//! Who can reach the pages. Without accounts, whoever reaches them is the one local person.

use std::net::{IpAddr, SocketAddr};

use crate::cli::ReachArgs;
use crate::web::Host;

/// Who can reach the pages of a `serve` with these arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Exposure {
    /// Programs of this machine.
    Machine(SocketAddr),
    /// Whoever a proxy on this machine lets through to one of these names.
    Proxied(Vec<Host>),
    /// Everybody who reaches this address, as the arguments allow.
    Network(SocketAddr),
    /// Everybody who reaches this address and signs in.
    Accounts(SocketAddr),
    /// Everybody who reaches this address, and the arguments do not allow it.
    Refused(SocketAddr),
}

impl Exposure {
    /// With accounts or without.
    pub(super) fn of(args: &ReachArgs, has_accounts: bool) -> Self {
        let is_name = |host: &&Host| matches!(host, Host::Name(_));
        if has_accounts {
            return Self::Accounts(args.listen);
        }
        if !is_loopback(args.listen.ip()) {
            return if args.allow_network_without_accounts {
                Self::Network(args.listen)
            } else {
                Self::Refused(args.listen)
            };
        }
        let names: Vec<_> = args.allowed_hosts.iter().filter(is_name).cloned().collect();
        if names.is_empty() {
            Self::Machine(args.listen)
        } else {
            Self::Proxied(names)
        }
    }

    /// What the person should know.
    pub(super) fn warning(&self) -> Option<String> {
        match self {
            Self::Machine(_) => None,
            Self::Accounts(address) if is_loopback(address.ip()) => None,
            Self::Accounts(address) => Some(format!(
                "whoever reads the network on the way to {address} reads passwords and conversations. Listen on 127.0.0.1 \
                 behind a proxy that speaks https"
            )),
            Self::Proxied(names) => Some(format!(
                "there are no accounts: whoever a proxy lets through to {} reads all conversations and approves what \
                 the agent runs. Let the proxy ask for a login",
                list(names)
            )),
            Self::Network(address) | Self::Refused(address) => Some(format!(
                "there are no accounts: whoever reaches {address} reads all conversations and approves what the agent \
                 runs on this machine"
            )),
        }
    }
}

/// Why nothing listens on this address, and what to do.
pub(super) fn refusal(address: SocketAddr) -> String {
    let port = address.port();
    format!(
        "{address} can be reached from the network, and there are no accounts: whoever reaches it would approve what the \
         agent runs on this machine. Add users (`opencode-chat user add NAME`), who then sign in; or listen on 127.0.0.1:{port}, behind a proxy that asks for a login (--allowed-host \
         NAME) or through `ssh -L {port}:127.0.0.1:{port}`; or say that the network may do this: \
         --allow-network-without-accounts"
    )
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn list(names: &[Host]) -> String {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::BasePath;

    fn exposure(listen: &str, names: &[&str], allowed: bool) -> Exposure {
        Exposure::of(&reach(listen, names, allowed), false)
    }

    fn reach(listen: &str, names: &[&str], allowed: bool) -> ReachArgs {
        ReachArgs {
            listen: listen.parse().unwrap(),
            allowed_hosts: names
                .iter()
                .map(|name| Host::parse(name).unwrap())
                .collect(),
            allow_network_without_accounts: allowed,
            base_path: BasePath::default(),
        }
    }

    #[test]
    fn with_accounts_a_network_may_reach_it_and_should_not_be_read() {
        for (address, is_warned) in [("0.0.0.0:3000", true), ("127.0.0.1:3000", false)] {
            let reach = reach(address, &["chat.example.org"], false);
            let exposure = Exposure::of(&reach, true);
            assert!(matches!(exposure, Exposure::Accounts(..)), "{exposure:?}");
            let warning = exposure.warning();
            assert_eq!(
                warning.is_some_and(|told| told.contains("https")),
                is_warned
            );
        }
    }

    #[test]
    fn every_address_of_a_network_is_refused_unless_it_is_allowed() {
        for address in [
            "0.0.0.0:3000",
            "[::]:3000",
            "192.168.1.7:80",
            "10.0.0.1:1",
            "[fd00::1]:3000",
            "[2001:db8::1]:3000",
            "169.254.1.1:3000",
            "[fe80::1]:3000",
            "[::ffff:192.168.1.7]:3000",
            "[::ffff:0.0.0.0]:3000",
            "100.64.0.1:3000",
        ] {
            let at = address.parse().unwrap();
            for names in [&[][..], &["chat.example.org"]] {
                assert_eq!(
                    exposure(address, names, false),
                    Exposure::Refused(at),
                    "{address}"
                );
                assert_eq!(
                    exposure(address, names, true),
                    Exposure::Network(at),
                    "{address}"
                );
            }
            assert!(
                exposure(address, &[], true)
                    .warning()
                    .unwrap()
                    .contains("no accounts")
            );
        }
    }

    #[test]
    fn this_machine_needs_no_leave() {
        for address in [
            "127.0.0.1:3000",
            "127.8.9.1:0",
            "[::1]:3000",
            "[::ffff:127.0.0.1]:3000",
        ] {
            for allowed in [false, true] {
                let exposure = exposure(address, &["192.168.1.7"], allowed);
                assert_eq!(
                    (&exposure, exposure.warning()),
                    (&Exposure::Machine(address.parse().unwrap()), None)
                );
            }
        }
    }

    #[test]
    fn a_name_behind_a_proxy_is_warned_of() {
        let warning = exposure("127.0.0.1:3000", &["a.example", "b.example"], false).warning();
        let warning = warning.unwrap();
        assert!(
            warning.contains("a.example, b.example") && warning.contains("login"),
            "{warning}"
        );
    }
}
