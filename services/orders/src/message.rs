//! Orders as the contract tells them.

use contracts::sockshop::orders::v1 as pb;
use service_kit::{Money, time::to_timestamp};

use crate::{
    order::{Address, Item, Order, Placement},
    saga::State,
};

/// The whole order, without its card token.
pub fn order(order: &Order) -> pb::Order {
    let placement = &order.placement;
    let currency = order.total.currency();
    let line = |line: &crate::order::Line| pb::OrderLine {
        variant: line.item.variant.clone(),
        quantity: line.item.quantity,
        title: line.title.clone(),
        unit_price: Some(Money::new(line.unit_price, currency).to_message()),
    };
    let change = |change: &crate::order::Change| pb::OrderChange {
        state: state(change.state).into(),
        time: Some(to_timestamp(change.time)),
    };
    let rejection = order
        .saga
        .rejection
        .as_ref()
        .filter(|_| order.saga.state == State::Rejected);
    pb::Order {
        name: order.name(),
        customer: placement.customer.clone(),
        lines: order.lines.iter().map(line).collect(),
        shipping_address: Some(address(&placement.address)),
        email: placement.email.clone(),
        card_token: String::new(),
        total: Some(order.total.to_message()),
        state: state(order.saga.state).into(),
        rejection_reason: rejection.map_or_else(String::new, |why| why.reason().to_owned()),
        history: order.history.iter().map(change).collect(),
        create_time: Some(to_timestamp(order.create_time())),
        update_time: Some(to_timestamp(order.update_time())),
    }
}

/// What a valid request asks for; output-only fields count for nothing.
pub fn placement(customer: &str, request_id: &str, order: pb::Order) -> Placement {
    let address = order.shipping_address.unwrap_or_default();
    let item = |line: pb::OrderLine| Item {
        variant: line.variant,
        quantity: line.quantity,
    };
    Placement {
        customer: customer.to_owned(),
        request_id: request_id.to_ascii_lowercase(),
        items: order.lines.into_iter().map(item).collect(),
        address: Address {
            recipient: address.recipient,
            street: address.street,
            city: address.city,
            postal_code: address.postal_code,
            region_code: address.region_code,
        },
        email: order.email,
        card_token: order.card_token,
    }
}

fn address(address: &Address) -> pb::ShippingAddress {
    pb::ShippingAddress {
        recipient: address.recipient.clone(),
        street: address.street.clone(),
        city: address.city.clone(),
        postal_code: address.postal_code.clone(),
        region_code: address.region_code.clone(),
    }
}

fn state(state: State) -> pb::OrderState {
    match state {
        State::Pending => pb::OrderState::Pending,
        State::Reserved => pb::OrderState::Reserved,
        State::Authorized => pb::OrderState::Authorized,
        State::Confirmed => pb::OrderState::Confirmed,
        State::Paid => pb::OrderState::Paid,
        State::Compensating => pb::OrderState::Compensating,
        State::Rejected => pb::OrderState::Rejected,
    }
}
