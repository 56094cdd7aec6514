//! `orderservice.OrderService`: the messages, `createOrder` and `getOrder`, and their translation to the domain.
//!
//! Written by hand instead of generated: short messages and two methods need no protoc at build time.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, Response, StatusCode};
use axum::routing::post;
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::problem::Refusal;
use super::request::idempotency_key;
use super::rule::Script;
use super::world::{NewLineItem, NewOrder, Order, World};

/// The full name of the method that takes an order.
const CREATE_ORDER: &str = "orderservice.OrderService/createOrder";
/// The full name of the method that reads one.
const GET_ORDER: &str = "orderservice.OrderService/getOrder";

/// `CreateOrderRequest` of the reference's protocol.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CreateOrderRequest {
    /// The restaurant.
    #[prost(int64, tag = "1")]
    pub restaurant_id: i64,
    /// The consumer.
    #[prost(int64, tag = "2")]
    pub consumer_id: i64,
    /// What is ordered.
    #[prost(message, repeated, tag = "3")]
    pub line_items: Vec<LineItem>,
    /// Where it goes.
    #[prost(message, optional, tag = "4")]
    pub delivery_address: Option<Address>,
    /// When it is to arrive: ISO 8601 without zone.
    #[prost(string, tag = "5")]
    pub delivery_time: String,
}

/// `LineItem` of the reference's protocol.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LineItem {
    /// The dish.
    #[prost(string, tag = "1")]
    pub menu_item_id: String,
    /// How often.
    #[prost(int32, tag = "2")]
    pub quantity: i32,
}

/// `Address` of the reference's protocol.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Address {
    /// Number and street.
    #[prost(string, tag = "1")]
    pub street1: String,
    /// What else the courier must know; may be empty.
    #[prost(string, tag = "2")]
    pub street2: String,
    /// The city.
    #[prost(string, tag = "3")]
    pub city: String,
    /// The state.
    #[prost(string, tag = "4")]
    pub state: String,
    /// The postal code.
    #[prost(string, tag = "5")]
    pub zip: String,
}

/// `CreateOrderReply` of the reference's protocol.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CreateOrderReply {
    /// The new order.
    #[prost(int64, tag = "1")]
    pub order_id: i64,
}

/// Which order is to be read.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetOrderRequest {
    /// The order.
    #[prost(int64, tag = "1")]
    pub order_id: i64,
}

/// What there is to say of an order.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GetOrderReply {
    /// The order.
    #[prost(int64, tag = "1")]
    pub order_id: i64,
    /// Whose it is.
    #[prost(int64, tag = "2")]
    pub consumer_id: i64,
    /// The restaurant.
    #[prost(int64, tag = "3")]
    pub restaurant_id: i64,
    /// Where it stands: `APPROVED`.
    #[prost(string, tag = "4")]
    pub state: String,
    /// What it costs: `61.70`.
    #[prost(string, tag = "5")]
    pub order_total: String,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
struct RichStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Detail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct Detail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.ErrorInfo`, but for its metadata.
#[derive(Clone, PartialEq, prost::Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
}

/// The gRPC side of the order service.
pub(super) fn router(world: World) -> Router {
    Router::new()
        .route(&format!("/{CREATE_ORDER}"), post(create_order))
        .route(&format!("/{GET_ORDER}"), post(get_order))
        .fallback(unknown)
        .with_state(world)
}

/// What stands for the method in the name of a gRPC route.
pub(super) fn label() -> Method {
    Method::from_bytes(b"gRPC").expect("letters are a method")
}

/// The full method name of a path, `(unknown)` if there is no such method.
pub(super) fn template(path: &str) -> &'static str {
    let known = [CREATE_ORDER, GET_ORDER].into_iter().find(|known| path.strip_prefix('/') == Some(known));
    known.unwrap_or("(unknown)")
}

/// A scripted answer in gRPC: the code that matches, or a reply with the body's `orderId`.
pub(super) fn scripted(script: &Script) -> Response<Body> {
    let message = String::from_utf8_lossy(&script.body).into_owned();
    let metadata = MetadataMap::from_headers(script.headers.clone());
    let status = Status::with_metadata(code_of(script.status), message, metadata);
    if status.code() != Code::Ok {
        return status.into_http();
    }
    let body: serde_json::Value = serde_json::from_slice(&script.body).unwrap_or_default();
    reply(&CreateOrderReply { order_id: body["orderId"].as_i64().unwrap_or_default() })
}

async fn create_order(State(world): State<World>, request: Request) -> Response<Body> {
    let codec = ProstCodec::<CreateOrderReply, CreateOrderRequest>::default();
    Grpc::new(codec).unary(CreateOrder(world), request).await.map(Body::new)
}

async fn get_order(State(world): State<World>, request: Request) -> Response<Body> {
    let codec = ProstCodec::<GetOrderReply, GetOrderRequest>::default();
    Grpc::new(codec).unary(GetOrder(world), request).await.map(Body::new)
}

async fn unknown() -> Response<Body> {
    Status::unimplemented("there are createOrder and getOrder").into_http()
}

struct GetOrder(World);

impl UnaryService<GetOrderRequest> for GetOrder {
    type Response = GetOrderReply;
    type Future = std::future::Ready<Result<tonic::Response<GetOrderReply>, Status>>;

    fn call(&mut self, request: tonic::Request<GetOrderRequest>) -> Self::Future {
        let found = self.0.state().order(request.into_inner().order_id).cloned();
        let told = found.map(|order| tonic::Response::new(told(&order)));
        std::future::ready(told.map_err(refused))
    }
}

fn told(order: &Order) -> GetOrderReply {
    let state = serde_json::to_value(order.state).expect("a state is JSON");
    GetOrderReply {
        order_id: order.order_id,
        consumer_id: order.consumer_id,
        restaurant_id: order.restaurant_id,
        state: state.as_str().unwrap_or_default().to_owned(),
        order_total: order.order_total.to_string(),
    }
}

struct CreateOrder(World);

impl UnaryService<CreateOrderRequest> for CreateOrder {
    type Response = CreateOrderReply;
    type Future = std::future::Ready<Result<tonic::Response<CreateOrderReply>, Status>>;

    fn call(&mut self, request: tonic::Request<CreateOrderRequest>) -> Self::Future {
        let (metadata, _, order) = request.into_parts();
        let key = idempotency_key(metadata.as_ref());
        let created = self.0.create_order_once(key, &new_order(order));
        let created = created.map(|order_id| tonic::Response::new(CreateOrderReply { order_id }));
        std::future::ready(created.map_err(refused))
    }
}

fn refused(refusal: Refusal) -> Status {
    match refusal {
        Refusal::NotFound => Status::not_found(""),
        Refusal::Invalid(invalid) => Status::invalid_argument(invalid.to_string()),
        Refusal::Conflict(why) => Status::failed_precondition(why),
        Refusal::KeyReused => {
            let why = "this idempotency-key came with another order before";
            with_reason(Code::InvalidArgument, why, "IDEMPOTENCY_KEY_REUSED")
        }
    }
}

/// A refusal that says its reason for machines too (AIP-193).
fn with_reason(code: Code, message: &str, reason: &str) -> Status {
    let info = ErrorInfo { reason: reason.to_owned(), domain: "order.ftgo.example".to_owned() };
    let detail = Detail {
        type_url: "type.googleapis.com/google.rpc.ErrorInfo".to_owned(),
        value: prost::Message::encode_to_vec(&info),
    };
    let rich = RichStatus { code: code.into(), message: message.to_owned(), details: vec![detail] };
    Status::with_details(code, message, prost::Message::encode_to_vec(&rich).into())
}

fn new_order(request: CreateOrderRequest) -> NewOrder {
    let items = request.line_items.into_iter();
    NewOrder {
        consumer_id: request.consumer_id,
        restaurant_id: request.restaurant_id,
        delivery_time: request.delivery_time,
        delivery_address: address(request.delivery_address.unwrap_or_default()),
        line_items: items.map(line_item).collect(),
    }
}

fn line_item(item: LineItem) -> NewLineItem {
    NewLineItem { menu_item_id: item.menu_item_id, quantity: item.quantity.into() }
}

fn address(address: Address) -> super::world::Address {
    super::world::Address {
        street1: address.street1,
        street2: Some(address.street2).filter(|line| !line.is_empty()),
        city: address.city,
        state: address.state,
        zip: address.zip,
    }
}

/// A message and the status OK.
fn reply(message: &CreateOrderReply) -> Response<Body> {
    let payload = prost::Message::encode_to_vec(message);
    let length = u32::try_from(payload.len()).expect("a reply is a few bytes");
    let frame = [&[0], &length.to_be_bytes()[..], &payload].concat();
    let body = http_body_util::BodyExt::with_trailers(Body::from(frame), async {
        Some(Ok(Status::ok("").into_http::<()>().headers().clone()))
    });
    let mut response = Response::new(Body::new(body));
    let grpc = axum::http::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(axum::http::header::CONTENT_TYPE, grpc);
    response
}

/// The code that an HTTP status stands for.
fn code_of(status: StatusCode) -> Code {
    match status.as_u16() {
        200..=299 => Code::Ok,
        400 | 422 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        409 => Code::Aborted,
        412 => Code::FailedPrecondition,
        429 => Code::ResourceExhausted,
        500 => Code::Internal,
        501 => Code::Unimplemented,
        503 => Code::Unavailable,
        504 => Code::DeadlineExceeded,
        _ => Code::Unknown,
    }
}
