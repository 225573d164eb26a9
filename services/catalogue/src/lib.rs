//! The socks: products, variants, prices, pictures.
