//! Shopping carts of guests and customers.
