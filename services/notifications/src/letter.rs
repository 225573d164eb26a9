//! What a mail says: plain text from an order, no database.

use std::fmt::Write as _;

use contracts::sockshop::orders::v1::{Order, OrderState};
use service_kit::{Money, ids};

use crate::mailer::Letter;

/// The mail about an order that is paid or rejected; nothing for other states.
pub fn about(order: &Order) -> Option<Letter> {
    let number = order.name.rsplit('/').next().unwrap_or_default();
    let (subject, opening) = match order.state() {
        OrderState::Paid => (
            format!("Your order {number} is on its way"),
            "thank you for your order.".to_owned(),
        ),
        OrderState::Rejected => {
            let why = reason(&order.rejection_reason);
            let opening = format!("we could not place your order: {why}. You paid nothing.");
            (format!("Your order {number} was not placed"), opening)
        }
        _ => return None,
    };
    let recipient = order
        .shipping_address
        .as_ref()
        .map_or("", |address| &address.recipient);
    let mut body = format!("Dear {recipient},\n\n{opening}\n\n");
    for line in &order.lines {
        let price = line.unit_price.as_ref().map(amount).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(body, "  {} x {}  at {price}", line.quantity, line.title);
    }
    if let Some(total) = &order.total {
        let _ = writeln!(body, "\nTotal: {}", amount(total));
    }
    body.push_str("\nWarm feet and best wishes\nThe Sock Shop\n");
    Some(Letter {
        id: ids::new_id(),
        recipient: order.email.clone(),
        subject,
        body,
    })
}

fn reason(reason: &str) -> &'static str {
    match reason {
        "OUT_OF_STOCK" => "somebody else was faster, and it is sold out",
        "CARD_DECLINED" => "your card was declined",
        "CARD_TOKEN_NOT_FOUND" | "CARD_TOKEN_EXPIRED" => "the card has to be entered again",
        "PAYMENT_TIMED_OUT" => "the bank did not answer in time",
        _ => "something went wrong on our side",
    }
}

fn amount(money: &contracts::google::r#type::Money) -> String {
    Money::from_message(money)
        .map(|money| money.to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use contracts::sockshop::orders::v1::{OrderLine, ShippingAddress};
    use service_kit::money::Currency;

    use super::*;

    fn order(state: OrderState) -> Order {
        let price = Money::new(950, Currency::new("EUR").unwrap()).to_message();
        Order {
            name: "orders/17".into(),
            email: "ada@example.com".into(),
            shipping_address: Some(ShippingAddress {
                recipient: "Ada".into(),
                ..Default::default()
            }),
            lines: vec![OrderLine {
                title: "Lemon Grove".into(),
                quantity: 2,
                unit_price: Some(price.clone()),
                ..Default::default()
            }],
            total: Some(price),
            state: state.into(),
            rejection_reason: "CARD_DECLINED".into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_paid_order_is_confirmed_with_its_lines() {
        let letter = about(&order(OrderState::Paid)).unwrap();
        assert_eq!(letter.recipient, "ada@example.com");
        assert_eq!(letter.subject, "Your order 17 is on its way");
        for text in ["Dear Ada", "2 x Lemon Grove", "9.50"] {
            assert!(letter.body.contains(text), "{}", letter.body);
        }
    }

    #[test]
    fn a_rejected_order_is_explained_and_others_are_not_mailed() {
        let letter = about(&order(OrderState::Rejected)).unwrap();
        assert!(
            letter.body.contains("your card was declined"),
            "{}",
            letter.body
        );
        assert_eq!(about(&order(OrderState::Reserved)), None);
    }
}
