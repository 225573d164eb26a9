//! Places orders: the saga over inventory and payments.
