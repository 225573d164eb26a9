//! The methods the edge serves: who serves each, who may call it, and calling it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, header};
use prost_reflect::{DescriptorPool, MethodDescriptor, Value};
use tonic::Status;
use weft_channel::body;
use weft_transcode::{BuildError, Plans, Router, rules};

use crate::{
    frames::{Frames, frame, status},
    upstream::Upstream,
};

/// Who may call a method from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anybody.
    Public,
    /// Whoever has a valid token.
    Customer,
}

/// A method that is served.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    /// The service that has it, such as `orders:7070`.
    pub(crate) authority: Arc<str>,
    pub(crate) access: Access,
    pub(crate) is_client_streaming: bool,
    pub(crate) is_server_streaming: bool,
    /// The contract says that it changes nothing.
    pub(crate) is_read_only: bool,
}

/// All served methods with their REST bindings.
pub(crate) struct Api {
    pub(crate) plans: Plans,
    pub(crate) router: Router,
    methods: HashMap<String, Served>,
    upstream: Arc<dyn Upstream>,
}

impl Api {
    /// `routes` says which authority serves which gRPC service.
    ///
    /// # Errors
    ///
    /// Every REST binding that cannot be served.
    pub(crate) fn new(
        pool: &DescriptorPool,
        routes: &BTreeMap<String, String>,
        upstream: Arc<dyn Upstream>,
    ) -> Result<Self, Vec<BuildError>> {
        let plans = Plans::new(pool);
        let mut methods = HashMap::new();
        for service in pool.services() {
            let Some(authority) = routes.get(service.full_name()) else {
                continue;
            };
            let authority: Arc<str> = authority.as_str().into();
            for method in service.methods() {
                if let Some(access) = access(pool, &method) {
                    methods.insert(rpc_path(&method), served(&method, access, &authority));
                }
            }
        }
        let bindings = rules(pool, &plans, |method| {
            methods.contains_key(&rpc_path(method))
        })?;
        let router = Router::new(bindings)?;
        Ok(Self {
            plans,
            router,
            methods,
            upstream,
        })
    }

    /// The method at a gRPC path, `/package.Service/Method`.
    pub(crate) fn served(&self, path: &str) -> Option<&Served> {
        self.methods.get(path)
    }

    /// Passes a request on as it is.
    pub(crate) async fn forward(
        &self,
        served: &Served,
        request: Request<weft_channel::Body>,
    ) -> http::Response<weft_channel::Body> {
        self.upstream.call(&served.authority, request).await
    }

    /// Calls a method with one message.
    ///
    /// # Errors
    ///
    /// The status of a call that failed before any message came.
    pub(crate) async fn call(
        &self,
        served: &Served,
        path: &str,
        headers: HeaderMap,
        message: &[u8],
    ) -> Result<Frames, Status> {
        let mut request = Request::new(body::full(frame(message)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = path
            .parse()
            .map_err(|_| Status::internal("method path is no URI"))?;
        *request.headers_mut() = headers;
        let grpc = HeaderValue::from_static("application/grpc+proto");
        request.headers_mut().insert(header::CONTENT_TYPE, grpc);
        let trailers = HeaderValue::from_static("trailers");
        request.headers_mut().insert(header::TE, trailers);
        let (head, body) = self.forward(served, request).await.into_parts();
        if head.headers.contains_key("grpc-status") {
            let status = status(&head.headers);
            // A trailers-only OK is a stream without messages.
            if status.code() != tonic::Code::Ok {
                return Err(status);
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            let body = http_body_util::StreamBody::new(futures::stream::iter([Ok::<
                _,
                weft_channel::BodyError,
            >(
                http_body::Frame::trailers(trailers),
            )]));
            return Ok(Frames::new(body::boxed(body)));
        }
        Ok(Frames::new(body))
    }

    /// Calls a method that answers with one message.
    pub(crate) async fn unary(
        &self,
        served: &Served,
        path: &str,
        headers: HeaderMap,
        message: &[u8],
    ) -> Result<Bytes, Status> {
        let mut frames = self.call(served, path, headers, message).await?;
        let answer = frames.message().await?;
        let answer = answer.ok_or_else(|| Status::internal("the service gave no message"))?;
        match frames.message().await? {
            None => Ok(answer),
            Some(_) => Err(Status::internal("the service gave more than one message")),
        }
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

/// `/package.Service/Method`.
pub(crate) fn rpc_path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

/// `None` for internal methods: no protocol of the edge serves those.
pub(crate) fn access(pool: &DescriptorPool, method: &MethodDescriptor) -> Option<Access> {
    let extension = pool.get_extension_by_name("weft.access.v1.access")?;
    match method.options().get_extension(&extension).as_ref() {
        Value::EnumNumber(1) => Some(Access::Public),
        Value::EnumNumber(2) => Some(Access::Customer),
        _ => None,
    }
}

fn served(method: &MethodDescriptor, access: Access, authority: &Arc<str>) -> Served {
    let options = method.options();
    let idempotency = options.get_field_by_name("idempotency_level");
    Served {
        authority: Arc::clone(authority),
        access,
        is_client_streaming: method.is_client_streaming(),
        is_server_streaming: method.is_server_streaming(),
        is_read_only: matches!(idempotency.as_deref(), Some(Value::EnumNumber(1))),
    }
}
