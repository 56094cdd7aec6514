//! From what was typed to a source. What cannot work is a mistake, and all of a list are told.
//!
//! Not here: running the source.

use std::{collections::BTreeSet, path::Path};

use super::{
    Dns, DnsSettings, Endpoint, File, Question, Source,
    config::{DiscoveryConfig, DnsConfig, EndpointConfig, EndpointRule},
    endpoint, set,
};
use crate::{
    mistake::{Mistake, Mistakes, below},
    units::Span,
};

/// A source, and whether the service is spoken to over TLS.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// `https://` was typed.
    pub tls: bool,
    /// Who says where the service is.
    pub source: Source,
}

impl DiscoveryConfig {
    /// The source of the upstream called `upstream`, typed at the key path `at`. A file is read, but not watched yet;
    /// names are not asked for.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn build(&self, upstream: &str, at: &str) -> Result<Discovery, Mistakes> {
        let typed = Typing { upstream, at };
        match (&self.url, &self.endpoints, &self.dns, &self.file) {
            (Some(url), None, None, None) => typed.url(url).map_err(one),
            (None, Some(endpoints), None, None) => {
                let whose = format!("{}: ", typed.owner());
                build_endpoints(endpoints, &whose, &below(at, "endpoints")).map(of_endpoints)
            }
            (None, None, Some(dns), None) => typed.dns(dns).map_err(one),
            (None, None, None, Some(file)) => typed.file(file).map_err(one),
            _ => Err(one(typed.not_exactly_one(&self.given()))),
        }
    }

    fn given(&self) -> Vec<&'static str> {
        let given = [
            self.url.as_ref().map(|_| "url"),
            self.endpoints.as_ref().map(|_| "endpoints"),
            self.dns.as_ref().map(|_| "dns"),
            self.file.as_ref().map(|_| "file"),
        ];
        given.into_iter().flatten().collect()
    }
}

/// Which upstream, and where it was typed.
struct Typing<'a> {
    upstream: &'a str,
    at: &'a str,
}

impl Typing<'_> {
    fn owner(&self) -> String {
        format!("upstream `{}`", self.upstream)
    }

    fn wrong(&self, key: &str, why: &str) -> Mistake {
        Mistake::new(below(self.at, key), format!("{}: {why}", self.owner()))
    }

    fn not_exactly_one(&self, given: &[&str]) -> Mistake {
        const EXPECTED: &str = "exactly one of `url`, `endpoints`, `dns` and `file`";
        match given {
            [first, .., last] => {
                let why = format!("`{first}` and `{last}` both say where it is");
                self.wrong(&format!("{last}:"), &why).expected(EXPECTED)
            }
            _ => Mistake::new(self.at, format!("{}: nothing says where it is", self.owner()))
                .expected(EXPECTED)
                .help("write `url: http://host:port`"),
        }
    }

    fn url(&self, url: &str) -> Result<Discovery, Mistake> {
        let endpoint = Endpoint::parse(url);
        let endpoint = endpoint.map_err(|why| self.wrong("url", &why).expected("`http://host:port`"))?;
        Ok(of_endpoints(vec![endpoint]))
    }

    fn dns(&self, typed: &DnsConfig) -> Result<Discovery, Mistake> {
        let settings = self.settings(typed)?;
        let question = match (&typed.name, typed.port, &typed.srv) {
            (Some(_), Some(0), None) => return Err(self.wrong("dns.port", "0 is no port")),
            (Some(name), Some(port), None) => {
                let endpoint = endpoint::name(name).and_then(|_| Endpoint::new(false, name, port));
                Question::Names(vec![endpoint.map_err(|why| self.wrong("dns.name", &why))?])
            }
            (None, None, Some(srv)) => {
                Question::Srv(endpoint::name(srv).map_err(|why| self.wrong("dns.srv", &why))?)
            }
            (Some(_), None, None) => {
                let mistake = self.wrong("dns.port", "`dns` has a `name` and no `port`");
                return Err(mistake.help("SRV records have ports: they are asked for with `srv`"));
            }
            _ => {
                let mistake = self.wrong("dns", "it is not clear what to ask DNS for");
                return Err(mistake.expected("either `name` and `port`, or `srv`"));
            }
        };
        Ok(Discovery { tls: false, source: Source::Dns(Dns { question, settings }) })
    }

    fn settings(&self, typed: &DnsConfig) -> Result<DnsSettings, Mistake> {
        /// What is asked for more often than that is a load on the server.
        const LEAST: Span = Span::millis(100);
        if typed.min_ttl < LEAST {
            return Err(self.wrong("dns.min_ttl", "it would ask all the time").expected("at least 100ms"));
        }
        if typed.max_ttl < typed.min_ttl {
            return Err(self.wrong("dns.max_ttl", "`max_ttl` is shorter than `min_ttl`"));
        }
        if typed.timeout < LEAST {
            return Err(self
                .wrong("dns.timeout", "nobody would have time to answer")
                .expected("at least 100ms"));
        }
        Ok(DnsSettings {
            server: typed.server,
            timeout: typed.timeout.0,
            min_ttl: typed.min_ttl.0,
            max_ttl: typed.max_ttl.0,
        })
    }

    fn file(&self, path: &Path) -> Result<Discovery, Mistake> {
        let file = File::open(path).map_err(|why| self.wrong("file", &why))?;
        Ok(Discovery { tls: file.tls(), source: Source::File(file) })
    }
}

fn one(mistake: Mistake) -> Mistakes {
    Mistakes(vec![mistake])
}

fn of_endpoints(endpoints: Vec<Endpoint>) -> Discovery {
    let tls = endpoints.iter().any(|endpoint| endpoint.tls);
    let source = match endpoints.iter().map(Endpoint::fixed).collect::<Option<Vec<_>>>() {
        Some(fixed) => Source::Static(set(fixed)),
        None => Source::Dns(Dns::of_names(endpoints)),
    };
    Discovery { tls, source }
}

/// The endpoints typed as a list at the key path `at`. `whose` they are is what messages begin with.
///
/// # Errors
/// Everything that is wrong with any of them, or that there are none.
pub(super) fn build_endpoints(
    typed: &[EndpointConfig],
    whose: &str,
    at: &str,
) -> Result<Vec<Endpoint>, Mistakes> {
    let (mut built, mut mistakes) = (Vec::<Endpoint>::new(), Mistakes::default());
    let mut seen = BTreeSet::new();
    for (index, EndpointConfig(typed)) in typed.iter().enumerate() {
        let endpoint = build_endpoint(typed, whose, &format!("{at}[{index}]"));
        let Some(endpoint) = mistakes.keep(endpoint) else { continue };
        let wrong = |why: &str| Mistake::new(format!("{at}[{index}]"), format!("{whose}{why}"));
        if !seen.insert(endpoint.host.clone()) {
            mistakes.add(wrong(&format!("the endpoint `{}` occurs twice", typed.url)));
        }
        if built.first().is_some_and(|first| first.tls != endpoint.tls) {
            mistakes.add(wrong("some endpoints are http:// and some https://").expected("all the same"));
        }
        built.push(endpoint);
    }
    if typed.is_empty() {
        mistakes.add(Mistake::new(at, format!("{whose}there is no endpoint")).expected("at least one"));
    }
    if mistakes.is_empty() { Ok(built) } else { Err(mistakes) }
}

fn build_endpoint(typed: &EndpointRule, whose: &str, at: &str) -> Result<Endpoint, Mistake> {
    let endpoint = Endpoint::parse(&typed.url).map_err(|why| {
        Mistake::new(at, format!("{whose}{why}")).words(&typed.url).expected("`http://host:port`")
    })?;
    if !(1..=1000).contains(&typed.weight) {
        let why = format!("{whose}the endpoint `{}` cannot weigh {}", typed.url, typed.weight);
        return Err(Mistake::new(below(at, "weight"), why).expected("1 to 1000"));
    }
    let zone = typed.zone.as_deref().map(Box::from);
    Ok(Endpoint { weight: typed.weight, zone, metadata: typed.metadata.clone(), ..endpoint })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::load_as;

    /// What is built of `yaml`, or all mistakes as they are shown.
    fn build(yaml: &str) -> Result<Discovery, String> {
        let mut loaded = load_as::<DiscoveryConfig>("bff.yaml", yaml, &|_| None);
        let Some(typed) = loaded.config.take().filter(|_| loaded.mistakes.is_empty()) else {
            return Err(loaded.render());
        };
        typed.build("kitchen", "").map_err(|mistakes| {
            loaded.join(mistakes);
            loaded.render()
        })
    }

    fn wrong(yaml: &str) -> String {
        build(yaml).expect_err("it is wrong")
    }

    #[test]
    fn an_address_is_static_and_a_name_is_asked_for() {
        let built = build("url: http://127.0.0.1:8083").unwrap();
        assert!(matches!(&built.source, Source::Static(targets) if targets.len() == 1) && !built.tls);
        let built = build("url: https://kitchen").unwrap();
        assert!(matches!(&built.source, Source::Dns(_)) && built.tls && built.source.first().is_empty());
    }

    #[test]
    fn endpoints_are_typed_short_or_long_and_those_with_names_leave_the_others_known() {
        let built = build(
            "endpoints: [http://10.0.0.2:80, { url: \"http://10.0.0.1:80\", weight: 3, zone: a, metadata: { k: v } }]",
        );
        let Source::Static(targets) = built.unwrap().source else { panic!("all are addresses") };
        let shown: Vec<_> = targets.iter().map(|target| (target.host.as_ref(), target.weight)).collect();
        assert_eq!(shown, [("10.0.0.1:80", 3), ("10.0.0.2:80", 1)]);
        let source = build("endpoints: [http://10.0.0.1:80, http://kitchen-2:80]").unwrap().source;
        assert!(matches!(source, Source::Dns(_)));
        assert_eq!(source.first().len(), 1);
    }

    #[test]
    fn dns_is_asked_for_a_name_and_a_port_or_for_a_service() {
        let Source::Dns(dns) = build("dns: { name: kitchen.internal, port: 8083 }").unwrap().source else {
            panic!("it is DNS")
        };
        assert!(matches!(&dns.question, Question::Names(one) if &*one[0].host == "kitchen.internal:8083"));
        assert_eq!(dns.settings, DnsSettings::default());
        let built =
            build("dns: { srv: _http._tcp.kitchen.internal, server: \"127.0.0.1:5353\", max_ttl: 5m }");
        let Source::Dns(dns) = built.unwrap().source else { panic!("it is DNS") };
        assert!(matches!(dns.question, Question::Srv(_)) && dns.settings.server.is_some());
    }

    #[test]
    fn exactly_one_place_is_typed() {
        insta::assert_snapshot!(wrong("{}"), @"
        error: upstream `kitchen`: nothing says where it is
         --> bff.yaml:1:1
          |
        1 | {}
          | ^ exactly one of `url`, `endpoints`, `dns` and `file`
          |
        help: write `url: http://host:port`

        1 mistake in bff.yaml
        ");
        insta::assert_snapshot!(wrong("url: http://a:80\nfile: a.yaml"), @"
        error: upstream `kitchen`: `url` and `file` both say where it is
         --> bff.yaml:2:1
          |
        2 | file: a.yaml
          | ^^^^ exactly one of `url`, `endpoints`, `dns` and `file`

        1 mistake in bff.yaml
        ");
    }

    #[test]
    fn all_wrong_endpoints_are_told() {
        let typed = "\
endpoints:
  - http://a:80/v1
  - { url: http://b:80, weight: 0 }
  - http://c:80
  - http://c:80
  - https://d
";
        insta::assert_snapshot!(wrong(typed), @"
        error: upstream `kitchen`: `http://a:80/v1` is no address of a service: it must end after the port
         --> bff.yaml:2:5
          |
        2 |   - http://a:80/v1
          |     ^^^^^^^^^^^^^^ `http://host:port`

        error: upstream `kitchen`: the endpoint `http://b:80` cannot weigh 0
         --> bff.yaml:3:33
          |
        3 |   - { url: http://b:80, weight: 0 }
          |                                 ^ 1 to 1000

        error: upstream `kitchen`: the endpoint `http://c:80` occurs twice
         --> bff.yaml:5:5
          |
        5 |   - http://c:80
          |     ^^^^^^^^^^^

        error: upstream `kitchen`: some endpoints are http:// and some https://
         --> bff.yaml:6:5
          |
        6 |   - https://d
          |     ^^^^^^^^^ all the same

        4 mistakes in bff.yaml
        ");
        insta::assert_snapshot!(wrong("endpoints: []"), @"
        error: upstream `kitchen`: there is no endpoint
         --> bff.yaml:1:1
          |
        1 | endpoints: []
          | ^^^^^^^^^ at least one

        1 mistake in bff.yaml
        ");
    }

    #[test]
    fn a_mistyped_endpoint_is_told_as_everywhere_else() {
        insta::assert_snapshot!(wrong("endpoints: [{ url: http://a:80, wieght: 3 }, 5]"), @"
        error: unknown key `wieght` in `endpoints[0]`
         --> bff.yaml:1:33
          |
        1 | endpoints: [{ url: http://a:80, wieght: 3 }, 5]
          |                                 ^^^^^^ keys are: url, weight, zone, metadata
          |
        help: did you mean `weight`?

        error: `endpoints[1]` cannot be the number `5`
         --> bff.yaml:1:46
          |
        1 | endpoints: [{ url: http://a:80, wieght: 3 }, 5]
          |                                              ^ expected `http://host:port`, or a mapping like { url: http://host:port, weight: 3 }

        2 mistakes in bff.yaml
        ");
    }

    #[test]
    fn what_dns_cannot_be_asked_for_is_told() {
        for (yaml, why) in [
            ("dns: { name: a }", "`dns` has a `name` and no `port`"),
            ("dns: { name: a, port: 0 }", "0 is no port"),
            ("dns: { port: 80 }", "not clear what to ask DNS for"),
            ("dns: { name: a, port: 80, srv: _http._tcp.a }", "not clear what to ask DNS for"),
            ("dns: { srv: _http._tcp.a, port: 80 }", "not clear what to ask DNS for"),
            ("dns: { name: a..b, port: 80 }", "`a..b` is no name that can be looked up"),
            ("dns: { srv: . }", "the name is missing"),
            ("dns: { srv: a, min_ttl: 0s }", "it would ask all the time"),
            ("dns: { srv: a, min_ttl: 2s, max_ttl: 1s }", "`max_ttl` is shorter than `min_ttl`"),
            ("dns: { srv: a, timeout: 0s }", "nobody would have time to answer"),
            ("dns: { srv: a, server: ns1 }", "this is no address"),
            ("file: missing.yaml", "the file `missing.yaml` cannot be read"),
        ] {
            let told = wrong(yaml);
            assert!(told.contains(why), "{told}");
        }
    }
}
