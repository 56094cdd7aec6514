//! What one types under `grpc:`, and the descriptors that it names.
//!
//! Not here: which routes call by them (`config/handlers.rs`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use http::StatusCode;
use indexmap::IndexMap;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use serde::Deserialize;

use crate::{
    files::fingerprint,
    mistake::{Mistake, Mistakes, below},
    units::Size,
};

/// The longest reason (AIP-193).
const LONGEST_REASON: usize = 63;
/// What a refusal may become: what compositions leave as it is, too.
const REFUSALS: [u16; 5] = [400, 404, 409, 410, 422];

/// What is the same for all calls of gRPC.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrpcConfig {
    /// Descriptor sets, as `protoc` writes them: the services and messages that routes may name. Relative to the
    /// configuration file.
    pub descriptors: Vec<PathBuf>,
    /// How integers of 64 bits are written in answers. Numbers unless given: that is what JSON of other services has.
    #[serde(default)]
    pub int64: Int64,
    /// Whether fields that hold nothing are written too: 0, an empty text, an empty list. So that clients find them.
    #[serde(default = "written")]
    pub defaults: bool,
    /// What clients are told where a service refuses for this reason (`google.rpc.ErrorInfo`): one of 400, 404, 409, 410
    /// and 422. What the status of gRPC says unless given.
    #[serde(default)]
    pub reasons: IndexMap<String, u16>,
    /// The most bytes of an answer: 4 MiB, as in other implementations of gRPC.
    #[serde(default = "max_reply")]
    pub max_reply: Size,
}

/// How integers of 64 bits are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Int64 {
    /// As numbers, all digits of them.
    #[default]
    Number,
    /// As text, as the JSON mapping of proto3 has it: for clients that read all numbers as floating point.
    String,
}

impl GrpcConfig {
    /// What reasons become, as far as they are right.
    pub(super) fn statuses(&self) -> Box<[(Box<str>, StatusCode)]> {
        let typed = self.reasons.iter();
        let known = typed
            .filter_map(|(name, status)| Some((name.as_str().into(), StatusCode::from_u16(*status).ok()?)));
        known.collect()
    }

    fn check_reasons(&self, at: &str, mistakes: &mut Mistakes) {
        for (name, status) in &self.reasons {
            let at = below(&below(at, "reasons"), name);
            let known = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
            if name.is_empty() || name.len() > LONGEST_REASON || !name.chars().all(known) {
                let mistake = Mistake::new(format!("{at}:"), format!("`{name}` is no reason that is given"));
                mistakes.add(mistake.expected("capital letters, digits and `_`, like `MENU_CLOSED`"));
            }
            if !REFUSALS.contains(status) {
                let message = format!("{status} is not what a service's refusal becomes");
                mistakes.add(Mistake::new(at, message).expected("one of: 400, 404, 409, 410, 422"));
            }
        }
    }
}

fn written() -> bool {
    true
}

fn max_reply() -> Size {
    Size::mib(4)
}

/// The services and messages that are known, and the files that said so.
#[derive(Debug)]
pub struct Descriptors {
    pool: DescriptorPool,
    files: Vec<PathBuf>,
    /// What was in the files.
    content: u64,
}

impl Descriptors {
    /// What the files say that are typed at the key path `at`, relative to `folder`.
    pub(crate) fn build(
        config: &GrpcConfig,
        folder: &Path,
        at: &str,
        mistakes: &mut Mistakes,
    ) -> Option<Self> {
        config.check_reasons(at, mistakes);
        let (at, known) = (below(at, "descriptors"), mistakes.0.len());
        let files: Vec<PathBuf> = config.descriptors.iter().map(|file| folder.join(file)).collect();
        if files.is_empty() {
            mistakes.add(Mistake::new(&at, "no file says what there is to call").expected("at least one"));
        }
        let content = fingerprint(&files); // before they are read, so that no change is missed
        let mut pool = DescriptorPool::new();
        for (index, file) in files.iter().enumerate() {
            let added = add(&mut pool, file);
            mistakes.keep(added.map_err(|wrong| Mistake { at: format!("{at}[{index}]"), ..wrong }));
        }
        (mistakes.0.len() == known).then_some(Descriptors { pool, files, content })
    }

    /// The files, and what was in them.
    pub(crate) fn made_of(&self) -> (Vec<PathBuf>, u64) {
        (self.files.clone(), self.content)
    }

    /// The method called `name` of `service`, wherever that was typed, on the route that `whose` names.
    ///
    /// # Errors
    /// There is none, or one that is not called by one message and answered by one.
    pub(super) fn method(&self, service: &str, name: &str, whose: &str) -> Result<MethodDescriptor, Mistake> {
        let Some(found) = self.pool.get_service_by_name(service) else {
            let wrong = Mistake::new("", format!("{whose}: no descriptor has a service `{service}`"));
            let known: Vec<String> = self.pool.services().map(|known| known.full_name().to_owned()).collect();
            return Err(wrong.words(service).one_of("services", known, service));
        };
        let Some(method) = found.methods().find(|method| method.name() == name) else {
            let wrong = Mistake::new("", format!("{whose}: `{service}` has no method `{name}`"));
            let known: Vec<String> = found.methods().map(|known| known.name().to_owned()).collect();
            return Err(wrong.words(name).one_of("methods", known, name));
        };
        if method.is_client_streaming() || method.is_server_streaming() {
            let wrong = Mistake::new("", format!("{whose}: `{name}` streams messages"));
            return Err(wrong.words(name).expected("a method of one message each way"));
        }
        Ok(method)
    }
}

fn add(pool: &mut DescriptorPool, file: &Path) -> Result<(), Mistake> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let help = "let `protoc --include_imports --descriptor_set_out=FILE` write it";
    let set = fs::read(file).map_err(|why| Mistake::new("", format!("`{name}` cannot be read: {why}")))?;
    let before = pool.services().len();
    // Not by way of the messages of prost-types, which would drop the options of other files.
    pool.decode_file_descriptor_set(set.as_slice()).map_err(|why| {
        Mistake::new("", format!("`{name}` is no descriptor set: {}", one_line(&why.to_string()))).help(help)
    })?;
    if pool.services().len() == before {
        let wrong = Mistake::new("", format!("`{name}` describes no service that is not described already"));
        return Err(wrong.help(help));
    }
    Ok(())
}

fn one_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use prost_reflect::Kind;

    use super::*;

    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/proxy/grpc");

    fn built(files: &[&str]) -> Result<Descriptors, Vec<String>> {
        let mut mistakes = Mistakes::default();
        let config = GrpcConfig {
            descriptors: files.iter().map(PathBuf::from).collect(),
            int64: Int64::Number,
            defaults: true,
            reasons: IndexMap::new(),
            max_reply: max_reply(),
        };
        let built = Descriptors::build(&config, Path::new(FOLDER), "grpc", &mut mistakes);
        let told = mistakes.0.into_iter().map(|mistake| format!("{}: {}", mistake.at, mistake.message));
        built.ok_or_else(|| told.collect())
    }

    #[test]
    fn files_that_are_no_descriptor_sets_are_told_with_their_place() {
        let told = built(&["testing.binpb", "testing.proto", "missing.binpb"]).unwrap_err();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].starts_with("grpc.descriptors[1]: `testing.proto` is no descriptor set: "),
            "{told:?}"
        );
        assert!(told[1].starts_with("grpc.descriptors[2]: `missing.binpb` cannot be read: "), "{told:?}");
        assert!(built(&[]).is_err());
        assert!(built(&["testing.binpb", "testing.binpb"]).is_err(), "the second adds nothing");
    }

    #[test]
    fn several_files_are_one_world() {
        let both = built(&["testing.binpb", "../../../../config/order.binpb"]).unwrap();
        assert!(both.method("testing.Things", "Find", "it").is_ok());
        assert!(both.method("orderservice.OrderService", "createOrder", "it").is_ok());
    }

    #[test]
    fn a_method_that_streams_or_is_not_there_is_told() {
        let known = built(&["testing.binpb"]).unwrap();
        let wrong = |service, method| known.method(service, method, "it").unwrap_err();
        assert_eq!(wrong("testing.Thing", "Find").help.as_deref(), Some("did you mean `testing.Things`?"));
        assert_eq!(wrong("testing.Things", "Fnd").help.as_deref(), Some("did you mean `Find`?"));
        for streams in ["Watch", "Put"] {
            assert_eq!(wrong("testing.Things", streams).expected, "a method of one message each way");
        }
    }

    /// What is read by people and what is read by the gateway are the same.
    #[test]
    fn the_definitions_that_ship_are_those_of_the_descriptors() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../config");
        let text = fs::read_to_string(format!("{folder}/order.proto")).unwrap();
        let pool = DescriptorPool::decode(&*fs::read(format!("{folder}/order.binpb")).unwrap()).unwrap();
        let mut described = 0;
        for field in pool.all_messages().flat_map(|message| message.fields().collect::<Vec<_>>()) {
            let kind = match field.kind() {
                Kind::Message(kind) => kind.name().to_owned(),
                kind => format!("{kind:?}"),
            };
            let repeated = if field.is_list() { "repeated " } else { "" };
            let line = format!("{repeated}{kind} {} = {};", field.name(), field.number());
            assert!(text.lines().any(|typed| typed.trim() == line), "{line}");
            described += 1;
        }
        let typed = text.lines().filter(|line| line.contains(" = ") && line.starts_with("  ")).count();
        assert_eq!(described, typed);
        let service = pool.get_service_by_name("orderservice.OrderService").unwrap();
        for method in service.methods() {
            let (name, takes, gives) = (method.name(), method.input(), method.output());
            let line = format!("rpc {name}({}) returns ({}) {{}}", takes.name(), gives.name());
            assert!(text.lines().any(|typed| typed.trim() == line), "{line}");
        }
        let typed = text.lines().filter(|line| line.trim_start().starts_with("rpc ")).count();
        assert_eq!(service.methods().count(), typed);
    }
}
