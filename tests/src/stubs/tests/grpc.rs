//! The order service's gRPC side.

use serde_json::json;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::*;
use crate::stubs::grpc::{
    Address, CreateOrderReply, CreateOrderRequest, GetOrderReply, GetOrderRequest, LineItem,
};
use crate::stubs::service::Service;

fn order(restaurant_id: i64) -> CreateOrderRequest {
    CreateOrderRequest {
        restaurant_id,
        consumer_id: 1_511_300_065_921,
        line_items: vec![LineItem { menu_item_id: "1".to_owned(), quantity: 5 }],
        delivery_address: Some(Address {
            street1: "9 Amazing View".to_owned(),
            street2: String::new(),
            city: "Oakland".to_owned(),
            state: "CA".to_owned(),
            zip: "94612".to_owned(),
        }),
        delivery_time: "2030-01-01T18:00:00".to_owned(),
    }
}

async fn create(stubs: &Stubs, order: CreateOrderRequest) -> Result<i64, Status> {
    send_order(stubs, tonic::Request::new(order)).await
}

async fn send_order(stubs: &Stubs, order: tonic::Request<CreateOrderRequest>) -> Result<i64, Status> {
    let endpoint = Channel::from_shared(format!("http://{}", stubs.grpc())).unwrap();
    let channel = endpoint.connect().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let codec = ProstCodec::<CreateOrderRequest, CreateOrderReply>::default();
    let path = "/orderservice.OrderService/createOrder".parse().unwrap();
    let reply = client.unary(order, path, codec).await?;
    Ok(reply.into_inner().order_id)
}

#[tokio::test]
async fn an_order_is_created_and_counted_under_its_method() {
    let stubs = stubs();
    assert!(create(&stubs, order(1)).await.unwrap() > 0);
    let counts = stubs.recorder().counts(Service::Order);
    assert_eq!(counts.by_route["gRPC orderservice.OrderService/createOrder"], 1);
    assert_eq!(counts.last[0].path, "/orderservice.OrderService/createOrder");
}

#[tokio::test]
async fn an_order_sent_twice_with_one_key_is_one_order() {
    let stubs = stubs();
    let with_key = |order| {
        let mut request = tonic::Request::new(order);
        request.metadata_mut().insert("idempotency-key", "k1".parse().unwrap());
        request
    };
    let first = send_order(&stubs, with_key(order(1))).await.unwrap();
    assert_eq!(send_order(&stubs, with_key(order(1))).await.unwrap(), first);
    let other = send_order(&stubs, with_key(order(2))).await.unwrap_err();
    assert_eq!(other.code(), Code::InvalidArgument);
    let details = String::from_utf8_lossy(other.details()).into_owned();
    assert!(
        details.contains("google.rpc.ErrorInfo") && details.contains("IDEMPOTENCY_KEY_REUSED"),
        "{details}"
    );
}

#[tokio::test]
async fn an_order_is_read_over_grpc_as_over_http() {
    let stubs = stubs();
    let read = async |order_id: i64| {
        let endpoint = Channel::from_shared(format!("http://{}", stubs.grpc())).unwrap();
        let mut client = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
        client.ready().await.unwrap();
        let codec = ProstCodec::<GetOrderRequest, GetOrderReply>::default();
        let path = "/orderservice.OrderService/getOrder".parse().unwrap();
        client.unary(tonic::Request::new(GetOrderRequest { order_id }), path, codec).await
    };
    let order = read(99).await.unwrap().into_inner();
    assert_eq!((order.order_id, order.consumer_id, order.restaurant_id), (99, 1_511_300_065_921, 1));
    assert_eq!((order.state.as_str(), order.order_total.as_str()), ("APPROVED", "61.70"));
    assert_eq!(read(4_242_424).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn an_unknown_restaurant_is_an_invalid_argument() {
    assert_eq!(create(&stubs(), order(424_242)).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_scripted_status_becomes_the_matching_code() {
    let stubs = stubs();
    for (status, code) in [(404, Code::NotFound), (429, Code::ResourceExhausted), (503, Code::Unavailable)] {
        let fault = json!({"method": "POST", "path": "/orders", "fault": {"status": status, "body": "why"}});
        stubs.faults().set(Service::Order, fault).await.unwrap();
        let refused = create(&stubs, order(1)).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (code, "why"));
    }
}

#[tokio::test]
async fn a_scripted_success_is_a_reply() {
    let stubs = stubs();
    let fault = json!({"fault": {"status": 200, "body": "{\"orderId\": 4711}"}});
    stubs.faults().set(Service::Order, fault).await.unwrap();
    assert_eq!(create(&stubs, order(1)).await.unwrap(), 4711);
}

#[tokio::test]
async fn broken_replies_are_errors() {
    let stubs = stubs();
    for fault in
        [json!("malformed"), json!("huge"), json!("wrong-type"), json!("reset"), json!({"truncate": 3})]
    {
        stubs.faults().set(Service::Order, json!({ "fault": fault })).await.unwrap();
        assert!(create(&stubs, order(1)).await.is_err(), "{fault}");
    }
    stubs.faults().set(Service::Order, json!({"fault": {"trickle": "1ms"}})).await.unwrap();
    assert!(create(&stubs, order(1)).await.is_ok());
}

#[tokio::test]
async fn latency_hanging_and_refusing_reach_grpc() {
    let stubs = stubs();
    stubs.faults().set(Service::Order, json!({"latency": "30ms"})).await.unwrap();
    let began = std::time::Instant::now();
    create(&stubs, order(1)).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(30));
    stubs.faults().set(Service::Order, json!({"fault": "hang"})).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), create(&stubs, order(1))).await.is_err());
    until(&stubs, Service::Order, |counts| counts.cancelled == 1).await;
    stubs.faults().set(Service::Order, json!({"fault": "refuse"})).await.unwrap();
    assert_eq!(create(&stubs, order(1)).await.unwrap_err().code(), Code::Unavailable);
}
