//! Whatever takes faults and is counted: the seven services and the identity provider.
//!
//! Not the control API, which must answer while everything else is broken.

use super::service::Service;

/// A service of FTGO or the identity provider.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Backend {
    /// One of the services.
    Service(Service),
    /// The OpenID provider.
    Identity,
}

impl Backend {
    /// How many there are.
    pub(super) const COUNT: usize = Service::ALL.len() + 1;

    /// All of them: the services in the order of their ports, then the identity provider.
    pub fn all() -> impl Iterator<Item = Backend> {
        Service::ALL.into_iter().map(Backend::Service).chain([Backend::Identity])
    }

    /// The name in the control API.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Service(service) => service.name(),
            Backend::Identity => "identity",
        }
    }

    /// The backend of that name.
    pub fn by_name(name: &str) -> Option<Backend> {
        Backend::all().find(|backend| backend.name() == name)
    }

    /// The path templates it answers, each once.
    pub(super) fn templates(self) -> Vec<&'static str> {
        let mut templates: Vec<_> = match self {
            Backend::Service(service) => service.routes().iter().map(|(_, path)| *path).collect(),
            Backend::Identity => super::identity::PATHS.to_vec(),
        };
        templates.sort_unstable();
        templates.dedup();
        templates
    }

    /// Its place in [`Backend::all`].
    pub(super) fn index(self) -> usize {
        Backend::all().position(|backend| backend == self).expect("all() holds every backend")
    }
}

impl From<Service> for Backend {
    fn from(service: Service) -> Self {
        Backend::Service(service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_backend_has_a_place_and_a_name_of_its_own() {
        for (place, backend) in Backend::all().enumerate() {
            assert_eq!(backend.index(), place);
            assert_eq!(Backend::by_name(backend.name()), Some(backend));
        }
        assert_eq!(Backend::all().count(), Backend::COUNT);
        assert_eq!(Backend::by_name("control"), None);
    }
}
