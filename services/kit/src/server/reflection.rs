//! `grpc.reflection.v1` and `v1alpha` over the embedded descriptor set.
//!
//! Files are answered as the raw bytes of the set, so custom options and comments are in them, which
//! a decoded and re-encoded descriptor would have lost. The index is made at the first call.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    pin::Pin,
    sync::{Arc, OnceLock},
};

use futures::{Stream, StreamExt as _};
use tonic::{Code, Request, Response, Status, Streaming};

use super::contract::{self, File};

/// Answers questions about the contracts of one server.
#[derive(Clone)]
pub(super) struct Reflection {
    services: Arc<Vec<String>>,
    index: Arc<OnceLock<Index>>,
}

struct Index {
    files: BTreeMap<&'static str, File>,
    by_symbol: HashMap<String, &'static str>,
    by_extension: BTreeMap<(String, i32), &'static str>,
}

/// A question or an answer, the same in both versions of the protocol.
enum Question {
    File(String),
    Symbol(String),
    Extension(String, i32),
    ExtensionNumbers(String),
    Services,
    Nothing,
}

enum Answer {
    Files(Vec<Vec<u8>>),
    Numbers(String, Vec<i32>),
    Services(Vec<String>),
    Error(Code, String),
}

impl Reflection {
    fn new(services: &[&str]) -> Self {
        let mut names: Vec<String> = services.iter().map(|name| (*name).to_owned()).collect();
        names.extend(
            [
                "grpc.health.v1.Health",
                "grpc.reflection.v1.ServerReflection",
                "grpc.reflection.v1alpha.ServerReflection",
            ]
            .map(str::to_owned),
        );
        names.sort();
        Self {
            services: Arc::new(names),
            index: Arc::default(),
        }
    }

    fn answer(&self, question: Question) -> Answer {
        let index = self.index.get_or_init(|| Index::new(&self.services));
        let found = match question {
            Question::File(name) => index.closure(index.files.get_key_value(name.as_str())),
            Question::Symbol(name) => index.closure(
                index
                    .by_symbol
                    .get(&name)
                    .and_then(|file| index.files.get_key_value(file)),
            ),
            Question::Extension(message, number) => index.closure(
                index
                    .by_extension
                    .get(&(message, number))
                    .and_then(|file| index.files.get_key_value(file)),
            ),
            Question::ExtensionNumbers(message) => {
                if !index.by_symbol.contains_key(&message) {
                    return Answer::Error(Code::NotFound, "no such message".into());
                }
                let numbers = index
                    .by_extension
                    .keys()
                    .filter(|(extended, _)| *extended == message);
                return Answer::Numbers(
                    message.clone(),
                    numbers.map(|(_, number)| *number).collect(),
                );
            }
            Question::Services => return Answer::Services(self.services.to_vec()),
            Question::Nothing => {
                return Answer::Error(Code::InvalidArgument, "the request asks nothing".into());
            }
        };
        found.map_or_else(
            || Answer::Error(Code::NotFound, "not found".into()),
            Answer::Files,
        )
    }
}

impl Index {
    /// Only the files that the services need, with everything those import.
    fn new(services: &[String]) -> Self {
        let mut all: BTreeMap<&'static str, File> = BTreeMap::new();
        for file in contract::files() {
            all.entry(file.name).or_insert(file);
        }
        let mut wanted: VecDeque<&'static str> = all
            .values()
            .filter(|file| file.symbols.iter().any(|symbol| services.contains(symbol)))
            .map(|file| file.name)
            .collect();
        let mut seen = HashSet::new();
        while let Some(name) = wanted.pop_front() {
            if let Some(file) = all.get(name)
                && seen.insert(name)
            {
                wanted.extend(&file.dependencies);
            }
        }
        all.retain(|name, _| seen.contains(name));
        let mut by_symbol = HashMap::new();
        let mut by_extension = BTreeMap::new();
        for (name, file) in &mut all {
            by_symbol.extend(
                std::mem::take(&mut file.symbols)
                    .into_iter()
                    .map(|s| (s, *name)),
            );
            by_extension.extend(
                std::mem::take(&mut file.extensions)
                    .into_iter()
                    .map(|e| (e, *name)),
            );
        }
        Self {
            files: all,
            by_symbol,
            by_extension,
        }
    }

    /// The file and everything it imports, itself first, as clients expect.
    fn closure(&self, start: Option<(&&'static str, &File)>) -> Option<Vec<Vec<u8>>> {
        let (first, _) = start?;
        let (mut wanted, mut seen) = (VecDeque::from([*first]), HashSet::new());
        let mut found = Vec::new();
        while let Some(name) = wanted.pop_front() {
            if let Some(file) = self.files.get(name)
                && seen.insert(name)
            {
                found.push(file.bytes.to_vec());
                wanted.extend(&file.dependencies);
            }
        }
        Some(found)
    }
}

macro_rules! reflection_version {
    ($module:ident, $pb:path) => {
        mod $module {
            use $pb as pb;

            use super::*;
            use pb::server_reflection_request::MessageRequest as Ask;
            use pb::server_reflection_response::MessageResponse as Tell;

            #[tonic::async_trait]
            impl pb::server_reflection_server::ServerReflection for Reflection {
                type ServerReflectionInfoStream = Pin<
                    Box<dyn Stream<Item = Result<pb::ServerReflectionResponse, Status>> + Send>,
                >;

                async fn server_reflection_info(
                    &self,
                    request: Request<Streaming<pb::ServerReflectionRequest>>,
                ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
                    let reflection = self.clone();
                    let answers = request.into_inner().map(move |asked| {
                        let asked = asked?;
                        let question = match asked.message_request.clone() {
                            Some(Ask::FileByFilename(name)) => Question::File(name),
                            Some(Ask::FileContainingSymbol(name)) => Question::Symbol(name),
                            Some(Ask::FileContainingExtension(extension)) => Question::Extension(
                                extension.containing_type,
                                extension.extension_number,
                            ),
                            Some(Ask::AllExtensionNumbersOfType(name)) => {
                                Question::ExtensionNumbers(name)
                            }
                            Some(Ask::ListServices(_)) => Question::Services,
                            None => Question::Nothing,
                        };
                        let told = match reflection.answer(question) {
                            Answer::Files(file_descriptor_proto) => {
                                Tell::FileDescriptorResponse(pb::FileDescriptorResponse {
                                    file_descriptor_proto,
                                })
                            }
                            Answer::Numbers(base_type_name, extension_number) => {
                                Tell::AllExtensionNumbersResponse(pb::ExtensionNumberResponse {
                                    base_type_name,
                                    extension_number,
                                })
                            }
                            Answer::Services(names) => {
                                let service =
                                    names.into_iter().map(|name| pb::ServiceResponse { name });
                                Tell::ListServicesResponse(pb::ListServiceResponse {
                                    service: service.collect(),
                                })
                            }
                            Answer::Error(code, error_message) => {
                                Tell::ErrorResponse(pb::ErrorResponse {
                                    error_code: code as i32,
                                    error_message,
                                })
                            }
                        };
                        Ok(pb::ServerReflectionResponse {
                            valid_host: asked.host.clone(),
                            original_request: Some(asked),
                            message_response: Some(told),
                        })
                    });
                    Ok(Response::new(Box::pin(answers)))
                }
            }
        }
    };
}

reflection_version!(v1, tonic_reflection::pb::v1);
reflection_version!(v1alpha, tonic_reflection::pb::v1alpha);

type V1 = tonic_reflection::pb::v1::server_reflection_server::ServerReflectionServer<Reflection>;
type V1Alpha =
    tonic_reflection::pb::v1alpha::server_reflection_server::ServerReflectionServer<Reflection>;

/// Both versions, over the files of `services`.
pub(super) fn services(services: &[&str]) -> (V1, V1Alpha) {
    let reflection = Reflection::new(services);
    (V1::new(reflection.clone()), V1Alpha::new(reflection))
}
