//! What the edge answers over gRPC by itself: reflection (v1 and v1alpha) and its own health.

use std::pin::Pin;

use futures::{Stream, StreamExt, stream};
use prost::Message;
use prost_reflect::{DescriptorPool, FileDescriptor};
use tonic::{Request, Response, Status, Streaming, service::Routes};
use tonic_health::server::HealthReporter;
use tonic_reflection::pb::{v1, v1alpha};
use v1::{
    ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse, ListServiceResponse,
    ServiceResponse,
    server_reflection_request::MessageRequest,
    server_reflection_response::MessageResponse,
    server_reflection_server::{ServerReflection, ServerReflectionServer},
};

/// Whether a gRPC path is answered here.
pub(crate) fn is_local(path: &str) -> bool {
    path.starts_with("/grpc.reflection.") || path.starts_with("/grpc.health.v1.Health/")
}

/// Reflection over `services`, and health, which the reporter sets.
pub(crate) fn routes(pool: &DescriptorPool, services: &[String]) -> (Routes, HealthReporter) {
    let (reporter, health) = tonic_health::server::health_reporter();
    let reflection = Reflection::new(pool, services);
    let routes = Routes::new(health)
        .add_service(ServerReflectionServer::new(reflection.clone()))
        .add_service(v1alpha::server_reflection_server::ServerReflectionServer::new(reflection));
    (routes.prepare(), reporter)
}

/// Files are served as they were compiled, custom options included, which a copy through generated
/// types would lose.
#[derive(Clone)]
struct Reflection {
    /// The services' contracts, then our own. Apart, because a pool that is added to is copied whole.
    pools: [DescriptorPool; 2],
    services: Vec<String>,
}

impl Reflection {
    fn new(pool: &DescriptorPool, services: &[String]) -> Self {
        let mut own = DescriptorPool::new();
        for set in [
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ] {
            if let Err(error) = own.decode_file_descriptor_set(set) {
                tracing::warn!(%error, "own contracts cannot be described");
            }
        }
        let mut services = services.to_vec();
        services.extend(
            [
                "grpc.health.v1.Health",
                "grpc.reflection.v1.ServerReflection",
                "grpc.reflection.v1alpha.ServerReflection",
            ]
            .map(str::to_owned),
        );
        services.sort();
        services.dedup();
        Self {
            pools: [pool.clone(), own],
            services,
        }
    }

    fn answer(&self, request: v1::ServerReflectionRequest) -> v1::ServerReflectionResponse {
        let answer = request
            .message_request
            .as_ref()
            .ok_or_else(|| Status::invalid_argument("the request asks nothing"))
            .and_then(|question| self.answer_to(question))
            .unwrap_or_else(|status| {
                MessageResponse::ErrorResponse(ErrorResponse {
                    error_code: status.code() as i32,
                    error_message: status.message().to_owned(),
                })
            });
        v1::ServerReflectionResponse {
            valid_host: request.host.clone(),
            original_request: Some(request),
            message_response: Some(answer),
        }
    }

    fn answer_to(&self, question: &MessageRequest) -> Result<MessageResponse, Status> {
        let missing = |what: &str| Status::not_found(format!("{what} is not known"));
        match question {
            MessageRequest::ListServices(_) => {
                let service = self
                    .services
                    .iter()
                    .map(|name| ServiceResponse { name: name.clone() });
                Ok(MessageResponse::ListServicesResponse(ListServiceResponse {
                    service: service.collect(),
                }))
            }
            MessageRequest::FileByFilename(name) => {
                let mut pools = self.pools.iter();
                let file = pools.find_map(|pool| pool.get_file_by_name(name));
                let file = file.ok_or_else(|| missing(name))?;
                Ok(with_imports(&file))
            }
            MessageRequest::FileContainingSymbol(name) => {
                let file = self.file_of(name).ok_or_else(|| missing(name))?;
                Ok(with_imports(&file))
            }
            MessageRequest::FileContainingExtension(wanted) => {
                let mut extensions = self.pools.iter().flat_map(DescriptorPool::all_extensions);
                let found = extensions.find(|extension| {
                    extension.containing_message().full_name() == wanted.containing_type
                        && extension.number() == wanted.extension_number as u32
                });
                let found = found.ok_or_else(|| missing(&wanted.containing_type))?;
                Ok(with_imports(&found.parent_file()))
            }
            MessageRequest::AllExtensionNumbersOfType(name) => {
                let mut pools = self.pools.iter();
                if !pools.any(|pool| pool.get_message_by_name(name).is_some()) {
                    return Err(missing(name));
                }
                let extensions = self.pools.iter().flat_map(DescriptorPool::all_extensions);
                let numbers = extensions
                    .filter(|extension| extension.containing_message().full_name() == name)
                    .map(|extension| extension.number() as i32);
                let answer = ExtensionNumberResponse {
                    base_type_name: name.clone(),
                    extension_number: numbers.collect(),
                };
                Ok(MessageResponse::AllExtensionNumbersResponse(answer))
            }
        }
    }

    fn file_of(&self, symbol: &str) -> Option<FileDescriptor> {
        self.pools.iter().find_map(|pool| file_of(pool, symbol))
    }
}

/// The file of a service, method, message, enum, extension, field or enum value.
fn file_of(pool: &DescriptorPool, symbol: &str) -> Option<FileDescriptor> {
    if let Some(service) = pool.get_service_by_name(symbol) {
        return Some(service.parent_file());
    }
    if let Some(message) = pool.get_message_by_name(symbol) {
        return Some(message.parent_file());
    }
    if let Some(descriptor) = pool.get_enum_by_name(symbol) {
        return Some(descriptor.parent_file());
    }
    if let Some(extension) = pool.get_extension_by_name(symbol) {
        return Some(extension.parent_file());
    }
    let (parent, name) = symbol.rsplit_once('.')?;
    let has = |found: bool, file: FileDescriptor| found.then_some(file);
    if let Some(service) = pool.get_service_by_name(parent) {
        let found = service.methods().any(|method| method.name() == name);
        return has(found, service.parent_file());
    }
    if let Some(message) = pool.get_message_by_name(parent) {
        let oneof = message.oneofs().any(|oneof| oneof.name() == name);
        let found = oneof || message.get_field_by_name(name).is_some();
        return has(found, message.parent_file());
    }
    // A value's full name is beside its enum, not below it.
    let mut enums = pool.all_enums();
    let holder = enums.find(|holder| holder.values().any(|value| value.full_name() == symbol))?;
    Some(holder.parent_file())
}

/// A file and everything it imports, itself first: clients need not ask again.
fn with_imports(file: &FileDescriptor) -> MessageResponse {
    let mut files = vec![file.clone()];
    let mut next = 0;
    while next < files.len() {
        for import in files[next].dependencies().collect::<Vec<_>>() {
            if files.iter().all(|known| known.name() != import.name()) {
                files.push(import);
            }
        }
        next += 1;
    }
    let file_descriptor_proto = files.iter().map(FileDescriptor::encode_to_vec).collect();
    MessageResponse::FileDescriptorResponse(FileDescriptorResponse {
        file_descriptor_proto,
    })
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl ServerReflection for Reflection {
    type ServerReflectionInfoStream = Answers<v1::ServerReflectionResponse>;

    async fn server_reflection_info(
        &self,
        request: Request<Streaming<v1::ServerReflectionRequest>>,
    ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
        let this = self.clone();
        let answers = request
            .into_inner()
            .map(move |request| request.map(|request| this.answer(request)));
        Ok(Response::new(Box::pin(answers)))
    }
}

#[tonic::async_trait]
impl v1alpha::server_reflection_server::ServerReflection for Reflection {
    type ServerReflectionInfoStream = Answers<v1alpha::ServerReflectionResponse>;

    async fn server_reflection_info(
        &self,
        request: Request<Streaming<v1alpha::ServerReflectionRequest>>,
    ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
        let this = self.clone();
        let answers = request.into_inner().then(move |request| {
            let answer = request.and_then(|request| {
                // Both versions have the same wire format.
                let request: v1::ServerReflectionRequest = recode(&request)?;
                recode(&this.answer(request))
            });
            std::future::ready(answer)
        });
        Ok(Response::new(Box::pin(answers.chain(stream::empty()))))
    }
}

fn recode<A: Message, B: Message + Default>(message: &A) -> Result<B, Status> {
    B::decode(message.encode_to_vec().as_slice())
        .map_err(|error| Status::internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(question: MessageRequest) -> MessageResponse {
        let services = ["sockshop.orders.v1.OrderService".to_owned()];
        let request = v1::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(question),
        };
        let reflection = Reflection::new(contracts::pool(), &services);
        reflection.answer(request).message_response.unwrap()
    }

    #[test]
    fn files_keep_their_custom_options() {
        for symbol in [
            "sockshop.orders.v1.OrderService",
            "sockshop.orders.v1.OrderService.GetOrder",
            "sockshop.orders.v1.Order.name",
            "sockshop.orders.v1.OrderState",
            "sockshop.orders.v1.ORDER_STATE_PAID",
        ] {
            let answer = ask(MessageRequest::FileContainingSymbol(symbol.to_owned()));
            let MessageResponse::FileDescriptorResponse(files) = answer else {
                panic!("{answer:?}");
            };
            let mut pool = DescriptorPool::new();
            let mut set = Vec::new();
            for file in files.file_descriptor_proto.iter().rev() {
                prost::encoding::bytes::encode(1, file, &mut set);
            }
            pool.decode_file_descriptor_set(set.as_slice()).unwrap();
            let service = pool
                .get_service_by_name("sockshop.orders.v1.OrderService")
                .unwrap();
            let method = service
                .methods()
                .find(|method| method.name() == "GetOrder")
                .unwrap();
            assert_eq!(
                crate::api::access(&pool, &method),
                Some(crate::api::Access::Customer)
            );
        }
    }

    #[test]
    fn our_own_contracts_are_described_too() {
        for symbol in [
            "grpc.health.v1.Health.Check",
            "grpc.reflection.v1.ServerReflection",
        ] {
            let answer = ask(MessageRequest::FileContainingSymbol(symbol.to_owned()));
            let is_file = matches!(answer, MessageResponse::FileDescriptorResponse(_));
            assert!(is_file, "{symbol}: {answer:?}");
        }
    }

    #[test]
    fn unknown_symbols_are_not_found() {
        let answer = ask(MessageRequest::FileContainingSymbol("no.Such".to_owned()));
        assert!(matches!(answer, MessageResponse::ErrorResponse(error) if error.error_code == 5));
    }

    #[test]
    fn only_the_given_services_and_our_own_are_listed() {
        let answer = ask(MessageRequest::ListServices(String::new()));
        let MessageResponse::ListServicesResponse(list) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(list.service.len(), 4, "{list:?}");
    }
}
