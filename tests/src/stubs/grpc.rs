//! `orderservice.OrderService/createOrder`: the messages, the method and its translation to the domain.
//!
//! Written by hand instead of generated: five short messages and one method need no protoc at build time.

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
use super::world::{NewLineItem, NewOrder, World};

/// The full name of the one method.
const CREATE_ORDER: &str = "orderservice.OrderService/createOrder";

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

/// The gRPC side of the order service.
pub(super) fn router(world: World) -> Router {
    Router::new().route(&format!("/{CREATE_ORDER}"), post(create_order)).fallback(unknown).with_state(world)
}

/// What stands for the method in the name of a gRPC route.
pub(super) fn label() -> Method {
    Method::from_bytes(b"gRPC").expect("letters are a method")
}

/// The full method name of a path, `(unknown)` if there is no such method.
pub(super) fn template(path: &str) -> &'static str {
    if path.strip_prefix('/') == Some(CREATE_ORDER) { CREATE_ORDER } else { "(unknown)" }
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

async fn unknown() -> Response<Body> {
    Status::unimplemented("there is only createOrder").into_http()
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
        Refusal::KeyReused => Status::invalid_argument("this idempotency-key came with another order before"),
    }
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
